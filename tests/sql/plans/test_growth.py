"""Costs in pages and rows: linear in what one call does, and none of it in what the call has nothing to do with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest

from pgflow import calls
from pgflow.records import Outcome
from tests.sql.engine.work import add_our_worker, completed, extend, failed, poll, settle, settle_and_go_on
from tests.sql.flows import Step, create_flow, start, step
from tests.sql.plans.explained import Cost, Explained

#: Slow: alone, since a transaction anywhere on the server keeps old versions, and so pages, from being pruned.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: For twice as much: what is linear doubles, what is quadratic quadruples.
LINEAR = 2.5
#: What one step, task or run may cost within one call.
EACH = Cost(pages=200, rows=200)
#: For twenty times as much that a call has nothing to do with: a page more of an index, now and then.
SAME = 1.2


def chain(count: int, *behind: str, **options: Any) -> list[Step]:
    """So many steps in a row, s0 first."""
    return [step(f"s{n}", *(behind if n == 0 else (f"s{n - 1}",)), **options) for n in range(count)]


def diamonds(count: int) -> list[Step]:
    """Diamonds in a row behind `top`: 2 to that power paths."""
    steps, above = [], "top"
    for n in range(count):
        steps += [step(f"l{n}", above), step(f"r{n}", above), step(f"j{n}", f"l{n}", f"r{n}")]
        above = f"j{n}"
    return steps


def layers(count: int, width: int) -> list[Step]:
    """Layers behind `top`, each step with three dependencies in the one before."""
    return [
        step(f"s{at}_{n}", *({"top"} if at == 0 else {f"s{at - 1}_{(n + k) % width}" for k in range(3)}))
        for at in range(count)
        for n in range(width)
    ]


def define(conn: psycopg.Connection, slug: str, *steps: str | Step) -> None:
    """Stores a flow and, as autovacuum does within a minute of a large one, counts what there is in the definitions.
    Of runs, states and tasks the planner knows nothing: they grow faster than anybody counts them."""
    create_flow(conn, slug, *steps)
    conn.execute("analyze pgflow.flows, pgflow.steps, pgflow.deps")


# ------------------------------------------------------------------------------- one call that does much


def start_run(explained: Explained, slug: str, steps: list[Step], data: Any = None) -> None:
    define(explained.connection, slug, *steps)
    explained.watch(lambda: start(explained.connection, slug, [] if data is None else data))


def settle_top(explained: Explained, slug: str, steps: list[Step], output: Any = None, *, fails: bool = False) -> None:
    """All that follows when the first step has ended."""
    conn = explained.connection
    define(conn, slug, step("top", max_attempts=1, when_exhausted="skip-cascade"), *steps)
    start(conn, slug)
    worker = add_our_worker(conn)
    (task,) = poll(conn, worker, slug)
    outcome = failed(task, permanent=True) if fails else completed(task, output)
    assert explained.watch(lambda: settle(conn, worker, outcome)) == ["applied"]


def empty_maps(explained: Explained, slug: str, n: int) -> None:
    start_run(explained, slug, chain(n, step_type="map"))


def empty_maps_in_mid_run(explained: Explained, slug: str, n: int) -> None:
    settle_top(explained, slug, chain(n, "top", step_type="map"), [])


def unmet_steps(explained: Explained, slug: str, n: int) -> None:
    start_run(explained, slug, chain(n, required_input_pattern={"x": 1}), {})


def skipped_chain(explained: Explained, slug: str, n: int) -> None:
    settle_top(explained, slug, chain(n, "top"), fails=True)


def skipped_diamonds(explained: Explained, slug: str, n: int) -> None:
    settle_top(explained, slug, diamonds(n), fails=True)


def skipped_layers(explained: Explained, slug: str, n: int) -> None:
    settle_top(explained, slug, layers(n // 10, 10), fails=True)


def many_roots(explained: Explained, slug: str, n: int) -> None:
    start_run(explained, slug, [step(f"s{i}") for i in range(n)])


def many_dependents(explained: Explained, slug: str, n: int) -> None:
    settle_top(explained, slug, [step(f"s{i}", "top") for i in range(n)])


def many_conditions(explained: Explained, slug: str, n: int) -> None:
    settle_top(explained, slug, [step(f"s{i}", "top", required_input_pattern={"top": 1}) for i in range(n)], 1)


def many_dependencies(explained: Explained, slug: str, n: int) -> None:
    """Maps of which all are empty, and one step behind them all."""
    parts = [step(f"s{i}", "top", step_type="map") for i in range(n)]
    settle_top(explained, slug, [*parts, step("all", *(s.slug for s in parts))], [])


def large_map(explained: Explained, slug: str, n: int) -> None:
    settle_top(explained, slug, [step("m", "top", step_type="map")], ["x" * 1000] * n)


def settled_batch(explained: Explained, slug: str, n: int) -> None:
    """All tasks of a map in one call: its output is put together."""
    conn = explained.connection
    define(conn, slug, step("m", step_type="map"), step("n", "m", step_type="map"))
    start(conn, slug, list(range(n)))
    worker = add_our_worker(conn, lease=60)
    outcomes = [completed(t, "x" * 1000) for t in poll(conn, worker, slug, qty=n, lease=60)]
    assert len(outcomes) == n
    explained.watch(lambda: settle(conn, worker, *outcomes))


def polled_batch(explained: Explained, slug: str, n: int) -> None:
    conn = explained.connection
    define(conn, slug, step("m", step_type="map"))
    start(conn, slug, list(range(n)))
    worker = add_our_worker(conn, lease=60)
    assert len(explained.watch(lambda: poll(conn, worker, slug, qty=n, lease=60))) == n


def settled_runs(explained: Explained, slug: str, n: int) -> None:
    """A batch over as many runs: each goes on to its next step."""
    worker, outcomes = results_of_runs(explained, slug, n)
    explained.watch(lambda: settle(explained.connection, worker, *outcomes))


def runs_handed_over(explained: Explained, slug: str, n: int) -> None:
    """The same, and who settles gets the next steps."""
    worker, outcomes = results_of_runs(explained, slug, n)
    _, polled = explained.watch(lambda: settle_and_go_on(explained.connection, worker, *outcomes, slugs=[slug], qty=n))
    assert len(polled.tasks) == n


def results_of_runs(explained: Explained, slug: str, n: int) -> tuple[UUID, list[Outcome]]:
    """Of the first step of as many runs, and the worker who has them."""
    conn = explained.connection
    define(conn, slug, "a", step("b", "a"), step("c", "b"))
    explained.run(calls.start_flows(slug, [b"{}"] * n))
    worker = add_our_worker(conn, lease=60)
    outcomes = [completed(t) for t in poll(conn, worker, slug, qty=n, lease=60)]
    assert len(outcomes) == n
    return worker, outcomes


def started_runs(explained: Explained, slug: str, n: int) -> None:
    define(explained.connection, slug, "a", step("b", "a"), step("c", "b"))
    assert len(explained.run(calls.start_flows(slug, [b"{}"] * n))) == n


def told_watchers(explained: Explained, slug: str, n: int) -> None:
    """Events of as many runs, and watchers of as many others."""
    conn = explained.connection
    define(conn, slug, "a")
    explained.run(calls.start_flows(slug, [b"{}"] * n))
    conn.execute("select pgflow.watch(array(select gen_random_uuid() from generate_series(1, %s)), '{}', 600)", (n,))
    conn.execute("analyze pgflow.watches")
    conn.execute("set plan_cache_mode to force_generic_plan")  # what a worker's connection comes to by itself
    keys = "array(select (r.run_id, 'a')::pgflow.step_key from pgflow.runs r where r.flow_slug = %s)"
    explained.watch(lambda: conn.execute(f"select pgflow._tell_watchers({keys})", (slug,)))


def started_runs_with_keys(explained: Explained, slug: str, n: int) -> None:
    """Every other key has a run already."""
    conn = explained.connection
    define(conn, slug, "a", step("b", "a"), step("c", "b"))
    explained.run(calls.start_flows(slug, [b"{}"] * (n // 2), keys=[f"k{i}" for i in range(0, n, 2)]))
    conn.execute("analyze pgflow.runs")
    assert len(explained.run(calls.start_flows(slug, [b"{}"] * n, keys=[f"k{i}" for i in range(n)]))) == n


def failed_run(explained: Explained, slug: str, n: int) -> None:
    """A map's task fails for good and takes the run along: the messages of all others are archived."""
    conn = explained.connection
    define(conn, slug, step("m", step_type="map", max_attempts=1))
    start(conn, slug, list(range(n)))
    worker = add_our_worker(conn, lease=60)
    (task,) = poll(conn, worker, slug, qty=1, lease=60)
    explained.watch(lambda: settle(conn, worker, failed(task)))


@pytest.mark.parametrize("of", [pytest.param(1, marks=pytest.mark.slow), 5], ids=["whole", "a fifth"])
@pytest.mark.parametrize(
    ("call", "size"),
    [
        (empty_maps, 500),
        (empty_maps_in_mid_run, 500),
        (unmet_steps, 500),
        (skipped_chain, 1000),
        (skipped_diamonds, 300),
        (skipped_layers, 1000),
        (many_roots, 1000),
        (many_dependents, 1000),
        (many_conditions, 1000),
        (many_dependencies, 500),
        (large_map, 2000),
        (settled_batch, 500),
        (polled_batch, 500),
        (settled_runs, 500),
        (runs_handed_over, 500),
        (started_runs, 500),
        (told_watchers, 500),
        (started_runs_with_keys, 500),
        (failed_run, 2000),
    ],
    ids=lambda of: getattr(of, "__name__", str(of)),
)
def test_cost_is_linear(explain: Callable[[], Explained], call: Callable[..., None], size: int, of: int) -> None:
    costs = []
    for slug, n in (("small", size // of), ("large", 2 * size // of)):
        explained = explain()
        call(explained, slug, n)
        costs.append(explained.cost)
        assert explained.cost.at_most(n, EACH), (n, explained.cost, explained.costliest())
    print(call.__name__, size, *costs)
    assert costs[1].at_most(LINEAR, costs[0]), (costs, explained.costliest())


# ------------------------------------------------------------------------------- one task of something large


def work_once(explained: Explained, slug: str, worker: UUID) -> list[Cost]:
    """What it costs to claim a few tasks, to keep them and to settle them."""
    conn = explained.connection
    costs = []
    tasks = explained.watch(lambda: poll(conn, worker, slug, qty=20, lease=60))
    assert tasks
    costs.append(explained.cost)
    assert explained.watch(lambda: extend(conn, worker, *(t.key for t in tasks), lease=60)) == []
    costs.append(explained.cost)
    outcomes = [completed(t, "x" * 1000) for t in tasks]
    assert set(explained.watch(lambda: settle(conn, worker, *outcomes))) == {"applied"}
    return [*costs, explained.cost]


def in_a_map(explained: Explained, slug: str, n: int) -> UUID:
    """A map over what a step gave, and another map behind it."""
    conn = explained.connection
    define(conn, slug, "top", step("m", "top", step_type="map"), step("n", "m", step_type="map"))
    start(conn, slug)
    worker = add_our_worker(conn, lease=60)
    (task,) = poll(conn, worker, slug)
    settle(conn, worker, completed(task, ["x" * 1000] * n))
    return worker


def in_a_chain(explained: Explained, slug: str, n: int) -> UUID:
    """A run whose first steps have completed."""
    conn = explained.connection
    define(conn, slug, *chain(n))
    start(conn, slug)
    worker = add_our_worker(conn, lease=60)
    for _ in range(3):
        settle(conn, worker, *map(completed, poll(conn, worker, slug)))
    return worker


def in_layers(explained: Explained, slug: str, n: int) -> UUID:
    conn = explained.connection
    define(conn, slug, step("top"), *layers(n // 10, 10))
    start(conn, slug)
    worker = add_our_worker(conn, lease=60)
    for _ in range(3):
        settle(conn, worker, *map(completed, poll(conn, worker, slug)))
    return worker


def among_roots(explained: Explained, slug: str, n: int) -> UUID:
    conn = explained.connection
    define(conn, slug, *(step(f"s{i}") for i in range(n)))
    start(conn, slug)
    return add_our_worker(conn, lease=60)


def among_runs(explained: Explained, slug: str, n: int) -> UUID:
    conn = explained.connection
    define(conn, slug, "a", step("b", "a"))
    explained.run(calls.start_flows(slug, [b"{}"] * n))
    return add_our_worker(conn, lease=60)


@pytest.mark.parametrize(
    ("work", "small", "large"),
    [
        (in_a_map, 1000, 20_000),
        pytest.param(in_a_map, 1000, 100_000, marks=pytest.mark.slow),
        (in_a_chain, 100, 2000),
        (in_layers, 100, 2000),
        (among_roots, 500, 2000),
        (among_runs, 500, 2000),
    ],
    ids=lambda of: getattr(of, "__name__", str(of)),
)
def test_a_task_costs_the_same_whatever_it_belongs_to(
    explain: Callable[[], Explained], work: Callable[..., UUID], small: int, large: int
) -> None:
    # both are there before either is measured, so that the indexes of what they share are as deep for both
    sizes = {"small": small, "large": large}
    workers = {slug: work(explain(), slug, n) for slug, n in sizes.items()}
    costs = {}
    for slug in sizes:
        explained = explain()
        work_once(explained, slug, workers[slug])  # the first of a connection reads catalogs, too
        costs[slug] = work_once(explained, slug, workers[slug])
    print(work.__name__, large, *costs.values())
    for few, many in zip(*costs.values(), strict=True):
        assert many.at_most(SAME, few), (costs, explained.costliest())


# ------------------------------------------------------------------------------- many flows


def test_a_poll_costs_what_the_flows_cost_that_it_asks_for(
    conn: psycopg.Connection, explain: Callable[[], Explained]
) -> None:
    """A worker asks for ten flows at most (pgflow.worker.attention), however many it serves; five are busy here."""
    flows = [f"f{n}" for n in range(1000)]
    asked, busy = flows[:10], flows[:5]
    costs = []
    for defined in (flows[:10], flows[10:]):
        for slug in defined:
            create_flow(conn, slug, "a")
        conn.execute("vacuum analyze pgflow.flows, pgflow.steps, pgflow.deps")
        costs.append(poll_cost(explain(), asked, busy))
    print("ten flows of ten, of a thousand", *costs)
    assert costs[1].at_most(1.5, costs[0]), costs  # one level more in the indexes of the definitions


def poll_cost(explained: Explained, asked: list[str], busy: list[str]) -> Cost:
    conn = explained.connection
    worker = add_our_worker(conn, lease=60)
    poll(conn, worker, *asked, lease=60)  # the first of a connection reads catalogs, too
    for slug in busy:
        start(conn, slug)
    tasks = explained.watch(lambda: poll(conn, worker, *asked, lease=60))
    assert {task.flow_slug for task in tasks} == {*busy}
    return explained.cost
