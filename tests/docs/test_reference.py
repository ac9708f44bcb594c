"""The reference holds every public name, error and SQL function."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pgflow
from pgflow import errors, testing

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
SQL = ROOT / "src" / "pgflow" / "sql"


def test_every_public_name_is_in_it() -> None:
    shown = {
        name for page in REFERENCE.glob("*.md") for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)
    }
    assert "pgflow.errors" in shown
    elsewhere = {"__version__"} | {name for name in pgflow.__all__ if hasattr(errors, name)}
    assert {f"pgflow.{name}" for name in set(pgflow.__all__) - elsewhere} <= shown
    assert {f"pgflow.testing.{name}" for name in testing.__all__} <= shown


def test_what_it_says_of_values_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (REFERENCE / "flows.md").read_text(), re.DOTALL)
    exec(compile(code, "flows.md", "exec"), {"__name__": "page"})  # noqa: S102


def test_the_page_of_sql_functions_is_fresh() -> None:
    command = [sys.executable, ROOT / "scripts" / "sql_functions_page.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_public_sql_function_is_in_it() -> None:
    named = re.findall(r"^##+ `(\w+)`", (REFERENCE / "sql-functions.md").read_text(), re.MULTILINE)
    files = [file.stem for folder in ("functions", "supabase") for file in (SQL / folder).glob("[!_]*.sql")]
    assert sorted(named) == sorted(files)
