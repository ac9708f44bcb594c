"""The benchmark runs and says what it promises; how fast anything is, no test says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ENGINES = ("ours", "floor", "pgflow", "pgqueuer", "procrastinate", "oban", "dbos", "absurd")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a tiny run of the engines that need no installation prints, and what it writes."""
    file = tmp_path_factory.mktemp("bench") / "result.json"
    done = run(
        "--engine", "ours", "--engine", "floor", "--scenario", "fanout", "--size", "50", "--rounds", "1",
        "--json", str(file),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


def test_a_measurement_says_what_was_used(small_run: tuple[str, dict[str, Any]]) -> None:
    measured = {one["engine"]: one for one in small_run[1]["measurements"]}
    assert list(measured) == ["ours", "floor"]
    for one in measured.values():
        assert (one["scenario"], one["round"], one["size"], one["tasks"]) == ("fanout", 1, 50, 50)
        assert one["seconds"] > 0
        assert one["wal_bytes_per_task"] > 0
        assert one["postgres_cpu_ms_per_task"] >= 0


def test_the_summary_holds_medians_and_ratios_to_ours(small_run: tuple[str, dict[str, Any]]) -> None:
    ours, floor = small_run[1]["summary"]
    assert ours["times_ours"] == 1
    assert floor["times_ours"] == pytest.approx(ours["tasks_per_second"] / floor["tasks_per_second"])
    assert ours["seconds"] == ours["fastest"] == ours["slowest"]


def test_the_result_says_where_and_with_what_it_was_measured(small_run: tuple[str, dict[str, Any]]) -> None:
    result = small_run[1]
    assert result["postgres"]["fsync"] == result["postgres"]["synchronous_commit"] == "on"
    assert result["postgres"]["server_version"].startswith("18.")
    assert result["settings"]["concurrency"] == 100
    assert result["engines"]["ours"]["keeps_results"] is True
    assert result["machine"]["cpus"] >= 1


def test_the_table_has_a_line_per_engine(small_run: tuple[str, dict[str, Any]]) -> None:
    lines = [line.split() for line in small_run[0].splitlines()]
    assert [line[:2] for line in lines if line and line[0] in ("ours", "floor")] == [["ours", "50"], ["floor", "50"]]


def test_an_unknown_engine_is_refused_with_the_known_ones_named() -> None:
    done = run("--engine", "nosuch")
    assert done.returncode == 2
    assert all(name in done.stderr for name in ENGINES)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in ("ours", "floor")])
def test_what_a_peer_needs_is_pinned(engine: str) -> None:
    lines = (BENCHMARKS / "peers" / f"{engine}.txt").read_text().splitlines()
    assert all("==" in line or line.startswith("# python >= ") for line in lines)
