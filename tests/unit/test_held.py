"""Held: what a worker has in hand, and how much more it may take."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import pytest

from pgflow.records import Outcome, Task
from pgflow.worker import ahead
from pgflow.worker.held import Held


def task(index: int = 0, fence: int = 1) -> Task:
    return Task("f", UUID(int=7), "a", index, index, b"{}", None, fence, 1, 3, 60, 5)


@pytest.fixture
def changes() -> list[str]:
    return []


@pytest.fixture
def held(changes: list[str]) -> Held:
    return Held(3, lambda: changes.append("changed"))


def test_what_is_held_takes_up_room_until_it_is_dropped(held: Held, changes: list[str]):
    one, two = held.add(task(1)), held.add(task(2))
    assert (len(held), held.free) == (2, 1)
    assert list(held) == [one, two]
    held.drop(one.task.key)
    assert (len(held), held.free, len(changes)) == (1, 2, 1)
    assert list(held) == [two]


def test_dropping_twice_frees_once(held: Held):
    key = held.add(task()).task.key
    held.drop(key)
    held.drop(key)
    assert held.free == 3


def test_holdings_may_change_while_they_are_walked(held: Held):
    for n in range(3):
        held.add(task(n))
    for holding in held:
        held.drop(holding.task.key)
    assert len(held) == 0


def test_another_claim_of_one_task_is_another_holding(held: Held):
    old, new = held.add(task(fence=1)), held.add(task(fence=2))
    held.drop(old.task.key)
    assert list(held) == [new]


async def test_a_handler_that_cannot_be_stopped_takes_up_room_until_it_ends(held: Held, changes: list[str]):
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    held.linger(future)
    assert (held.free, len(held)) == (2, 0)
    future.set_result(None)
    await asyncio.sleep(0)
    assert (held.free, len(changes)) == (3, 1)


def test_due_are_those_leased_longer_ago(held: Held):
    old, fresh = held.add(task(1)), held.add(task(2))
    old.leased_at = time.monotonic() - 10
    assert held.due(older_than=5) == [old]
    assert held.due(older_than=60) == []
    fresh.leased_at = time.monotonic() - 10
    assert held.due(older_than=5) == [old, fresh]


async def test_what_is_lost_is_told_and_cancelled_and_stays_held_until_it_is_dropped(held: Held):
    holding, other = held.add(task(1)), held.add(task(2))

    async def work() -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    holding.job = asyncio.create_task(work())
    await asyncio.sleep(0)
    held.lose([holding.task.key, task(99).key])
    with pytest.raises(asyncio.CancelledError):
        await holding.job
    assert holding.lost
    assert holding.cancelled.is_set()
    assert not other.lost
    assert not other.cancelled.is_set()
    assert held.free == 1


async def test_what_is_lost_is_cancelled_once(held: Held):
    holding = held.add(task())
    cleaning_up = asyncio.Event()

    async def work() -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning_up.set()
            await asyncio.sleep(0)
        raise AssertionError

    holding.job = asyncio.create_task(work())
    await asyncio.sleep(0)
    held.lose([holding.task.key])
    held.lose([holding.task.key])
    assert holding.job.cancelling() == 1
    with pytest.raises(asyncio.CancelledError):
        await holding.job
    assert cleaning_up.is_set()


def test_a_holding_without_a_job_can_be_lost(held: Held):
    holding = held.add(task())
    held.lose([holding.task.key])
    assert holding.lost


async def test_half_of_the_room_lost_to_what_lingers_is_worn_out():
    worn: list[int] = []
    held = Held(4, lambda: None, lambda: worn.append(held.free))
    late = [asyncio.get_running_loop().create_future() for _ in range(3)]
    held.linger(late[0])
    assert worn == []
    late[0].set_result(None)
    await asyncio.sleep(0)
    held.linger(late[1])
    assert worn == []
    held.linger(late[2])
    assert worn == [2]


def test_a_doubtful_run_makes_its_tasks_due_and_no_others(held: Held):
    one, two = held.add(task(1)), held.add(replace(task(2), run_id=UUID(int=8)))
    assert held.due(1000) == []
    assert held.doubt(one.task.run_id) is True
    assert held.due(1000) == [one]
    assert held.doubt(UUID(int=9)) is False
    assert two.leased_at > 0


def test_the_line_is_worked_off_in_order_and_never_beyond_the_slots(held: Held):
    holdings = [held.add(task(n)) for n in range(5)]
    for holding in holdings:
        held.line_up(holding)
    started = []
    while (holding := held.next_in_line()) is not None:
        held.working += 1
        started.append(holding)
    assert started == holdings[:3]
    assert held.has_line
    held.working -= 1
    assert held.next_in_line() is holdings[3]


def test_hundreds_may_be_lost_in_line_at_once():
    held = Held(1, lambda: started.append(held.next_in_line()))  # as the worker does
    started: list[object] = []
    for n in range(600):
        held.line_up(held.add(task(n)))
    held.lose([holding.key for holding in held])
    assert (len(held), held.has_line) == (0, False)
    assert started == [None]


def test_one_that_is_lost_while_it_waits_is_dropped(held: Held):
    first, second = held.add(task(1)), held.add(task(2))
    held.line_up(first)
    held.line_up(second)
    held.lose([first.key])
    assert held.next_in_line() is second
    assert list(held) == [second]


def test_those_who_waited_too_long_step_back(held: Held):
    old, new = held.add(task(1)), held.add(task(2))
    old.taken_at -= 10
    held.line_up(old)
    held.line_up(new)
    assert held.step_back(longer_than=5) == [old]
    assert held.step_back() == [new]
    assert not held.has_line


def test_it_may_hold_more_when_handlers_are_quick(held: Held, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ahead, "time", SimpleNamespace(monotonic=lambda: 1000.0))  # all within one moment
    for _ in range(40):
        held.ahead.ended()
    assert (held.capacity, held.free) == (43, 43)
    held.add(task())
    assert held.free == 42
