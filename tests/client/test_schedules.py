"""client.schedules, asynchronous and blocking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Flow
from pgflow.errors import FlowNotFound, InvalidInputError, ScheduleNotFound
from tests.client.conftest import Ask, ask_of, opener
from tests.support import value


@pytest.fixture
async def schedules(kind: str, dsn: str) -> AsyncIterator[Ask]:
    """`await schedules("add", …)` on an open client, with the flow `mail` in the database."""
    client = await opener(kind)(dsn)
    await ask_of(client)("compile", mail())

    async def ask(method: str, *args: Any, **options: Any) -> Any:
        call = getattr(client.schedules, method)
        if isinstance(client, AsyncClient):
            return await call(*args, **options)
        return await asyncio.to_thread(call, *args, **options)

    yield ask
    await ask_of(client)("close")


def mail() -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("mail")
    flow.step(slug="send")(lambda flow_input: flow_input)
    return flow


async def test_a_schedule_lives(schedules: Ask) -> None:
    before = datetime.now(UTC)
    made = await schedules("add", "newyear", mail(), "0 0 1 1 *", tz="Europe/Berlin", input={"n": 1}, catch_up="none")
    assert (made.name, made.flow_slug, made.cron, made.time_zone) == ("newyear", "mail", "0 0 1 1 *", "Europe/Berlin")
    assert (made.input, made.catch_up, made.origin, made.error) == ({"n": 1}, "none", "user", None)
    assert (made.next_at.month, made.next_at.hour) == (12, 23)
    assert made.next_at > before
    assert await schedules("list") == await schedules("list", mail()) == [made]
    assert await schedules("list", Flow("other")) == []
    with pytest.raises(FlowNotFound, match="'other'"):
        await schedules("list", "other")
    assert (await schedules("pause", "newyear")).next_at is None
    assert (await schedules("resume", "newyear")).next_at == made.next_at
    run = await schedules("run_now", "newyear")
    assert (run.flow_slug, run.input, run.key) == ("mail", {"n": 1}, None)
    assert (await schedules("delete", "newyear")).name == "newyear"
    assert await schedules("list") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cron": "nonsense"}, "schedule 's': cron 'nonsense' is not valid"),
        ({"tz": "Mars"}, "time zone 'Mars' is not known here"),
        ({"input": {1, 2}}, "input: not JSON"),
        ({"catch_up": "some"}, "catch_up must be"),
        ({"name": "a b"}, "the name 'a b' is not valid"),
    ],
)
async def test_what_is_not_valid_is_refused_before_anything_is_written(
    schedules: Ask, conn: psycopg.Connection, given: dict[str, Any], message: str
) -> None:
    options = {"name": "s", "flow": "mail", "cron": "* * * * *", **given}
    with pytest.raises(InvalidInputError, match=message):
        await schedules("add", **options)
    assert value(conn, "select count(*) from pgflow.schedules") == 0


async def test_what_only_the_database_knows_is_refused_too(schedules: Ask) -> None:
    await schedules("add", "s", "mail", "* * * * *")
    with pytest.raises(InvalidInputError, match="Schedule s is there already"):
        await schedules("add", "s", "mail", "* * * * *")
    with pytest.raises(FlowNotFound):
        await schedules("add", "t", "nope", "* * * * *")
    for method in ("pause", "resume", "run_now", "delete"):
        with pytest.raises(ScheduleNotFound, match="no schedule 'nope' in this database") as caught:
            await schedules(method, "nope")
        assert caught.value.name == "nope"
