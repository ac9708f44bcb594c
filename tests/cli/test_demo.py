"""`pgflow demo`: the survey, its report, and going on after Ctrl-C."""

from __future__ import annotations

import ast
import re
import signal
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pgflow import Client, execute
from pgflow.cli.demo import flow, report
from tests.cli.conftest import spawn
from tests.support import eventually, value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): pass", 1),
        ("def f(x):\n if x: pass\n elif x > 1: pass\n else: pass", 3),
        ("def f(x): return x and 1 or 2", 3),
        ("def f(x): return 1 if x else 2", 2),
        ("def f(x):\n for a in x:\n  while a: pass", 3),
        ("def f(x): return [a for a in x if a if not a]", 4),
        ("def f():\n try: pass\n except A: pass\n except B: pass", 3),
        ("def f(x):\n match x:\n  case 1: pass\n  case _: pass", 2),
        ("def f():\n def g(x):\n  if x: pass", 1),
        ("async def f(x):\n async for a in x: pass", 2),
    ],
)
def test_complexity_is_one_and_the_decisions(source, expected):
    assert flow.complexity(ast.parse(source).body[0]) == expected


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A small standard library."""
    root = tmp_path / "lib"
    (root / "site-packages").mkdir(parents=True)
    (root / "package").mkdir()
    (root / "site-packages" / "other.py").write_text("def other(): pass")
    (root / "good.py").write_text("class A:\n    def f(self, x):\n        return 1 if x else 2\n\ndef g():\n    pass\n")
    (root / "package" / "bad.py").write_text("def broken(:\n")
    (root / "package" / "null.py").write_bytes(b"x = '\0'")
    return root


def test_the_survey_counts_what_is_there_and_survives_what_does_not_parse(dsn, library, tmp_path):
    request = flow.Request(root=str(library), output=str(tmp_path / "report.html"))
    made = execute(flow.survey, request, dsn=dsn, timeout=60)["report"]
    assert [(f["name"], f["path"], f["line"], f["complexity"]) for f in made["top"]] == [
        ("A.f", "good.py", 2, 2),
        ("g", "good.py", 5, 1),
    ]
    totals = made["totals"]
    assert (totals["files"], totals["functions"], totals["classes"]) == (3, 2, 1)
    assert totals["unparsed"] == ["package/bad.py", "package/null.py"]
    assert [tuple(pair) for pair in totals["bins"]][:3] == [("1", 1), ("2", 1), ("3–4", 0)]
    html = (tmp_path / "report.html").read_text()
    assert "A.f" in html
    assert "package/bad.py" in html


def test_the_report_is_self_contained_and_its_picture_well_formed():
    function = flow.Function(name="<f>", path="a&b.py", line=1, complexity=9)
    totals = flow.Histogram(bins=[("1", 3), ("2", 1)], files=1, unparsed=[], lines=1, classes=0, functions=4)
    html = report.render(root="/lib", top=[function], totals=totals)
    assert "&lt;f&gt;" in html
    assert "a&amp;b.py:1" in html
    assert not re.search(r"(src|href)=|@import|url\(", html)
    svg = ET.fromstring(re.search(r"<svg.*?</svg>", html, re.DOTALL)[0])  # noqa: S314  # our own text
    widths = [float(bar.attrib["width"]) for bar in svg.iter("rect")]
    assert widths[0] == pytest.approx(3 * widths[1], rel=0.01)


@pytest.mark.slow
def test_the_demo_goes_on_after_ctrl_c(dsn, conn, tmp_path, cli):
    demo = spawn("demo", cwd=tmp_path, PGFLOW_DATABASE_URL=dsn)
    measured = "select count(*) from pgflow.step_tasks where step_slug = 'measure' and status = 'completed'"
    try:
        eventually(lambda: value(conn, measured) > 50)
        demo.send_signal(signal.SIGINT)
        _, err = demo.communicate(timeout=30)
    finally:
        demo.kill()
    assert demo.returncode == 130
    assert "`pgflow demo --resume` goes on" in err
    assert "Traceback" not in err
    before = value(conn, measured)
    assert value(conn, "select count(*) from pgflow.step_tasks where status = 'started'") == 0

    said = cli("demo", "--resume", "--dsn", dsn)
    assert said.code == 0, said.err
    run_id = value(conn, "select run_id from pgflow.runs")  # there is one only
    assert f"show {run_id}" in said.out
    assert before < value(conn, measured) > 1000
    assert value(conn, "select max(attempts_count) from pgflow.step_tasks") == 1
    assert re.search(r"^20 .* \d+$", said.out, re.MULTILINE)
    assert f"The report, with a picture:  {tmp_path / 'pgflow-demo.html'}" in said.out
    assert "<svg" in (tmp_path / "pgflow-demo.html").read_text()
    with Client(dsn) as client:
        assert client.get_run(run_id).status == "completed"


def test_resume_without_anything_to_resume(cli, dsn):
    said = cli("demo", "--resume", "--dsn", dsn)
    assert (said.code, said.err) == (
        2,
        "pgflow: no demo was left unfinished in this database: run `pgflow demo`\n",
    )


@pytest.mark.parametrize(("output", "reason"), [("missing/x.html", "is no directory"), (".", "is a directory")])
def test_a_report_that_cannot_be_written_is_refused_at_once(cli, dsn, conn, output, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = cli("demo", "--output", output, "--dsn", dsn)
    assert said.code == 2
    assert reason in said.err
    assert "--output" in said.err
    assert value(conn, "select count(*) from pgflow.runs") == 0
