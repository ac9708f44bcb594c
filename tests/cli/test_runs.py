"""`pgflow start`, `show` and `runs`."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from pgflow import Client, Flow, RunFailed, execute
from pgflow.cli.runs import runs_table
from tests.support import value

double = Flow("double", max_attempts=1)


@double.map
def twice(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative\nsecond line")
    return 2 * number


@double.step
def total(twice: list[int]) -> int:
    return sum(twice)


@pytest.fixture
def compiled(dsn):
    with Client(dsn) as client:
        client.compile(double)
    return dsn


def test_start_says_what_was_started_and_how_to_look_at_it(cli, compiled, conn):
    said = cli("start", "double", "[1, 2]", "--dsn", compiled)
    run_id = value(conn, "select run_id from pgflow.runs")
    assert said.code == 0
    assert said.out == f"started run {run_id} of double: `pgflow show {run_id}` says how it goes\n"


def test_start_takes_the_input_from_a_file_or_standard_input(cli, compiled, conn, tmp_path, monkeypatch):
    (tmp_path / "input.json").write_text("[3]")
    monkeypatch.setattr("sys.stdin", io.StringIO("[4]"))
    assert cli("start", "double", f"@{tmp_path}/input.json", "--dsn", compiled).code == 0
    assert cli("start", "double", "-", "--dsn", compiled).code == 0
    assert value(conn, "select array_agg(input::text order by input) from pgflow.runs") == ["[3]", "[4]"]


def test_start_as_json(cli, compiled):
    said = cli("start", "double", "[1]", "--json", "--dsn", compiled)
    run = json.loads(said.out)
    assert (run["flow_slug"], run["status"], run["input"]) == ("double", "started", [1])


def test_start_with_wait_gives_up_after_the_timeout_with_exit_code_1(cli, compiled):
    said = cli("start", "double", "[1]", "--wait", "--timeout", "0.2", "--dsn", compiled)
    assert said.code == 1
    assert "has not ended within 0.2 s; it goes on" in said.err
    assert said.out == ""


def test_start_with_wait_as_json_prints_the_run_also_after_the_timeout(cli, compiled):
    said = cli("start", "double", "[1]", "--wait", "--timeout", "0.2", "--json", "--dsn", compiled)
    assert said.code == 1
    assert "has not ended within 0.2 s; it goes on" in said.err
    run = json.loads(said.out)
    assert (run["status"], run["steps"]["twice"]["status"]) == ("started", "started")


def test_start_of_a_flow_from_a_module_stores_it(cli, dsn, app, conn):
    assert cli("start", "app:shout", '{"text": "hi"}', "--dsn", dsn).code == 0
    assert value(conn, "select flow_slug from pgflow.runs") == "shout"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope", "{}"], "flow 'nope' is not in the database: start a worker for it"),
        (["double", "{1"], "the input is no JSON"),
        (["double", '[{"a": 1, "a": 2}]'], "the input: the key 'a' is given twice in one object"),
        (["double", "[1]", "--wait", "--timeout=-3"], "timeout must be a number of seconds, from 0 on, not -3.0"),
        (["double", "[1]", "--wait", "--timeout=nan"], "timeout must be a number of seconds, from 0 on, not nan"),
        (["double", "[1]", "--timeout=3"], "--timeout says how long --wait waits: give --wait, too"),
        (
            ["double", "[1]", "--delay=1e20"],
            "delay must be a number of seconds or a timedelta, from 0 to",
        ),
        (["double", "@/no/such/file"], "cannot read /no/such/file: No such file or directory"),
        (["double", "[NaN]"], "the input: NaN is no JSON number"),
        (["double", r'["a\u0000b"]'], "NUL character in the text at $[0]"),
        (["double", "{}"], "has root map steps but input is not an array"),
        (["app:shuot", "{}"], "app has no flow 'shuot'; did you mean 'shout'?"),
        (["nowhere.app:x", "{}"], "no module 'nowhere'"),
    ],
)
def test_start_refuses_bad_input_and_changes_nothing(cli, compiled, conn, app, arguments, message):
    said = cli("start", *arguments, "--dsn", compiled)
    assert said.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert value(conn, "select count(*) from pgflow.runs") == 0


def test_show_a_completed_run(cli, dsn):
    execute(double, [1, 2, 3], dsn=dsn)
    run_id = json.loads(cli("runs", "--json", "--dsn", dsn).out)[0]["run_id"]
    said = cli("show", run_id, "--dsn", dsn)
    assert f"run {run_id} of double: completed" in said.out
    lines = [line.split()[:3] for line in said.out.splitlines()]
    assert ["twice", "completed", "3/3"] in lines
    assert ["total", "completed", "1/1"] in lines
    assert '"total": 12' in said.out


def test_show_a_failed_run_says_where_and_why(cli, dsn):
    with pytest.raises(RunFailed) as failed:
        execute(double, [1, -2], dsn=dsn)
    said = cli("show", str(failed.value.run_id), "--dsn", dsn)
    assert said.code == 0
    assert "failed in twice, task 1, attempt 1:" in said.out
    assert "ValueError: -2 is negative" in said.out
    assert ["total", "cancelled"] in [line.split()[:2] for line in said.out.splitlines()]


def test_show_as_json_has_everything(cli, dsn):
    execute(double, [5], dsn=dsn)
    run_id = json.loads(cli("runs", "--json", "--dsn", dsn).out)[0]["run_id"]
    run = json.loads(cli("show", run_id, "--json", "--dsn", dsn).out)
    assert run["output"] == {"total": 10}
    assert run["steps"]["twice"]["output"] == [10]
    assert run["steps"]["twice"]["initial_tasks"] == 1


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("xyz", "'xyz' is no run id: expected a UUID"),
        ("00000000-0000-0000-0000-000000000000", "no run 00000000-0000-0000-0000-000000000000 in this database"),
    ],
)
def test_show_of_what_is_not_there(cli, dsn, run, message):
    said = cli("show", run, "--dsn", dsn)
    assert said.code == 2
    assert message in said.err


def test_runs_lists_the_newest_first_and_filters(cli, dsn):
    execute(double, [1], dsn=dsn)
    with pytest.raises(RunFailed):
        execute(double, [-1], dsn=dsn)
    newest, oldest = json.loads(cli("runs", "--json", "--dsn", dsn).out)
    assert [newest["status"], oldest["status"]] == ["failed", "completed"]
    assert (oldest["input"], oldest["output"]) == ([1], {"total": 2})
    assert len(json.loads(cli("runs", "--json", "--limit", "1", "--dsn", dsn).out)) == 1
    listed = cli("runs", "--status", "failed", "--flow", "double", "--dsn", dsn).out.splitlines()
    assert listed[0].split() == ["run", "flow", "status", "started", "took", "error"]
    assert len(listed) == 2
    assert "ValueError: -1 is negative" in listed[1]
    assert cli("runs", "--flow", "double", "--status", "cancelled", "--dsn", dsn).err == "no such runs\n"


def test_a_table_of_runs_does_not_read_their_values(cli, compiled, monkeypatch):
    cli("start", "double", "[1, 2]", "--dsn", compiled)
    listed, listing = [], Client.list_runs

    def listing_noted(*given, **options):
        listed.extend(listing(*given, **options))
        return listed

    monkeypatch.setattr(Client, "list_runs", listing_noted)
    assert "double" in cli("runs", "--dsn", compiled).out
    assert [run.input for run in listed] == [None]


def test_ids_stay_whole_on_a_narrow_terminal(dsn):
    flow = Flow("f" * 47, max_attempts=1)
    flow.step(slug="only")(lambda: {}["no such key"])
    with pytest.raises(RunFailed) as failed:
        execute(flow, None, dsn=dsn)
    with Client(dsn) as client:
        table = runs_table(client.list_runs())
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    heading, line = console.export_text().splitlines()
    assert line.split()[:3] == [str(failed.value.run_id), "ffffff…", "failed"]
    assert "…" not in heading


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flow", "nosuch"], "flow 'nosuch' is not in the database"),
        (["--flow", "nosuch", "--follow"], "flow 'nosuch' is not in the database"),
        (["--status", "odd"], "status must be one of started, completed, failed, cancelled, not 'odd'"),
        (["--limit", "9" * 20], "limit must be a whole number from 1 to 1,000,000,000, not 9999"),
        (["--limit", "0"], "limit must be a whole number from 1 to 1,000,000,000, not 0"),
    ],
)
def test_runs_refuses_filters_that_make_no_sense(cli, dsn, arguments, message):
    said = cli("runs", *arguments, "--dsn", dsn)
    assert said.code == 2
    assert message in said.err
