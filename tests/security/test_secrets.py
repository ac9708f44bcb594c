"""No password of an address is in a message, a traceback, a log line or a repr."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pgflow import AsyncClient, Client, Flow, Worker, execute, schema
from pgflow.config import load
from pgflow.db import AsyncDatabase, Database
from pgflow.db.address import Address
from tests.cli.conftest import cli

__all__ = ["cli"]

SECRET = "hush4711"
NOBODY = [
    f"postgresql://me:{SECRET}@127.0.0.1:1/app",
    f"postgres://me:{SECRET}%40x@127.0.0.1:1/app?sslmode=disable",
    f"postgresql://127.0.0.1:1/app?user=me&password={SECRET}",
    f"host=127.0.0.1 port=1 user=me password={SECRET} dbname=app",
    f"host=127.0.0.1 port=1 dbname=app password = '{SECRET} \\' more'",
]
MISTAKEN = [
    f"postgresql://me:{SECRET}@x@127.0.0.1:1/app",
    f"postgresql://me:{SECRET}/x@127.0.0.1:1/app",
    f"postgresql://me:x#{SECRET}@127.0.0.1:1/app",
    f"postgresql://me:{SECRET}%zz@127.0.0.1:1/app",
    f"host=127.0.0.1 port=1 password={SECRET} dbnam=app",
    f"host=127.0.0.1 port=1 password='{SECRET}",
    f"postgresql:/me:{SECRET}@127.0.0.1:1/app",
]


def flow() -> Flow[Any, Any]:
    made: Flow[Any, Any] = Flow("secretive")
    made.step(slug="a")(lambda flow_input: flow_input)
    return made


async def through_async_client(dsn: str) -> None:
    async with AsyncClient(dsn):
        pass


async def through_worker(dsn: str) -> None:
    async with Worker([flow()], dsn=dsn):
        pass


async def through_client(dsn: str) -> None:
    with Client(dsn):
        pass


async def through_execute(dsn: str) -> None:
    execute(flow(), 1, dsn=dsn)


async def through_migrate(dsn: str) -> None:
    schema.migrate(dsn)


@pytest.mark.parametrize("dsn", [*NOBODY, *MISTAKEN])
@pytest.mark.parametrize(
    "through", [through_client, through_async_client, through_worker, through_execute, through_migrate]
)
async def test_errors_and_their_causes_hold_none(
    through: Callable[[str], Any], dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Exception) as caught:
        await through(dsn)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in caplog.text


@pytest.mark.parametrize("dsn", [*NOBODY, *MISTAKEN])
@pytest.mark.parametrize("command", ["runs", "migrate", "start x 1", "worker --concurrency 1 of_nobody"])
def test_commands_say_none_even_verbosely(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsn: str, command: str
) -> None:
    source = "from pgflow import Flow\nf = Flow('f')\nf.step(slug='a')(lambda flow_input: 1)\n"
    (tmp_path / "of_nobody.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    said = cli("--verbose", *command.split(), "--dsn", dsn)
    assert said.code in (2, 3)
    assert SECRET not in said.out + said.err


@pytest.mark.parametrize("dsn", NOBODY)
def test_no_repr_shows_one(dsn: str) -> None:
    settings = load(dsn=dsn, listen_dsn=dsn)
    shown = [Client(dsn), AsyncClient(dsn), Worker([flow()], dsn=dsn), settings, Address(dsn)]
    shown += [Database(settings), AsyncDatabase(settings)]
    for thing in shown:
        for text in (repr(thing), str(thing), f"{thing}"):
            assert SECRET not in text


def test_nothing_unpickles_what_came_from_a_database() -> None:
    """Nothing of ours imports a module that could; multiprocessing's pipe to our own processes carries JSON texts."""
    sources = Path(schema.__file__).parent.rglob("*.py")
    unsafe = re.compile(
        r"^\s*(?:import|from) (?:pickle|marshal|shelve|dill|cloudpickle|copyreg|joblib)\b"
        r"|\byaml\.(?:unsafe_load|full_load)\b|\byaml\.(?:Unsafe|Full)?Loader\b",
        re.MULTILINE,
    )
    assert [path.name for path in sources if unsafe.search(path.read_text())] == []
