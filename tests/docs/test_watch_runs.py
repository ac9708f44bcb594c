"""What docs/how-to/watch-runs.md shows, run as it stands."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from pgflow import Client, Flow, Worker
from pgflow.cli.app import run

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "watch-runs.md").read_text()


async def test_the_code_prints_each_event(dsn, tmp_path):
    flow = Flow("greeting")
    flow.step(slug="greet")(lambda flow_input: f"Hello, {flow_input['name']}!")
    with Client(dsn) as client:
        client.compile(flow)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "code.py").write_text(code)
    async with Worker([flow], dsn=dsn):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "code.py", cwd=tmp_path, env={"PGFLOW_DATABASE_URL": dsn}, stdout=subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    told = [line.split()[0] for line in out.decode().splitlines()]
    assert told == ["run:started", "step:started", "step:completed", "run:completed"]
    assert set(told) <= set(re.findall(r"`((?:run|step):[a-z]+)`", PAGE))


def test_the_commands_exist(capsys):
    for line in re.findall(r"^\$ pgflow (.*)", PAGE, re.MULTILINE):
        name, *options = line.split()
        assert run([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert all(option in shown for option in options if option.startswith("--"))
