"""What docs/how-to/foreign-core.md shows, run as it stands."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.cli.conftest import spawn
from tests.foreign import npm
from tests.foreign.support import ended

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "foreign-core.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.mark.slow
async def test_typescript_starts_and_python_works(pgflow_dsn: str, tmp_path: Path) -> None:
    (tmp_path / "start.mjs").write_text(block("js"))
    (tmp_path / "lengths.py").write_text(block("python"))
    command = re.findall(r"^\$ pgflow (.*)", block("console"), re.MULTILINE)[0].split()
    (tmp_path / "node_modules").symlink_to(npm.modules())
    with npm.running(tmp_path / "start.mjs", pgflow_dsn) as node:
        run_id = UUID(await asyncio.to_thread(npm.answer, node))
    with (
        psycopg.connect(pgflow_dsn, autocommit=True) as conn,
        spawn(*command, "--dsn", pgflow_dsn, cwd=tmp_path) as worker,
    ):
        try:
            assert (await ended(conn, run_id)).output == {"measure": [3, 5, 3, 5]}
        finally:
            worker.kill()
            worker.communicate(timeout=20)
