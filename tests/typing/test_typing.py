"""Users' flows under mypy --strict and strict pyright: what is right passes, what is wrong is found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CASES = Path(__file__).parent / "cases"
FOUND = re.compile(r"(?P<file>\w+\.py):(?P<line>\d+): error: .*\[(?P<code>[\w-]+)\]")
EXPECTED = re.compile(r"# error: (?P<code>[\w-]+)")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, str]]]:
    """(line, code) of all errors, by file; one run of mypy, as a user would have it who has no settings."""
    cache = tmp_path_factory.mktemp("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", "good.py", "bad.py"],
        cwd=CASES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: dict[str, list[tuple[int, str]]] = {"good.py": [], "bad.py": []}
    for line in done.stdout.splitlines():
        if match := FOUND.search(line):
            errors[match["file"]].append((int(match["line"]), match["code"]))
    assert sum(map(len, errors.values())) == done.stdout.count("error:"), done.stdout
    return errors


@pytest.fixture(scope="module")
def found_by_pyright(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """The lines of all errors, by file; basedpyright is pyright with a node of its own."""
    project = tmp_path_factory.mktemp("pyright")
    settings = {"include": [str(CASES)], "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "-p", project, "--pythonpath", sys.executable, "--outputjson"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 2
    errors: dict[str, list[int]] = {"good.py": [], "bad.py": []}
    for fault in report["generalDiagnostics"]:
        errors[Path(fault["file"]).name].append(fault["range"]["start"]["line"] + 1)
    return errors


def expected() -> list[tuple[int, str]]:
    """(line, mypy's code) of all mistakes in bad.py."""
    lines = enumerate((CASES / "bad.py").read_text().splitlines(), start=1)
    return [(number, match["code"]) for number, line in lines if (match := EXPECTED.search(line))]


def test_flows_as_the_documents_show_them_pass(
    found: dict[str, list[tuple[int, str]]], found_by_pyright: dict[str, list[int]]
):
    assert found["good.py"] == []
    assert found_by_pyright["good.py"] == []


def test_mistakes_are_found_where_they_are(
    found: dict[str, list[tuple[int, str]]], found_by_pyright: dict[str, list[int]]
):
    assert expected()
    assert found["bad.py"] == expected()
    assert sorted(set(found_by_pyright["bad.py"])) == [number for number, _ in expected()]
