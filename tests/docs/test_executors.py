"""What the pages on executors show runs as it stands: in processes, in pools, on Dask, on Ray."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from pgflow import Client

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
SERVE = """
Worker([archive], executors=opened).run(drain=True)
"""


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (HOW_TO / page).read_text(), re.DOTALL)


def python(*arguments: str, cwd: Path, dsn: str, **environment: str) -> str:
    """What a program writes that uses the database."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={**os.environ, "PGFLOW_DATABASE_URL": dsn, **environment},
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(page: str) -> list[list[str]]:
    """The arguments of each `pgflow` command that a page shows on a line of its own."""
    return [line.split() for line in re.findall(r"^\$ pgflow (.*)$", (HOW_TO / page).read_text(), re.MULTILINE)]


def started(dsn: str, flow: str) -> list[str]:
    """Starts a run for a worker that drains; returns what it works on."""
    given = ["first", "second", "third"]
    with Client(dsn) as client:
        client.start(flow, given)
    return given


def output(dsn: str) -> list[str]:
    with Client(dsn) as client:
        (run,) = client.list_runs()
        assert run.status == "completed", run.error
        (output,) = client.get_run(run.run_id).output.values()
    return output


@pytest.mark.slow
@pytest.mark.parametrize("how", ["as a script", "by the command"])
def test_processes(dsn: str, tmp_path: Path, how: str) -> None:
    definition, guard = blocks("processes.md")
    at_once = dedent(guard).replace(".run()", ".run(drain=True)")
    assert at_once != dedent(guard)
    (tmp_path / "movies.py").write_text(f"{definition}\n\nfrom pgflow import Worker\n\n{at_once}")
    python("-m", "pgflow", "compile", "movies:movies", cwd=tmp_path, dsn=dsn)
    given = started(dsn, "movies")
    command = next(command for command in commands("processes.md") if "movies.py" in command)
    arguments = ["movies.py"] if how == "as a script" else ["-m", "pgflow", *command, "--drain"]
    python(*arguments, cwd=tmp_path, dsn=dsn)
    assert output(dsn) == [len(path) for path in given]


@pytest.mark.parametrize("how", ["as a mapping", "by a function", "by the command"])
def test_a_pool(dsn: str, tmp_path: Path, how: str) -> None:
    definition, serve, opened = blocks("executors.md")
    (tmp_path / "archive.py").write_text(definition + opened)
    python("-m", "pgflow", "compile", "archive:archive", cwd=tmp_path, dsn=dsn)
    given = started(dsn, "archive")
    (command,) = commands("executors.md")
    at_once = serve.replace(".run()", ".run(drain=True)")
    assert at_once != serve
    (tmp_path / "serve.py").write_text("from archive import *\n" + (at_once if how == "as a mapping" else SERVE))
    arguments = ["-m", "pgflow", *command, "--drain"] if how == "by the command" else ["serve.py"]
    python(*arguments, cwd=tmp_path, dsn=dsn)
    assert output(dsn) == [len(document) for document in given]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("cluster", ["dask", "ray"])
def test_a_cluster(dsn: str, tmp_path: Path, request: pytest.FixtureRequest, cluster: str) -> None:
    environment = request.getfixturevalue("ray_cluster") if cluster == "ray" else {}
    (code,) = blocks(f"{cluster}.md")
    (tmp_path / "movies.py").write_text(code)
    python("-m", "pgflow", "compile", "movies:movies", cwd=tmp_path, dsn=dsn)
    given = started(dsn, "movies")
    (command,) = commands(f"{cluster}.md")
    python("-m", "pgflow", *command, "--drain", cwd=tmp_path, dsn=dsn, **environment)
    assert [line.partition(",")[0] for line in output(dsn)] == given
    assert re.fullmatch(r"first, encoded by process \d+", output(dsn)[0])
