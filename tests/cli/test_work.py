"""`pgflow worker`, as a process of its own, and what leads it to its flows."""

from __future__ import annotations

import signal

import pytest

from pgflow import Client
from pgflow.cli.flows import FlowNotImportable, find_flows
from tests.cli.conftest import spawn
from tests.support import eventually, value


def test_a_worker_works_until_it_is_asked_to_stop(dsn, app, conn):
    worker = spawn("worker", "app", "--concurrency", "3", cwd=app, PGFLOW_DATABASE_URL=dsn)
    try:
        eventually(lambda: value(conn, "select count(*) from pgflow.workers") == 1)
        with Client(dsn) as client:
            assert client.wait(client.start("shout", {"text": "hi"}), timeout=20).output == {"louder": "HI"}
            assert client.wait(client.start("shout", {"fail": True}), timeout=20).status == "failed"
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=20)
    finally:
        worker.kill()
    assert worker.returncode == 0
    assert "serves shout" in log
    assert "SIGTERM: finishing what runs" in log
    assert "ValueError: no voice" in log
    assert value(conn, "select stopped_at is not null from pgflow.workers")


def test_start_with_wait_prints_the_output_or_exits_with_1(cli, dsn, app):
    worker = spawn("worker", "app.py:shout", cwd=app, PGFLOW_DATABASE_URL=dsn)
    try:
        good = cli("start", "app:shout", '{"text": "hi"}', "--wait", "--timeout", "30", "--dsn", dsn)
        bad = cli("start", "app:shout", '{"fail": true}', "--wait", "--timeout", "30", "--dsn", dsn)
    finally:
        worker.terminate()
        worker.communicate(timeout=20)
    assert (good.code, good.out) == (0, '{\n  "louder": "HI"\n}\n')
    assert bad.code == 1
    assert "failed in louder, task 0, attempt 1:" in bad.out


def test_a_changed_flow_is_refused_with_the_differences_and_the_way_out(cli, dsn, app, conn):
    conn.execute("select pgflow.create_flow('shout', max_attempts => 7)")
    conn.execute("select pgflow.add_step('shout', 'whisper')")
    said = cli("worker", "app", "--dsn", dsn)
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert "flow 'shout' differs from the one in the database" in said.err
    assert "whisper" in said.err
    assert "replace=True" in said.err
    assert value(conn, "select array_agg(step_slug) from pgflow.steps") == ["whisper"]


TYPO = """import pgflow
typo = pgflow.Flow("typo")
@typo.step(max_attempt=3)
def a() -> None: ...
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no module 'nowhere' here"),
        (["os"], "os has no flows: assign a pgflow.Flow to a name in it"),
        (["app:nothing"], "app has no flow 'nothing'; it has shout"),
        (["missing.py"], "there is no file missing.py"),
        (["app", "--concurrency", "0"], "concurrency must be at least 1, not 0"),
        (["app", "--lease", "0"], "lease must be at least 1, not 0"),
        (["app", "--grace", "-1"], "grace must be at least 0, not -1"),
        (["broken"], "importing broken failed: ZeroDivisionError: division by zero (broken.py:1)"),
        (["needy"], "importing needy failed: No module named 'not_installed' (needy.py:1)"),
        (
            ["wordy"],
            "importing wordy failed: TypeError: Flow() has no option 'retries'; it has max_attempts, base_delay",
        ),
        (["torn"], "importing torn failed: SyntaxError: '(' was never closed (torn.py, line 1)\n"),
        (["app", "twin"], "pgflow: two different flows have the slug 'shout': app.py:"),
        (["typo"], "typo.py:3: step 'a': @typo.step has no option 'max_attempt'; did you mean 'max_attempts'?"),
        (["faulty"], "flow 'faulty' is not well formed: "),
        (["app", "--lifespan", "app"], "app names no function: give MODULE:NAME"),
        (["app", "--lifespan", "app:lauder"], "app has no function 'lauder'; did you mean 'louder'?"),
        (["app", "--executors", "app"], "app names no mapping or function: give MODULE:NAME"),
        (["app", "--executors", "app:lauder"], "app has no mapping or function 'lauder'; did you mean 'louder'?"),
        (["asking"], "step 'louder' of flow 'asking' asks for executor 'pool', but the worker has 'process': give it"),
        (["app", "--reload", "--drain"], "--reload and --drain exclude each other"),
    ],
)
def test_a_worker_that_cannot_work_says_why(cli, dsn, app, conn, arguments, message):
    (app / "broken.py").write_text("1 / 0")
    (app / "needy.py").write_text("import not_installed")
    (app / "faulty.py").write_text("import pgflow\nfaulty = pgflow.Flow('faulty')\n")
    (app / "wordy.py").write_text("import pgflow\nwordy = pgflow.Flow('wordy', retries=3)\n")
    (app / "torn.py").write_text("f(")
    (app / "typo.py").write_text(TYPO)
    (app / "asking.py").write_text(ASKING)
    (app / "twin.py").write_text("import pgflow\ntwin = pgflow.Flow('shout')\ntwin.step(slug='a')(lambda: 1)\n")
    said = cli("worker", *arguments, "--dsn", dsn)
    assert said.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert value(conn, "select count(*) from pgflow.workers") == 0


def test_a_flow_is_found_by_its_name_or_its_slug(app):
    (app / "two.py").write_text("from pgflow import Flow\nfirst = Flow('uno')\nsecond = Flow('due')\nalias = first\n")
    assert [flow.slug for flow in find_flows("two")] == ["uno", "due"]
    assert [flow.slug for flow in find_flows("two:second")] == ["due"]
    assert [flow.slug for flow in find_flows("two:due")] == ["due"]
    assert [flow.slug for flow in find_flows(str(app / "two.py"))] == ["uno", "due"]
    with pytest.raises(FlowNotImportable, match="did you mean 'first'"):
        find_flows("two:frist")


def test_several_processes_share_the_work_and_stop_together(dsn, app, conn):
    worker = spawn("worker", "app", "--processes", "2", "--concurrency", "3", "--dsn", dsn, cwd=app)
    try:
        eventually(lambda: value(conn, "select count(*) from pgflow.workers") == 2)
        with Client(dsn) as client:
            assert client.wait(client.start("shout", {"text": "hi"}), timeout=20).output == {"louder": "HI"}
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=20)
    finally:
        worker.kill()
    assert worker.returncode == 0
    assert "SIGTERM: stopping the workers" in log
    assert value(conn, "select count(*) from pgflow.workers where stopped_at is not null") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 2, "no module 'nowhere' here"),
        (["app", "--dsn", "postgresql://127.0.0.1:1/nowhere"], 3, "cannot reach database 'nowhere'"),
    ],
)
def test_several_processes_that_cannot_work_are_not_started_for_ever(app, arguments, code, message):
    with spawn("worker", *arguments, "--processes", "2", cwd=app) as worker:
        _, log = worker.communicate(timeout=30)
    assert worker.returncode == code
    assert message in log


ASKING = """
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pgflow import Flow

asking = Flow("asking", max_attempts=1, timeout=1)

@asking.step(executor="pool")
def louder(flow_input: str) -> str:
    if flow_input == "hang":
        threading.Event().wait()
    return f"{threading.current_thread().name}: {flow_input.upper()}"

executors = {"pool": ThreadPoolExecutor(2, thread_name_prefix="given")}

@asynccontextmanager
async def opened(worker):
    with ThreadPoolExecutor(2, thread_name_prefix="opened") as pool:
        yield {"pool": pool}
"""


@pytest.mark.parametrize(("name", "processes"), [("executors", []), ("opened", []), ("opened", ["--processes", "2"])])
def test_executors_are_given_as_a_mapping_or_a_function(dsn, app, name, processes):
    (app / "asking.py").write_text(ASKING)
    with Client(dsn) as client:
        client.compile(find_flows("asking")[0])
        run = client.start("asking", "hi")
        arguments = ["asking", "--drain", "--executors", f"asking:{name}", *processes]
        with spawn("worker", *arguments, cwd=app, PGFLOW_DATABASE_URL=dsn) as worker:
            _, log = worker.communicate(timeout=60)
        assert worker.returncode == 0, log
        thread = name if name == "opened" else "given"
        assert client.get_run(run).output == {"louder": f"{thread}_0: HI"}


def test_a_handler_that_hangs_in_an_executor_wears_the_worker_out_and_does_not_keep_it(dsn, app):
    (app / "asking.py").write_text(ASKING)
    with Client(dsn) as client:
        client.compile(find_flows("asking")[0])
        client.start("asking", "hang")
    arguments = ["asking", "--executors", "asking:executors", "--concurrency", "2"]
    with spawn("worker", *arguments, cwd=app, PGFLOW_DATABASE_URL=dsn) as worker:
        _, log = worker.communicate(timeout=60)
    assert worker.returncode == 4, log
    assert "half of the slots are held by handlers that overran their timeout" in log


LIFESPAN = """
from contextlib import asynccontextmanager

@asynccontextmanager
async def opened(worker):
    print("opened")
    yield {}
    print("closed")

ANSWER = 42
"""


@pytest.mark.parametrize("processes", [[], ["--processes", "2"]], ids=["alone", "in processes"])
def test_drain_works_what_is_there_within_the_lifespan_and_ends_with_0(dsn, app, conn, processes):
    (app / "around.py").write_text(LIFESPAN)
    with Client(dsn) as client:
        client.compile(find_flows("app")[0])
        runs = client.start_many("shout", [{"text": "hi"}] * 20)
        arguments = ["app", "--drain", "--lifespan", "around:opened", *processes]
        with spawn("worker", *arguments, cwd=app, PGFLOW_DATABASE_URL=dsn) as worker:
            out, log = worker.communicate(timeout=60)
        assert worker.returncode == 0, log
        assert {client.get_run(run).status for run in runs} == {"completed"}
    count = 2 if processes else 1
    assert sorted(out.split()) == sorted(["opened", "closed"] * count)
    assert value(conn, "select count(*) from pgflow.workers where stopped_at is not null") == count


FAILING = """
from contextlib import asynccontextmanager

@asynccontextmanager
async def opening(worker):
    raise OSError("no such host: cache")
    yield

@asynccontextmanager
async def closing(worker):
    yield {}
    raise OSError("no such host: cache")

def calling(worker):
    raise OSError("no such host: cache")
"""


@pytest.mark.parametrize(
    ("option", "name", "line"),
    [
        ("lifespan", "opening", 6),
        ("lifespan", "closing", 12),
        ("lifespan", "calling", 15),
        ("executors", "opening", 6),
    ],
)
def test_what_fails_around_the_work_is_named_with_its_traceback(dsn, app, option, name, line):
    (app / "failing.py").write_text(FAILING)
    arguments = ["app", "--drain", f"--{option}", f"failing:{name}"]
    with spawn("worker", *arguments, cwd=app, PGFLOW_DATABASE_URL=dsn) as worker:
        _, log = worker.communicate(timeout=60)
    assert worker.returncode == 1
    told = f"pgflow: {option} failing:{name} failed: OSError: no such host: cache (failing.py:{line})\n"
    assert log.endswith(told)
    assert f'failing.py", line {line}, in {name}' in log.removesuffix(told)


def test_a_lifespan_that_finds_no_database_says_so_as_everything_does(dsn, app):
    (app / "asking.py").write_text(
        "import pgflow\ndef lifespan(worker):\n    return pgflow.AsyncClient('postgresql://127.0.0.1:1/nowhere')\n"
    )
    arguments = ["app", "--drain", "--lifespan", "asking:lifespan"]
    with spawn("worker", *arguments, cwd=app, PGFLOW_DATABASE_URL=dsn) as worker:
        _, log = worker.communicate(timeout=60)
    assert worker.returncode == 3
    assert log.splitlines()[-1].startswith("pgflow: cannot reach database 'nowhere'")


def test_dev_replaces_a_changed_flow_and_logs_in_detail(dsn, app, conn):
    conn.execute("select pgflow.create_flow('shout')")
    conn.execute("select pgflow.add_step('shout', 'whisper')")
    with spawn("worker", "app", "--dev", "--drain", "--dsn", dsn, cwd=app) as worker:
        _, log = worker.communicate(timeout=60)
    assert worker.returncode == 0, log
    assert "INFO pgflow.worker: flow shout has changed and was replaced: Step at index 0" in log
    assert value(conn, "select array_agg(step_slug) from pgflow.steps") == ["louder"]
    with spawn("worker", "app", "--dev", "--drain", "--dsn", dsn, cwd=app) as worker:
        _, log = worker.communicate(timeout=60)
    assert "DEBUG pgflow.worker: flow shout: verified" in log


@pytest.mark.slow
def test_reload_starts_anew_when_a_file_changes_also_after_a_broken_one(dsn, app, conn):
    with spawn("worker", "app", "--reload", "--dev", "--dsn", dsn, cwd=app) as worker:
        try:
            eventually(lambda: value(conn, "select count(*) from pgflow.workers") == 1)
            with Client(dsn) as client:
                assert client.wait(client.start("shout", {"text": "hi"}), timeout=20).output == {"louder": "HI"}
                source = (app / "app.py").read_text()
                (app / "app.py").write_text("1 / 0")
                eventually(lambda: value(conn, "select count(*) from pgflow.workers where stopped_at is not null") == 1)
                (app / "app.py").write_text(source.replace("upper()", "title()"))
                eventually(lambda: value(conn, "select count(*) from pgflow.workers where stopped_at is null") == 1)
                assert client.wait(client.start("shout", {"text": "hi"}), timeout=20).output == {"louder": "Hi"}
            worker.send_signal(signal.SIGTERM)
            _, log = worker.communicate(timeout=20)
        finally:
            worker.kill()
    assert worker.returncode == 0
    assert "files have changed: the workers start anew" in log
