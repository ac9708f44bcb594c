"""`pgflow validate` and `compile`."""

from __future__ import annotations

import io
import json

import pytest

from pgflow import Client
from tests.support import rows, value

GOOD = """
slug: report
steps:
  - slug: fetch
  - {slug: each, step_type: map, depends_on: [fetch], handler: llm}
  - {slug: ten, step_type: map, initial_tasks: 10}
"""
ROOT = '{"slug": "mapping", "steps": [{"slug": "each", "step_type": "map", "run_if": {"a": 1}}]}'
BAD = """
slug: re-port
steps:
  - {slug: fetch, tiemout: 5}
  - {slug: rank, depends_on: [fech]}
"""


@pytest.fixture
def files(app):
    """The current directory, with some specs."""
    for name, text in (("good.yaml", GOOD), ("root.json", ROOT), ("bad.yml", BAD)):
        (app / name).write_text(text)
    return app


def test_validate_says_how_many_tasks_there_would_be(cli, files):
    said = cli("validate", "good.yaml")
    assert (said.code, said.err) == (0, "")
    assert [line.rstrip() for line in said.out.splitlines()] == [
        "step   tasks                     waits for",
        "fetch  1",
        "each   one per element of fetch  fetch",
        "ten    10",
        "report is well formed: 3 steps, 11 tasks, and those of 1 map whose list is not known yet",
    ]


def test_a_file_may_begin_with_a_byte_order_mark(cli, files):
    for name in ("good.yaml", "root.json"):
        (files / name).write_text((files / name).read_text(), encoding="utf-8-sig")
    (files / "input.json").write_text("[1, 2]", encoding="utf-8-sig")
    assert cli("validate", "good.yaml").code == 0
    assert "mapping is well formed: 1 step, 2 tasks" in cli("validate", "root.json", "--input", "@input.json").out


def test_validate_counts_by_an_input(cli, files, monkeypatch):
    assert "one per element of the input" in cli("validate", "root.json").out
    said = cli("validate", "root.json", "--input", "[1, 2, 3]")
    assert said.out.endswith("mapping is well formed: 1 step, 3 tasks (if every condition is met)\n")
    (files / "input.json").write_text("[]")
    assert json.loads(cli("validate", "root.json", "--input", "@input.json", "--json").out) == {
        "flow": "mapping",
        "errors": [],
        "tasks": {"each": 0},
    }
    said = cli("validate", "root.json", "--input", "{}")
    assert (said.code, "its input must be a list, not dict" in said.err) == (2, True)
    said = json.loads(cli("validate", "root.json", "--input", "{}", "--json").out)
    assert (said["flow"], len(said["errors"])) == ("mapping", 1)
    monkeypatch.setattr("sys.stdin", io.StringIO(ROOT))
    assert cli("validate", "-").code == 0


def test_validate_says_every_error_with_its_path(cli, files):
    said = cli("validate", "bad.yml")
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines() == [
        "bad.yml: slug: flow slug 're-port' is not valid: use letters, digits and _, not starting with a digit",
        "bad.yml: steps[0].tiemout: there is no such key; did you mean 'timeout'?",
        "bad.yml: steps[1].depends_on[0]: no step 'fech'; did you mean 'fetch'?",
    ]
    said = cli("validate", "bad.yml", "--json")
    assert said.code == 2
    assert [error.split(":")[0] for error in json.loads(said.out)["errors"]] == [
        "slug", "steps[0].tiemout", "steps[1].depends_on[0]",
    ]  # fmt: skip


def test_a_length_that_cannot_be_right_has_its_path_too(cli, files):
    (files / "lengths.yaml").write_text("""
slug: lengths
steps:
  - {slug: two, step_type: map, initial_tasks: 2}
  - {slug: three, step_type: map, depends_on: [two], initial_tasks: 3}
""")
    fault = "steps[1].initial_tasks: 3 elements are expected, but step 'two' has 2 tasks: this step would fail"
    said = cli("validate", "lengths.yaml")
    assert (said.code, said.out, said.err) == (2, "", f"lengths.yaml: {fault}\n")
    said = cli("validate", "lengths.yaml", "--json")
    assert (said.code, json.loads(said.out)) == (2, {"flow": "lengths", "errors": [fault]})


def test_what_is_no_document_at_all_is_json_too(cli, files):
    (files / "half.json").write_text('{"slug": "report", "steps": [')
    said = cli("validate", "half.json", "--json")
    assert (said.code, said.err) == (2, "")
    report = json.loads(said.out)
    assert (report["flow"], len(report["errors"])) == ("?", 1)
    assert report["errors"][0].startswith("half.json: no ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "missing.yaml"], "cannot read missing.yaml: No such file or directory"),
        (["validate", "app.py"], "app.py: no YAML: "),
        (["compile", "latin.json"], "cannot read latin.json: it is no UTF-8"),
        (["compile", "bad.yml"], "flow 're-port' is not well formed: slug: "),
        (["compile", "nowhere"], "no module 'nowhere' here"),
        (["compile", "app:shuot"], "app has no flow 'shuot'; did you mean 'shout'?"),
        (["compile", "faulty"], "flow 'faulty' is not well formed"),
        (
            ["compile", "tools"],
            "tools has handlers only: the flows that they serve are data",
        ),
    ],
)
def test_what_cannot_be_compiled_never_reaches_the_database(cli, dsn, files, conn, arguments, message):
    (files / "latin.json").write_bytes(b'{"slug": "\xe9"}')
    (files / "faulty.py").write_text(
        "import pgflow\nfine = pgflow.Flow('fine')\nfine.step(slug='a')(lambda: 1)\nfaulty = pgflow.Flow('faulty')\n"
    )
    (files / "tools.py").write_text("import pgflow\ntools = pgflow.Handlers()\n")
    said = cli(*arguments, "--dsn", dsn)
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert message in said.err
    assert value(conn, "select count(*) from pgflow.flows") == 0


def test_compile_stores_specs_and_flows_of_modules(cli, dsn, files, conn):
    assert cli("compile", "good.yaml", "--dsn", dsn).out == "report: stored\n"
    assert cli("compile", "good.yaml", "--dsn", dsn).out == "report: is there already, and the same\n"
    assert cli("compile", "app", "--dsn", dsn).out == "shout: stored\n"
    assert cli("compile", "app.py:shout", "--dsn", dsn).out == "shout: is there already, and the same\n"
    dynamic = rows(conn, "select flow_slug, dynamic_at is not null from pgflow.flows order by 1")
    assert dynamic == [("report", True), ("shout", False)]


def test_compile_replaces_only_when_asked_to(cli, dsn, files, conn, monkeypatch):
    cli("compile", "good.yaml", "--dsn", dsn)
    (files / "good.yaml").write_text(GOOD.replace("handler: llm", "timeout: 9"))
    assert cli("compile", "good.yaml", "--dsn", dsn).out == "report: its options were updated\n"
    with Client(dsn) as client:
        client.start("report", 1)
    (files / "good.yaml").write_text(GOOD.replace("10", "11"))
    said = cli("compile", "good.yaml", "--dsn", dsn)
    assert said.code == 2
    assert "flow 'report' differs" in said.err
    assert "initialTasks differs '11' vs '10'" in said.err
    assert "--replace" in said.err
    assert value(conn, "select count(*) from pgflow.runs") == 1
    assert cli("compile", "good.yaml", "--replace", "--dsn", dsn).out == "report: replaced, with all its runs\n"
    assert value(conn, "select count(*) from pgflow.runs") == 0


def test_compile_with_sql_writes_nothing(cli, dsn, files, conn):
    said = cli("compile", "good.yaml", "--sql", "--dsn", "postgresql://127.0.0.1:1/nowhere")
    assert said.code == 0
    conn.execute(said.out)
    assert cli("compile", "good.yaml", "--dsn", dsn).out == "report: is there already, and the same\n"
    said = cli("compile", "app:shout", "--sql")
    assert said.out.startswith("select pgflow.create_flow(flow_slug => 'shout', max_attempts => 1);\n")
    assert "_announce_flow" not in said.out
