"""What the how-tos on starts, retries and schedules show works as they say."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.orm import Session

from pgflow import Client, Worker
from pgflow.cli.app import run
from pgflow.testing import run_inline
from tests.db.test_callers import engine
from tests.support import aeventually, rows, value

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (HOW_TO / f"{page}.md").read_text(), re.DOTALL)


def namespace(page: str) -> dict[str, Any]:
    """What a page's Python defines."""
    found: dict[str, Any] = {"__name__": page}
    for code in blocks(page, "python"):
        exec(compile(code, f"{page}.md", "exec"), found)  # noqa: S102
    return found


# ---------------------------------------------------------------------------------------- retries


class Busy(BaseHTTPRequestHandler):
    """Refuses each path the first time, as its name says."""

    seen: set[str]
    soon = 7200

    def do_GET(self) -> None:
        if self.path in self.seen or self.path == "/plain":
            self.answer(200)
            self.wfile.write(b"hello")
            return
        self.seen.add(self.path)
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=self.soon), usegmt=True)
        match self.path:
            case "/429":
                self.answer(429, "90")
            case "/503":
                self.answer(503, date)
            case "/500":
                self.answer(500)
            case _:
                self.answer(404)

    def answer(self, code: int, retry_after: str | None = None) -> None:
        self.send_response(code)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def busy() -> Iterator[str]:
    """The address of a real HTTP server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Mine", (Busy,), {"seen": set()})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "least", "most"), [("/plain", 0, 0), ("/429", 90, 90), ("/503", 7000, 7200), ("/500", 1, 2)]
)
def test_a_busy_server_is_asked_again_when_it_says(busy: str, path: str, least: float, most: float) -> None:
    done = run_inline(namespace("retries")["pages"], [busy + path])
    assert done.output == {"fetch": ["hello"]}
    assert least <= done.waited <= most


def test_what_is_not_there_is_not_asked_for_again(busy: str) -> None:
    done = run_inline(namespace("retries")["pages"], [busy + "/nowhere"])
    assert (done.status, done.attempts["fetch"]) == ("failed", (1,))
    assert "404" in str(done.error)


def test_the_first_flow_of_the_page_runs() -> None:
    done = run_inline(namespace("retries")["shop"], {"amount": 5, "item": "pen"})
    assert done.output == {"reserve": {"payment": "charged 5", "item": "pen"}}


# ---------------------------------------------------------------------------------------- schedules


def test_the_commands_and_the_flow_on_schedules_work(dsn: str, conn: psycopg.Connection) -> None:
    flow = namespace("schedules")["reports"]
    assert [schedule.name for schedule in flow.schedules] == ["reports", "reports-monthly"]
    with Client(dsn) as client:
        client.compile(flow)
    for line in re.findall(r"^\$ pgflow (.*)", "".join(blocks("schedules", "console")), re.MULTILINE):
        assert run([*shlex.split(line), "--dsn", dsn]) == 0, line
    assert rows(conn, "select input ->> 'kind', start_at is not null from pgflow.runs order by 1, 2") == [
        ("nightly", False),
        ("yearly", True),
        ("yearly", True),
    ]


# ---------------------------------------------------------------------------------------- transactions and SQL


def test_a_run_is_part_of_the_transaction(dsn: str, conn: psycopg.Connection) -> None:
    shown = namespace("start-in-your-transaction")
    conn.execute("create table orders (id int primary key)")
    with Client(dsn) as client, psycopg.connect(dsn) as connection, engine(dsn) as made:
        shown["place_order"](client, connection, 1)
        with pytest.raises(psycopg.errors.UniqueViolation):
            shown["place_order"](client, connection, 1)
        with Session(made) as session:
            shown["place_with_session"](client, session, 2)
        for _ in range(2):
            shown["start_once"](client, 4)
    assert rows(conn, "select input -> 'order', idempotency_key from pgflow.runs order by 1") == [
        (1, None),
        (2, None),
        (4, "order-4"),
    ]


async def test_a_trigger_starts_runs(dsn: str, conn: psycopg.Connection) -> None:
    welcome = namespace("start-from-sql")["welcome"]
    trigger, many = blocks("start-from-sql", "sql")
    conn.execute(welcome.sql())
    conn.execute(trigger)
    async with Worker([welcome], dsn=dsn, poll_interval=1000):
        conn.execute("insert into customers values (1, 'ada@example.org')")
        output = "select output ->> 'greet' from pgflow.runs"
        await aeventually(lambda: value(conn, output) == "Hello, ada@example.org!")
    with conn.transaction(force_rollback=True):
        conn.execute("insert into customers values (2, 'eve@example.org')")
    assert value(conn, "select count(*) from pgflow.runs") == 1
    assert value(conn, many) == value(conn, many) == 1
    assert rows(
        conn, "select idempotency_key, start_at > now() from pgflow.runs where idempotency_key is not null"
    ) == [("welcome-1", True)]
