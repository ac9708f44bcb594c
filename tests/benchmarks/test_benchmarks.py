"""The benchmark runs and says what it promises; how fast anything is, no test says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ENGINES = ("ours", "floor", "pgflow", "pgqueuer", "procrastinate", "oban", "dbos", "absurd", "celery")


def call(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def measure(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """A tiny run of the engines that need no installation."""
    return call(
        "run.py", "--engine", "ours", "--engine", "floor", "--size", "50", "--rounds", "1",
        "--results", str(folder), "--workload", "fanout", *more,
    )  # fmt: skip


def kept(folder: Path, workload: str = "fanout") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{workload}.jsonl").read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a tiny run, and what it printed."""
    folder = tmp_path_factory.mktemp("bench")
    done = measure(folder)
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


@pytest.mark.slow
def test_a_measurement_says_what_was_used(small: Path) -> None:
    measured = {one["engine"]: one for one in kept(small)}
    assert list(measured) == ["ours", "floor"]
    for one in measured.values():
        assert (one["workload"], one["round"], one["size"], one["tasks"]) == ("fanout", 1, 50, 50)
        assert one["seconds"] > 0
        assert one["wal_bytes_per_task"] > 0
        assert one["rows_per_task"] > 5
        assert one["buffers_per_task"] > one["rows_per_task"]
        assert 0 < one["commits_per_task"] < 1
        assert one["database_cpu_ms_per_task"] >= 0


def test_the_result_says_where_and_with_what_it_was_measured(small: Path) -> None:
    about = json.loads((small / "about.json").read_text())
    assert about["postgres"]["fsync"] == about["postgres"]["synchronous_commit"] == "on"
    assert about["postgres"]["server_version"].startswith("18.")
    assert about["concurrency"] == 100
    assert about["engines"]["ours"]["available"] is True
    assert about["machine"]["cpus"] >= 1


def test_the_table_has_a_line_per_engine(small: Path) -> None:
    lines = [line.split() for line in (small / "printed").read_text().splitlines()]
    assert [line[:2] for line in lines if line and line[0] in ("ours", "floor")] == [["ours", "50"], ["floor", "50"]]


def test_what_was_measured_is_not_measured_again(small: Path) -> None:
    before, lines = (small / "about.json").stat(), kept(small)
    done = measure(small)
    assert done.returncode == 0, done.stderr
    assert kept(small) == lines
    assert (small / "about.json").stat() == before, "not even the server was started"


@pytest.mark.slow
def test_what_is_missing_is_measured_until_time_is_up(small: Path) -> None:
    done = measure(small, "--workload", "start", "--minutes", "0")
    assert (done.returncode, kept(small, "start")) == (0, [])
    assert "2 measurements are left" in done.stderr


@pytest.mark.slow
def test_an_idle_worker_is_asked_for_its_statements_and_a_history_is_laid_down(tmp_path: Path) -> None:
    done = call(
        "run.py", "--engine", "ours", "--size", "1", "--rounds", "1", "--history", "60", "--results", str(tmp_path),
        "--workload", "idle", "--workload", "history",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (idle,) = kept(tmp_path, "idle")
    assert idle["statements_per_second"] == pytest.approx(sum(idle["statements"].values()) / idle["seconds"])
    assert 1 <= idle["connections"] <= 5
    assert [one["history"] for one in kept(tmp_path, "history")] == [0, 60]


def test_the_page_shows_what_was_measured_and_what_was_not(small: Path, tmp_path: Path) -> None:
    done = call("report.py", "--results", str(small), "--to", str(tmp_path))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| ours | 50 |" in page
    assert "### runs\n\nNot measured yet." in page
    assert "![benchmark-fanout](benchmark-fanout.svg)" in page
    assert all(f"| {engine} |" in page.partition("## Measured")[0] for engine in ENGINES)
    assert 'aria-label="Fan-out: tasks per second"' in (tmp_path / "benchmark-fanout.svg").read_text()


def test_no_page_without_results(tmp_path: Path) -> None:
    done = call("report.py", "--results", str(tmp_path), "--to", str(tmp_path))
    assert (done.returncode, "run `make bench` first" in done.stderr) == (1, True)


def test_an_unknown_engine_is_refused_with_the_known_ones_named() -> None:
    done = call("run.py", "--engine", "nosuch")
    assert done.returncode == 2
    assert all(name in done.stderr for name in ENGINES)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in ("ours", "floor")])
def test_what_a_peer_needs_is_pinned(engine: str) -> None:
    lines = (BENCHMARKS / "peers" / f"{engine}.txt").read_text().splitlines()
    assert all("==" in line or line.startswith("# ") for line in lines)


@pytest.mark.slow
def test_the_least_latency_is_told_for_one_step_and_for_three() -> None:
    done = call("least_latency.py", "--runs", "5")
    assert done.returncode == 0, done.stderr
    one, three = re.findall(r"^\d steps?: p50 (\d+\.\d) ms, p99 \d+\.\d ms$", done.stdout, re.MULTILINE)
    assert float(one) > 0 < float(three)
