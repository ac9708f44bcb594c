"""From measurements to medians, ratios, tables and charts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _scripts() -> Any:
    """The scripts of benchmarks/ are no package: they find each other where they lie."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        yield


def measured(engine: str, seconds: float, **other: Any) -> dict[str, Any]:
    one = {"workload": "fanout", "engine": engine, "size": 10_000, "workers": 1, "history": 0, "round": 1,
           "seconds": seconds, "tasks": 10_000, "database_cpu_ms_per_task": 0.1}  # fmt: skip
    return one | other


def summarised(*measurements: dict[str, Any]) -> list[dict[str, Any]]:
    import summary

    return summary.summarise(measurements)


def test_medians_and_spread_over_the_rounds() -> None:
    (row,) = summarised(*(measured("ours", s, round=n) for n, s in enumerate((3.0, 1.0, 2.0))))
    assert (row["fastest"], row["seconds"], row["slowest"], row["rounds"]) == (1, 2, 3, 3)
    assert row["tasks_per_second"] == 5000


def test_ratios_to_ours_and_to_the_floor_are_of_tasks_per_second() -> None:
    ours, floor, slow = summarised(
        measured("ours", 2), measured("floor", 1), measured("dbos", 4, size=1000, tasks=1000)
    )
    assert (ours["times_ours"], ours["times_floor"]) == (1, 2)
    assert (floor["times_ours"], floor["times_floor"]) == (0.5, 1)
    assert slow["times_ours"] == 20


def test_latencies_are_compared_by_their_medians() -> None:
    given = {"workload": "latency1", "tasks": 3}
    ours, other = summarised(
        measured("ours", 1, latencies=[0.002, 0.004, 0.006], ran=[0.001, 0.002, 0.003], **given),
        measured("celery", 1, latencies=[0.01, 0.012, 0.014], ran=[0.001, 0.003, 0.005], **given),
    )
    assert ours["p50_ms"] == pytest.approx(4)
    assert other["times_ours"] == pytest.approx(3)
    assert ours["ran_p50_ms"] == pytest.approx(2)
    assert other["ran_times_ours"] == pytest.approx(1.5)


def test_more_workers_are_compared_with_one() -> None:
    rows = summarised(*(measured("ours", 4 / n, workload="scale", workers=n) for n in (1, 2, 4)))
    assert [row["times_one_worker"] for row in rows] == [1, 2, 4]


def test_a_history_is_compared_with_none_and_a_large_map_with_a_small_one() -> None:
    _, with_history = summarised(
        measured("ours", 1, workload="history"),
        measured("ours", 1, workload="history", history=5_000_000, database_cpu_ms_per_task=0.105),
    )
    assert with_history["times_database_cpu_ms_per_task"] == pytest.approx(1.05)
    _, large = summarised(
        measured("ours", 1),
        measured("ours", 11, workload="fanout100k", size=100_000, tasks=100_000, database_cpu_ms_per_task=0.11),
    )
    assert large["times_database_cpu_ms_per_task"] == pytest.approx(1.1)


def test_one_failure_takes_the_engine_out_of_the_workload() -> None:
    (row,) = summarised(measured("oban", 1), {**measured("oban", 1, round=2), "failed": "not done within 300 s"})
    assert "seconds" not in row
    assert row["failed"] == "not done within 300 s"


@pytest.mark.parametrize(
    ("seconds", "said"), [(1.4, "same (1.40)"), (0.7, "same (0.70)"), (1.6, "1.6 slower"), (0.5, "2.0 faster")]
)
def test_no_difference_below_one_and_a_half_is_called_one(seconds: float, said: str) -> None:
    import tables
    from workloads import WORKLOADS

    rows = summarised(measured("ours", 1), measured("oban", seconds))
    titles, _, line = tables.cells(WORKLOADS["fanout"], rows)
    assert line[titles.index("than ours")] == said


def test_what_could_not_be_measured_is_named_with_its_reason() -> None:
    import tables

    rows = summarised({**measured("oban", 1), "failed": "a worker ended"})
    engines = {"oban": {"available": True}, "dbos": {"available": False, "reason": "no Python 3.12"}}
    assert tables.missing(rows, engines) == [
        "dbos: not available: no Python 3.12",
        "oban: no result in fanout (10,000): a worker ended",
    ]


def test_slow_engines_get_a_tenth_and_once_the_whole() -> None:
    from workloads import WORKLOADS

    def sizes(round_: int, **described: bool) -> list[int]:
        known = {"is_slow": False, "is_slowest": False} | described
        return [s.size for s in WORKLOADS["fanout"].scenarios(known, round_, 10_000, None)]

    assert sizes(1) == sizes(2) == [10_000]
    assert (sizes(1, is_slow=True), sizes(2, is_slow=True)) == ([1000, 10_000], [1000])
    assert sizes(1, is_slow=True, is_slowest=True) == [1000]


def test_other_sources_begin_a_part_anew_and_a_failure_settles_it(tmp_path: Path) -> None:
    import results

    part = results.Part(tmp_path, "fanout", "old")
    part.add({**measured("ours", 1)})
    part.add({**measured("oban", 1), "failed": "a worker ended"})
    again = results.Part(tmp_path, "fanout", "old")
    assert again.settles(measured("ours", 1))
    assert not again.settles(measured("ours", 1, round=2))
    assert again.settles(measured("oban", 1, round=2))
    assert len(results.read(tmp_path, "old")) == 2
    assert results.read(tmp_path, "new") == []
    assert not results.Part(tmp_path, "fanout", "new").settles(measured("ours", 1))
    assert (tmp_path / "fanout.previous").exists()


def test_bars_are_as_long_as_their_values() -> None:
    import charts

    drawn = ElementTree.fromstring(charts.bars("a < b", [charts.Bar("ours", 10, "10"), charts.Bar("x&y", 5, "5")]))  # noqa: S314
    long, short = [float(rect.get("width", 0)) for rect in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert long == pytest.approx(2 * short)
    assert [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")] == ["a < b", "ours", "10", "x&y", "5"]
