"""docs/tutorial/first-flow-to-production.md, from its top to its bottom, as a reader would do it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgflow import Client

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial" / "first-flow-to-production.md").read_text()
BLOCKS = re.findall(r"```(python|console)\n(.*?)```", PAGE, re.DOTALL)
#: Each as a whole; the reader's machine, or this test, does it otherwise.
PREPARED = {
    "$ python3 -m venv .venv && . .venv/bin/activate\n$ pip install 'py-pgflow[all]' pytest\n",
    "$ export PGFLOW_DATABASE_URL=postgresql://user@host/database\n$ pgflow migrate\n",
    "$ pgflow worker invoices\n",
}


class Reader:
    """A terminal in the reader's directory."""

    def __init__(self, directory: Path, dsn: str, server: str) -> None:
        self.directory = directory
        self.dsn = dsn
        self.environment = {
            **{name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ},
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PGFLOW_DATABASE_URL": dsn,
            "PGFLOW_TEST_DSN": server,
        }

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        if "RUN" in line:
            with Client(self.dsn) as client:
                line = line.replace("RUN", str(client.list_runs("invoices", limit=1)[0].run_id))
        return subprocess.run(
            ["/bin/sh", "-c", line], cwd=self.directory, env=self.environment,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    @contextmanager
    def works(self) -> Iterator[None]:
        command = [sys.executable, "-m", "pgflow", "worker", "invoices"]
        worker = subprocess.Popen(command, cwd=self.directory, env=self.environment, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            worker.terminate()
            assert worker.wait(30) == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_reader_gets_what_it_says(tmp_path: Path, dsn: str, server: str) -> None:
    reader = Reader(tmp_path, dsn, server)
    flow, shop, test = (code for language, code in BLOCKS if language == "python")
    lines = [
        line.removeprefix("$ ")
        for language, block in BLOCKS if language == "console" and block not in PREPARED
        for line in block.splitlines()
    ]  # fmt: skip
    for name, code in {"invoices.py": flow, "shop.py": shop, "test_invoices.py": test}.items():
        assert f"as `{name}`" in PAGE
        (tmp_path / name).write_text(code)
    unmended = next(i for i, line in enumerate(lines) if "retry" in line)

    done = {}
    with reader.works():
        done |= {line: reader.types(line) for line in lines[:unmended]}
    (tmp_path / "invoices.py").write_text(flow.replace('"pear": 45}', '"pear": 45, "plum": 20}'))
    with reader.works():
        done |= {line: reader.types(line) for line in lines[unmended:]}
        first, second = (reader.types("python shop.py").stdout for _ in range(2))

    failed = [line for line, result in done.items() if result.returncode != 0]
    refused = next(line for line in lines if "plum" in line)
    assert failed == [refused], [(line, done[line].stdout, done[line].stderr) for line in failed]
    assert "Permanent: there is no price for plum" in done[refused].stdout
    assert done["python invoices.py"].stdout == "{'total': {'cents': 195}}\n"
    assert first == second
    assert first.endswith("{'total': {'cents': 90}}\n")
    assert "2 passed" in done["pytest -q test_invoices.py"].stdout


def test_what_is_prepared_is_on_the_page() -> None:
    assert {block for _, block in BLOCKS} >= PREPARED
