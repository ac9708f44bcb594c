"""Long, wide and tangled flows go through like small ones."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import psycopg
import pytest

import pgflow
from tests.sql.engine.work import add_our_worker, completed, poll, settle, wait_for_server_grace
from tests.sql.flows import (
    Step,
    add_worker,
    complete,
    create_flow,
    fail,
    poll_and_start,
    queued,
    run_row,
    run_status,
    start,
    step,
    step_row,
    step_status,
)
from tests.support import rows

SOURCE = Path(pgflow.__file__).parent


def chain(slug: str, count: int, step_type: str = "map", *behind: str) -> list[Step]:
    """So many steps in a row."""
    links = [step(f"{slug}0", *behind, step_type=step_type)]
    return links + [step(f"{slug}{n}", f"{slug}{n - 1}", step_type=step_type) for n in range(1, count)]


def work_off(conn: psycopg.Connection, slug: str) -> dict[str, int]:
    """Completes every task with the number of its inputs until none comes up; how often each step was worked on."""
    worker_id, done = add_worker(conn, slug), {}
    while tasks := poll_and_start(conn, slug, worker_id, qty=1000):
        for task in tasks:
            complete(conn, task.run_id, task.step_slug, len(task.input or ()), task.task_index)
            done[task.step_slug] = done.get(task.step_slug, 0) + 1
    return done


def complete_end(conn: psycopg.Connection, run_id: uuid.UUID) -> None:
    """The last step gets what the chain has come to, and ends the run."""
    assert work_off(conn, "flow") == {"end": 1}
    assert run_status(conn, run_id) == "completed"


def test_a_chain_of_200_empty_maps_completes_at_the_start(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", *chain("m", 200), step("end", "m199"))
    run_id = start(conn, "flow", [])
    assert queued(conn, "flow") == [("end", 0)]
    assert rows(
        conn,
        """select status, count(*), bool_and(output = '[]'), bool_and(remaining_deps = 0 and initial_tasks = 0)
             from pgflow.step_states where step_slug <> 'end' group by 1""",
    ) == [("completed", 200, True, True)]
    complete_end(conn, run_id)


def test_a_chain_of_200_empty_maps_completes_in_mid_run(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", "a", *chain("m", 200, "map", "a"), step("end", "m199"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    complete(conn, run_id, "a", [])
    assert set(step_status(conn, run_id).values()) == {"completed", "started"}
    complete_end(conn, run_id)


@pytest.mark.slow
def test_a_chain_of_1000_empty_maps_completes(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", *chain("m", 1000))
    run = run_row(conn, start(conn, "flow", []))
    assert (run["status"], run["output"], run["remaining_steps"]) == ("completed", {"m999": []}, 0)


def test_a_chain_of_200_unmet_steps_is_skipped_one_by_one(conn: psycopg.Connection) -> None:
    links = [s._replace(options={"required_input_pattern": {"x": 1}}) for s in chain("s", 200)]
    create_flow(conn, "flow", *links)
    run_id = start(conn, "flow")
    assert set(step_status(conn, run_id).values()) == {"skipped"}
    assert step_row(conn, run_id, "s199")["skip_reason"] == "condition_unmet"
    assert run_status(conn, run_id) == "completed"


def test_a_chain_of_200_steps_is_skipped_behind_one(conn: psycopg.Connection) -> None:
    first = step("bad", max_attempts=1, when_exhausted="skip-cascade")
    create_flow(conn, "flow", first, *chain("s", 200, "single", "bad"))
    run_id = start(conn, "flow")
    poll_and_start(conn, "flow")
    fail(conn, run_id, "bad")
    assert set(step_status(conn, run_id).values()) == {"skipped"}
    assert run_status(conn, run_id) == "completed"


def twenty_diamonds(top: Step) -> list[Step]:
    """Twenty diamonds in a row: a million paths."""
    steps, above = [top], top.slug
    for n in range(20):
        steps += [step(f"l{n}", above), step(f"r{n}", above), step(f"j{n}", f"l{n}", f"r{n}")]
        above = f"j{n}"
    return steps


def test_twenty_diamonds_in_a_row_complete(conn: psycopg.Connection) -> None:
    steps = twenty_diamonds(step("top"))
    create_flow(conn, "flow", *steps)
    run_id = start(conn, "flow")
    assert work_off(conn, "flow") == {s.slug: 1 for s in steps}
    assert (run_status(conn, run_id), run_row(conn, run_id)["output"]) == ("completed", {"j19": 2})


def test_twenty_diamonds_in_a_row_are_skipped_from_the_middle_on(conn: psycopg.Connection) -> None:
    steps = twenty_diamonds(step("top"))
    at = [s.slug for s in steps].index("l5")
    steps[at] = step("l5", "j4", required_input_pattern={"j4": "never"}, when_unmet="skip-cascade")
    create_flow(conn, "flow", *steps)
    run_id = start(conn, "flow")
    assert work_off(conn, "flow") == {s.slug: 1 for s in steps[:at]} | {"r5": 1}
    behind = {s.slug for s in steps[at:]} - {"r5"}
    assert {slug for slug, status in step_status(conn, run_id).items() if status == "skipped"} == behind
    assert run_status(conn, run_id) == "completed"


@pytest.mark.parametrize("depth", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_a_dag_of_300_or_2000_steps_completes(conn: psycopg.Connection, depth: int) -> None:
    layers = [
        [step(f"s{layer}_{n}", *(f"s{layer - 1}_{(n + k) % 20}" for k in range(3) if layer > 0)) for n in range(20)]
        for layer in range(depth)
    ]
    create_flow(conn, "flow", *(s for layer in layers for s in layer))
    run_id = start(conn, "flow")
    assert work_off(conn, "flow") == {s.slug: 1 for layer in layers for s in layer}
    run = run_row(conn, run_id)
    assert (run["status"], run["remaining_steps"]) == ("completed", 0)
    assert run["output"] == {s.slug: 3 for s in layers[-1]}
    assert queued(conn, "flow") == []


def test_a_step_with_100_dependencies_starts_once_when_the_last_has_ended(conn: psycopg.Connection) -> None:
    parts = [f"p{n}" for n in range(100)]
    create_flow(conn, "flow", *parts, step("all", *parts))
    run_id = start(conn, "flow")
    assert work_off(conn, "flow") == dict.fromkeys([*parts, "all"], 1)
    assert run_row(conn, run_id)["output"] == {"all": 100}


def test_a_map_of_300_elements_keeps_their_order_through_another_map(conn: psycopg.Connection) -> None:
    create_flow(conn, "flow", step("m", step_type="map"), step("n", "m", step_type="map"))
    run_id = start(conn, "flow", list(range(300)))
    for slug in "mn":
        for task in reversed(poll_and_start(conn, "flow", qty=300)):
            complete(conn, run_id, slug, task.input + 1, task.task_index)
    assert run_row(conn, run_id)["output"] == {"n": list(range(2, 302))}


@pytest.mark.slow
def test_a_dependent_map_of_100_000_elements_of_1_kb_goes_all_the_way(conn: psycopg.Connection) -> None:
    """By the fast path, from the array that it maps over to the one of its results."""
    create_flow(conn, "flow", "top", step("m", "top", step_type="map"), step("end", "m"))
    run_id, worker = start(conn, "flow"), add_our_worker(conn, lease=600)
    wait_for_server_grace(conn)
    settle(conn, worker, completed(poll(conn, worker, lease=600)[0], [f"{n:01000}" for n in range(100_000)]))
    while step_status(conn, run_id)["m"] != "completed":
        tasks = poll(conn, worker, qty=5000, lease=600)
        assert settle(conn, worker, *(completed(t, t.input.decode()[-6:-1]) for t in tasks)) == ["applied"] * len(tasks)
    (end,) = poll(conn, worker, lease=600)
    assert settle(conn, worker, completed(end, 1)) == ["applied"]
    assert run_status(conn, run_id) == "completed"
    assert step_row(conn, run_id, "m")["output"] == [f"{n:05}" for n in range(100_000)]


def test_no_value_goes_through_jsonbs_aggregates() -> None:
    """They take quadratic time over an array of texts: see _step_inputs.sql. Counts do not show it, and times are no
    test."""
    sources = [*SOURCE.glob("sql/functions/*.sql"), *SOURCE.glob("calls*.py")]
    aggregates = [a for file in sources for a in re.findall(r"jsonb_(?:object_)?agg\([^)]*\)", file.read_text())]
    assert len(aggregates) > 5, "of slugs and options, which are small"
    assert [a for a in aggregates if re.search(r"output|input|to_jsonb|\bss\b|\br\b", a)] == []
