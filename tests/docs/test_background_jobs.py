"""What docs/how-to/background-jobs.md shows runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pgflow.jobs import _OWN

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "background-jobs.md").read_text()
DRIVE = """
from pgflow import Worker
from pgflow.testing import run_inline

with Client() as client:
    run = sign_up(client)
    Worker([send_email]).run(drain=True)
    print(client.get_run(run).output, sign_up(client).run_id == run.run_id)
print(run_inline(send_email, {"to": "Bob", "subject": "Hi"}).output)
"""


def test_its_code_enqueues_once_and_a_worker_runs_it(dsn: str, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "app.py").write_text(code + DRIVE)
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path, env={"PGFLOW_DATABASE_URL": dsn},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (
        "{'send_email': 'Welcome to ada@example.org, attempt 1'} True\n{'send_email': 'Hi to Bob, attempt 1'}\n",
        "",
    )


def test_it_names_all_that_enqueue_takes_for_itself() -> None:
    assert all(f"`{name}`" in PAGE for name in _OWN)
