"""The Django app in a real project: what docs/how-to/django.md says to type, and what a developer then tries."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db.transaction import atomic
from django.test.utils import override_settings

from pgflow import Client
from pgflow.contrib.django import client, discovery
from pgflow.contrib.django.apps import migrate_along
from pgflow.contrib.django.management.commands.pgflow import Command
from pgflow.contrib.django.test import work_off
from tests.contrib.conftest import database
from tests.contrib.project import EXAMPLE, Project
from tests.support import eventually, rows, value

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "django.md").read_text()
TYPED = re.findall(r"^\$ python manage.py (.*)$", PAGE, re.MULTILINE)

ORDERS = """
import json
import django
django.setup()
from django.test import Client
for item in ("cup", "moon"):
    response = Client(headers={"host": "localhost"}).post("/orders", {"item": item})
    said = response.json() if response["content-type"] == "application/json" else {}
    print(json.dumps({"status": response.status_code, **said}))
"""
#: What a worker of the project serves beside shop/flows.py.
MORE = """
import asyncio, os
from contextlib import asynccontextmanager
import django
django.setup()
from pgflow import Flow
from shop.models import Order

more = Flow("more", max_attempts=1)

@more.map
async def add(item):
    return (await Order.objects.acreate(item=item)).pk

@more.step(executor="process")
def count(add):
    return [Order.objects.filter(pk__in=add).count(), os.getpid()]

@asynccontextmanager
async def lifespan(worker):
    yield {"concurrency": worker.settings.concurrency}

@more.step
def settings(ctx, add):
    return ctx.resources["concurrency"]
"""
RESOURCEFUL = """
from contextlib import asynccontextmanager
from pgflow import Flow

greeting = Flow("greeting", max_attempts=1)

@greeting.step
def say(ctx):
    return ctx.resources["word"]

@asynccontextmanager
async def lifespan(worker):
    yield {"word": "hello"}
"""


# ---------------------------------------------------------------------------------------- the page


def test_the_page_shows_what_is_in_the_example() -> None:
    files = [file.read_text() for file in EXAMPLE.rglob("*.py")]
    imports = {line for text in files for line in text.splitlines() if "import" in line}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        assert any(block in text or _without(block, imports) in text for text in files), block


def _without(block: str, imports: set[str]) -> str:
    return "\n".join(line for line in block.splitlines() if line not in imports).strip("\n")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_the_page_types_takes_a_project_from_nothing_to_an_order_shipped(tmp_path: Path, empty_dsn: str) -> None:
    migrate, worker, runs = TYPED
    project = Project(tmp_path, empty_dsn)
    code, out, err = project.manage(*migrate.split())
    assert (code, err) == (0, "")
    assert "pgflow: " in out
    project.write("orders.py", ORDERS)
    out, err = project.spawn("orders.py").communicate(timeout=200)
    assert err == ""
    placed, refused = map(json.loads, out.splitlines())
    assert (placed["status"], refused["status"]) == (202, 404)
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        assert rows(conn, "select id, item from shop_order") == [(placed["order"], "cup")]
        started = [(UUID(placed["run"]), f"order-{placed['order']}")]
        assert rows(conn, "select run_id, idempotency_key from pgflow.runs") == started
        code, _, log = project.manage(*worker.split(), "--drain")
        assert code == 0, log
        assert "serves shipping" in log
        assert rows(conn, "select box, shipped from shop_order") == [("box of cup", True)]
        assert value(conn, "select output ->> 'ship' from pgflow.runs") == "box of cup: on its way"
    code, out, err = project.manage(*runs.split(), "--json", "--settings=tested")
    assert [run["status"] for run in json.loads(out)] == ["completed"], err


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_examples_own_tests_pass(tmp_path: Path, empty_dsn: str) -> None:
    code, _, err = Project(tmp_path, empty_dsn).manage("test")
    assert code == 0, err
    assert "Ran 2 tests" in err


# ---------------------------------------------------------------------------------------- the commands


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_worker_processes_are_the_projects_too(
    tmp_path: Path, dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGFLOW_CONCURRENCY", "3")  # settings win
    project = Project(tmp_path, dsn)
    project.configure(PGFLOW={"FLOWS": ["more"], "LIFESPAN": "more:lifespan", "CONCURRENCY": 7, "HANDLER_PROCESSES": 1})
    project.write("more.py", MORE)
    assert project.manage("migrate")[0] == 0
    worker = project.spawn("manage.py", "pgflow", "worker", "--processes", "2")
    try:
        eventually(lambda: value(conn, "select count(*) from pgflow.workers") == 2, within=120)
        with Client(dsn) as client:
            run = client.wait(client.start("more", ["cup", "jug"]), timeout=120)
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == 0, log
    assert run.status == "completed", log
    assert run.output["settings"] == 7
    assert run.output["count"][0] == 2
    assert rows(conn, "select item from shop_order order by 1") == [("cup",), ("jug",)]


def test_a_command_is_not_run_with_wrong_settings(tmp_path: Path, dsn: str) -> None:
    project = Project(tmp_path, dsn)
    project.configure(PGFLOW={"DATABASE": "runs"})
    code, out, err = project.manage("pgflow", "runs")
    assert (code, out) == (2, "")
    assert "(pgflow.E002) PGFLOW: DATABASES has no 'runs'" in err


def test_commands_work_on_the_projects_database(
    alias: str,
    dsn: str,
    conn: psycopg.Connection,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGFLOW_DATABASE_URL", "postgresql://nowhere/x")
    with Client(dsn) as client:
        client.flows.create_flow("stored")
    call_command(Command(), "flows", "--json")
    assert [flow["flow_slug"] for flow in json.loads(capsys.readouterr().out)] == ["stored"]
    call_command(Command(), "flows", "delete", "stored", "--yes")
    assert value(conn, "select count(*) from pgflow.flows") == 0
    call_command(Command(), "migrate")
    assert capsys.readouterr().out.endswith("is up to date\n")


@pytest.mark.usefixtures("alias")
def test_wrong_use_is_one_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in [
        (["show", "x"], "pgflow: 'x' is no run id"),
        (["runs", "--jsn"], "See `manage.py pgflow runs --help`."),
        (["worker"], "pgflow: this project has no flows: assign a pgflow.Flow to a name in the flows.py"),
    ]:
        with pytest.raises(SystemExit) as exit:
            call_command(Command(), *words)
        assert exit.value.code == 2
        assert expected in capsys.readouterr().err
    for words in (["runs", "--dsn", "postgresql:///x"], ["--dsn=postgresql:///x", "runs"]):
        with pytest.raises(CommandError, match="the database is the project's"):
            call_command(Command(), "--", *words)


def test_help_does_not_show_the_password(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    with database(dsn, PASSWORD="hush4711"):
        with pytest.raises(SystemExit):
            call_command(Command())
        call_command(Command(), "worker", "--help")
    shown = capsys.readouterr().out
    assert "Usage: manage.py pgflow" in shown
    assert "hush4711" not in shown


@pytest.mark.usefixtures("alias")
@pytest.mark.parametrize(
    ("given", "passed_on", "words"),
    [
        (["worker", "--settings=a.b", "--drain"], ("--settings=a.b",), ["worker", "--drain"]),
        (
            ["--pythonpath", "x", "start", "flow", "--", "--settings"],
            ("--pythonpath=x",),
            ["start", "flow", "--", "--settings"],
        ),
    ],
)
def test_djangos_options_may_stand_anywhere(
    given: list[str], passed_on: tuple[str, ...], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "project.settings")  # the options change both, as they should
    monkeypatch.setattr(sys, "path", list(sys.path))
    handled: list[list[str]] = []
    monkeypatch.setattr(Command, "execute", lambda self, *_, command, **__: handled.append(command))
    command = Command()
    command.run_from_argv(["manage.py", "pgflow", *given])
    assert command.djangos_options == passed_on
    assert handled == [words]


# ---------------------------------------------------------------------------------------- tests, and their database


def test_no_worker_is_let_into_a_tests_transaction(alias: str) -> None:
    with atomic(alias), pytest.raises(RuntimeError, match="use TransactionTestCase, or run_inline"):
        work_off()


def test_a_tests_worker_is_the_projects(alias: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "resourceful", raising=False)
    (tmp_path / "resourceful.py").write_text(RESOURCEFUL)
    project = {"DATABASE": alias, "FLOWS": ["resourceful"], "LIFESPAN": "resourceful:lifespan"}
    with override_settings(PGFLOW=project):
        run = client().start(discovery.project_flows()[0], None)
        work_off()
        assert client().get_run(run).output == {"say": "hello"}


def test_djangos_migrate_leaves_pgflow_alone_unless_it_is_told_to(empty_dsn: str) -> None:
    for settings, using, applied in [
        ({}, "pgflow", False),
        ({"MIGRATE": True}, "default", False),
        ({"MIGRATE": True}, "pgflow", True),
        ({"MIGRATE": True}, "pgflow", False),
    ]:
        out = io.StringIO()
        with database(empty_dsn), override_settings(PGFLOW={"DATABASE": "pgflow", **settings}):
            migrate_along(using=using, verbosity=1, stdout=out)
        assert ("scripts applied" in out.getvalue()) is applied, (settings, using)
