"""Runs pytest under coverage, then says what of the SQL and of src it did not reach; fails if that is too much.

python scripts/measure_coverage.py .venv/bin/pytest -n 2
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SQL = ROOT / "src" / "pgflow" / "sql"
TABLES = ("runs", "step_states", "step_tasks")
COVERAGE = [sys.executable, "-m", "coverage"]


def main(command: list[str]) -> int:
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "PGFLOW_TEST_COVERAGE": directory}
        subprocess.run([*COVERAGE, "erase"], cwd=ROOT, check=True)
        tests = subprocess.run([*COVERAGE, "run", *command], cwd=ROOT, env=environment, check=False).returncode
        seen = {line for file in Path(directory).iterdir() for line in file.read_text().splitlines()}
    subprocess.run([*COVERAGE, "combine", "--quiet"], cwd=ROOT, check=True)
    sql = report("SQL functions", functions(), seen) + report("changes of status", arrows(), seen)
    src = subprocess.run([*COVERAGE, "report"], cwd=ROOT, check=False).returncode
    return tests or src or bool(sql)


def report(what: str, wanted: set[str], seen: set[str]) -> int:
    """Says what was not reached; returns how much."""
    missing = sorted(wanted - seen)
    print(f"{what}: {len(wanted) - len(missing)} of {len(wanted)} reached", *missing, sep="\n  ")
    return len(missing)


def functions() -> set[str]:
    """The files of functions/ that hold no view."""
    return {
        f"function {file.stem}"
        for file in (SQL / "functions").glob("*.sql")
        if "create or replace view" not in file.read_text()
    }


def arrows() -> set[str]:
    """The arrows of the state diagrams, but for those that lead out of them."""
    diagrams = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", (SQL / "README.md").read_text(), re.DOTALL)
    return {
        f"{table}: {old} -> {new}"
        for table, diagram in zip(TABLES, diagrams, strict=True)
        for old, new in re.findall(r"(\S+) --> (\w+)", diagram)
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
