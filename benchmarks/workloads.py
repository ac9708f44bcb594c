"""What is measured: the list of workloads, and which scenarios each consists of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peers.harness import Scenario

#: How many handlers run at once in a worker process, for every engine that has such a setting.
CONCURRENCY = 100
#: What slow engines get of the items or runs.
_SLOW_SHARE = 10

ENGINES = ("ours", "floor", "pgflow", "pgqueuer", "oban", "procrastinate", "dbos", "absurd", "celery")
QUICK_ENGINES = ("ours", "floor", "pgflow", "pgqueuer")


@dataclass(frozen=True)
class Workload:
    """One kind of work; its scenarios differ in the number of workers or in the history."""

    name: str
    title: str
    kind: str
    #: Items, runs, or seconds of idling.
    size: int
    rounds: int = 3
    steps: int = 0
    workers: tuple[int, ...] = (1,)
    concurrency: int = CONCURRENCY
    delay: float = 0.0
    element_bytes: int = 0
    histories: tuple[int, ...] = (0,)
    spread: bool = False
    #: Who takes part, if they can do this kind.
    engines: tuple[str, ...] = ENGINES
    #: The workload whose costs per task its own are compared with.
    like: str = ""
    #: Whether engines that are slow get a tenth of the size, and the whole of it in the first round.
    spares_the_slow: bool = False
    #: Whether it is measured only when it is named.
    by_hand: bool = False

    def scenarios(self, described: dict[str, Any], round_: int, size: int, history: int | None) -> Iterator[Scenario]:
        """What an engine does in a round."""
        sizes = [size]
        if self.spares_the_slow and described["is_slow"]:
            once = [size] if round_ == 1 and not described["is_slowest"] else []
            sizes = [max(size // _SLOW_SHARE, 1), *once]
        for each in sizes:
            for workers in self.workers:
                for finished in self.histories:
                    yield Scenario(
                        workload=self.name,
                        kind=self.kind,
                        size=each,
                        steps=self.steps,
                        workers=workers,
                        concurrency=self.concurrency,
                        delay=self.delay,
                        element_bytes=self.element_bytes,
                        history=history or finished if finished else 0,
                        spread=self.spread,
                    )


_ALL = (
    Workload("fanout", "work on so many items, then count them", "fan_out", 10_000, spares_the_slow=True),
    Workload("runs", "so many runs of 3 steps, started and worked off", "runs", 1000, steps=3),
    Workload(
        "start", "start so many runs of 3 steps, with no worker there; tasks are runs here", "start", 10_000,
        steps=3, workers=(0,), spares_the_slow=True,
    ),
    Workload(
        "latency1", "from starting a run of 1 step to knowing its end, idle system", "latency", 200, rounds=2, steps=1
    ),
    Workload("latency3", "the same with 3 steps", "latency", 200, rounds=2, steps=3),
    Workload(
        "fanout100k", "ten times as many items", "fan_out", 100_000, like="fanout",
        engines=("ours", "floor", "pgqueuer"),
    ),
    Workload(
        "map1k", "items that are texts of 1 KB", "fan_out", 10_000, element_bytes=1000, like="fanout",
        engines=("ours", "floor", "pgqueuer"),
    ),
    Workload(
        "scale", "items whose handlers wait 5 ms, 2 at a time per worker process", "fan_out", 2000, rounds=2,
        workers=(1, 2, 4), concurrency=2, delay=0.005, spread=True,
        engines=tuple(engine for engine in ENGINES if engine != "floor"),
    ),
    Workload(
        "saturated", "items whose handlers do not wait, by so many worker processes", "fan_out", 10_000,
        workers=(1, 2, 4), spread=True, engines=("ours", "pgqueuer", "oban"),
    ),
    Workload("idle", "what a worker with nothing to do asks of the database", "idle", 20, rounds=1),
    Workload(
        "history", "a fan-out in an empty database, and in one with finished tasks", "fan_out", 10_000, rounds=6,
        histories=(0, 5_000_000), engines=("ours",),
    ),
    Workload(
        "history-runs", "runs of 3 steps in an empty database, and in one with finished tasks", "runs", 1000, rounds=6,
        steps=3, histories=(0, 5_000_000), engines=("ours",),
    ),
    Workload(
        "map100", "a million items that are texts of 100 bytes", "fan_out", 1_000_000, rounds=1, element_bytes=100,
        like="fanout", engines=("ours", "floor"), by_hand=True,
    ),
)  # fmt: skip

WORKLOADS = {workload.name: workload for workload in _ALL}
DEFAULT = tuple(name for name, workload in WORKLOADS.items() if not workload.by_hand)
QUICK = ("fanout", "runs")
