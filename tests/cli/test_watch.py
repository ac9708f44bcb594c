"""`pgflow watch` and `pgflow runs --follow`."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice

import pytest
from rich.console import Console

from pgflow import Client, Flow, RunFailed, execute
from pgflow.cli import live
from pgflow.cli.watch import picture
from pgflow.errors import DatabaseUnreachable
from tests.cli.conftest import spawn

seen = Flow("seen", max_attempts=2, base_delay=300)


@seen.map
def each(number: int) -> int:
    return 10 // number


@seen.step
def total(each: list[int]) -> int:
    return sum(each)


@seen.step(run_if={"total": "never"})
def never(total: int) -> int:
    return total


@contextmanager
def on_a_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Iterator[str]]]:
    """The command where its output is a terminal, and what it writes there, without colours, until it ends."""
    reader, writer = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150"}
    command = [sys.executable, "-m", "pgflow", *arguments]
    process = subprocess.Popen(command, stdout=writer, stderr=writer, env=environment)
    os.close(writer)

    def reads() -> Iterator[str]:
        with suppress(OSError):  # the other end is closed
            while block := os.read(reader, 65536):
                yield re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", block.decode(errors="replace"))

    try:
        yield process, reads()
    finally:
        process.kill()
        process.wait()
        os.close(reader)


@pytest.fixture
def done(dsn):
    """The id of a run that has completed."""
    execute(seen, [1, 2], dsn=dsn)
    with Client(dsn) as client:
        return str(client.list_runs(seen)[0].run_id)


def test_elsewhere_than_on_a_terminal_each_event_is_a_line(cli, dsn, done):
    said = cli("watch", done, "--dsn", dsn)
    assert said.code == 0
    *events, end = said.out.splitlines()
    assert [line.split(maxsplit=2)[2] for line in events] == [
        "run:started", "step:started each", "step:completed each", "step:started total", "step:completed total",
        "step:skipped never", "run:completed",
    ]  # fmt: skip
    assert end.startswith(f"run {done} of seen: completed, ")


def test_as_json_each_event_is_a_line_of_it(cli, dsn, done):
    events = [json.loads(line) for line in cli("watch", done, "--json", "--dsn", dsn).out.splitlines()]
    assert [event["type"] for event in events][-2:] == ["step:skipped", "run:completed"]
    assert {event["run_id"] for event in events} == {done}


def test_a_failed_run_is_exit_code_1_with_its_error(cli, dsn):
    broken = Flow("broken", max_attempts=1)
    broken.step(slug="only")(lambda: 1 / 0)
    with pytest.raises(RunFailed) as raised:
        execute(broken, None, dsn=dsn)
    said = cli("watch", str(raised.value.run_id), "--dsn", dsn)
    assert said.code == 1
    assert said.out.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert cli("watch", "nonsense", "--dsn", dsn).code == 2


def test_the_picture_shows_the_dag_how_far_it_is_and_what_is_tried_again(dsn, conn):
    with Client(dsn) as client:
        client.compile(seen)
        run = client.start(seen, [1, 0, 2, 5])
        conn.execute("select pgflow.register_worker('00000000-0000-0000-0000-000000000001', 'seen', 'w', 60)")
        poll = "select run_id, step_slug, task_index, fence from pgflow.poll_tasks('{seen}', %s, 4, 60)"
        worker = "00000000-0000-0000-0000-000000000001"
        tasks = [task for task in conn.execute(poll, (worker,)).fetchall() if task[0] is not None]
        outcomes = [
            {"run_id": str(r), "step_slug": s, "task_index": i, "fence": f, "status": "completed", "output": 1}
            if i != 1
            else {"run_id": str(r), "step_slug": s, "task_index": i, "fence": f, "status": "failed", "error": "by 0"}
            for r, s, i, f in tasks
        ]
        conn.execute("select pgflow.settle_tasks(%s, %s::jsonb)", (worker, json.dumps(outcomes)))
        progress = client.get_progress(run)
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(picture(progress))
    drawn = console.export_text().splitlines()
    assert drawn[0].startswith(f"run {run.run_id} of seen: started, ")
    assert re.match(r"└─ each +started +━+[╸ ━]* +3/4 +[\d.]+ s +1 failed, tried again \(attempt 1\): by 0", drawn[1])
    assert re.match(r"   └─ total +created", drawn[2])
    assert re.match(r"      └─ never +created", drawn[3])
    assert (progress.run.input, progress.run.output) == (None, None)


def test_on_a_terminal_the_picture_is_drawn_until_the_run_ends(dsn, done):
    with on_a_terminal("watch", done, "--dsn", dsn) as (process, reads):
        text = "".join(reads)
        assert process.wait() == 0
    assert "└─ " in text
    assert "2/2" in text


def test_on_a_terminal_runs_follow_draws_the_list_until_it_is_interrupted(dsn, done):
    with on_a_terminal("runs", "--follow", "--dsn", dsn) as (process, reads):
        text = ""
        while f"{done}  seen  completed" not in text:
            text += next(reads)
        with Client(dsn) as client:
            later = client.start(seen, [1])
        while f"{later.run_id}  seen  started" not in text:
            text += next(reads)
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in "".join(reads)
        assert process.wait() == 130


def test_runs_follow_writes_a_line_per_change_elsewhere(dsn, app, tmp_path):
    with Client(dsn) as client:
        client.compile(seen)
        run = client.start(seen, [1])
        following = spawn("runs", "--follow", cwd=tmp_path, PGFLOW_DATABASE_URL=dsn)
        try:
            first = following.stdout.readline()
            client.cancel(run, reason="enough")
            second = following.stdout.readline()
        finally:
            following.kill()
            following.communicate()
    assert first.endswith(f" {run.run_id} seen started\n")
    assert second.endswith(f" {run.run_id} seen cancelled Cancelled: enough\n")


def test_a_run_is_told_of_again_only_when_its_status_has_changed(dsn):
    with Client(dsn) as client:
        old, new = (client.start(seen, [n]) for n in (1, 2))
        ended = client.cancel(old)
    listings = [[old], [new, old], [new, old], [new, ended], [new, ended]]
    assert list(live.changes(iter(listings))) == [old, new, ended]


def test_a_database_that_is_away_is_waited_for(capsys):
    answers = iter([DatabaseUnreachable("cannot reach it"), 1, DatabaseUnreachable("cannot reach it"), 2])

    def look() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert list(islice(live.looks(look, every=0), 2)) == [1, 2]
    assert capsys.readouterr().err == "cannot reach it; trying again\n" * 2


def test_runs_follow_tells_of_each_change(dsn, app, tmp_path):
    following = spawn("runs", "--follow", "--json", cwd=tmp_path, PGFLOW_DATABASE_URL=dsn)
    try:
        with Client(dsn) as client:
            client.compile(seen)
            run = client.start(seen, [1])
            first = json.loads(following.stdout.readline())
            client.cancel(run)
            second = json.loads(following.stdout.readline())
    finally:
        following.kill()
        following.communicate()
    assert [(each["run_id"], each["status"]) for each in (first, second)] == [
        (str(run.run_id), "started"),
        (str(run.run_id), "cancelled"),
    ]
