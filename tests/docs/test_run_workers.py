"""What docs/how-to/run-workers.md shows runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "run-workers.md").read_text()
DRIVE = """
import asyncio, os
from pgflow import Client

dsn = os.environ["PGFLOW_DATABASE_URL"]
with Client() as client:
    first, second = client.start_many(greeting, ["Ada", "Bob"])
    asyncio.run(work_off(dsn))
    print(client.get_run(first).output, client.get_run(second).output)
"""


def test_its_code_works_off_what_is_there_within_the_lifespan(dsn: str, tmp_path: Path) -> None:
    definition, for_ever, draining = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    at_once = for_ever.replace(".run()", ".run(drain=True)")
    assert at_once != for_ever
    (tmp_path / "flows.py").write_text(definition + draining + DRIVE + at_once)
    done = subprocess.run(
        [sys.executable, "flows.py"], cwd=tmp_path, env={"PGFLOW_DATABASE_URL": dsn},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("{'greet': 'Hello, Ada!'} {'greet': 'Hello, Bob!'}\n", "")
    drained = _pgflow("worker", "flows", "--lifespan", "flows:lifespan", "--drain", cwd=tmp_path, dsn=dsn)
    assert drained.returncode == 0, drained.stderr


def test_the_options_it_shows_exist(dsn: str, tmp_path: Path) -> None:
    known = _pgflow("worker", "--help", cwd=tmp_path, dsn=dsn).stdout
    shown = set(re.findall(r" (--[a-z]+)", "\n".join(re.findall(r"^\$ pgflow.*$", PAGE, re.MULTILINE))))
    assert shown == {"--drain", "--dev", "--reload"}
    for option in shown:
        assert option in known


def _pgflow(*arguments: str, cwd: Path, dsn: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pgflow", *arguments], cwd=cwd, env={"PGFLOW_DATABASE_URL": dsn, "PATH": ""},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
