"""Users' flows under mypy --strict: what is right passes, what is wrong is found."""

from __future__ import annotations

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


def test_flows_as_the_documents_show_them_pass(found: dict[str, list[tuple[int, str]]]):
    assert found["good.py"] == []


def test_mistakes_are_found_where_they_are(found: dict[str, list[tuple[int, str]]]):
    lines = enumerate((CASES / "bad.py").read_text().splitlines(), start=1)
    expected = [(number, match["code"]) for number, line in lines if (match := EXPECTED.search(line))]
    assert expected
    assert found["bad.py"] == expected
