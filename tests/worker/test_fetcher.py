"""When the fetcher polls: here what it asks is answered by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from pgflow.records import Outcome, Polled, Task, Verdict
from pgflow.worker.fetcher import Fetcher
from pgflow.worker.held import Held

NOTHING = Polled((), None)


async def test_work_that_is_heard_of_while_all_room_is_promised_is_looked_for_afterwards() -> None:
    """Else it waits for the poll interval: the poll under way may have looked just before it was there."""
    polls: asyncio.Queue[int] = asyncio.Queue()

    async def poll(flows: Sequence[str], qty: int) -> Polled:
        polls.put_nowait(qty)
        return NOTHING

    held = Held(2, lambda: None)
    fetcher = Fetcher(poll, ["solo"], held, lambda task: None, 1000.0, lambda polled: None, lambda: False)
    fetcher.start()
    assert await polls.get() == held.free

    async def settle_and_poll(flows: Sequence[str], qty: int, only_follow_ups: bool) -> tuple[list[str], Polled]:
        fetcher.hear(["solo"])
        await asyncio.sleep(0.05)  # time enough for the fetcher to find that there is no room
        assert polls.empty()
        return [], NOTHING

    await fetcher.along([], settle_and_poll)
    assert await asyncio.wait_for(polls.get(), 20) == held.free
    await asyncio.sleep(0.05)
    assert polls.empty()  # once
    await fetcher.stop()


@pytest.mark.parametrize(
    ("hears", "waiting", "only_follow_ups"), [(True, 0, True), (False, 0, False), (True, 2, False)]
)
async def test_results_bring_along_all_that_waits_unless_the_worker_would_have_heard_of_it(
    hears: bool, waiting: int, only_follow_ups: bool
) -> None:
    asked: list[tuple[Sequence[str], bool]] = []
    polled = asyncio.Event()

    async def poll(flows: Sequence[str], qty: int) -> Polled:
        polled.set()
        return Polled(tuple(task(n) for n in range(min(waiting, qty))), None)

    async def settle_and_poll(flows: Sequence[str], qty: int, only_follow_ups: bool) -> tuple[list[Verdict], Polled]:
        asked.append((flows, only_follow_ups))
        return ["applied"], NOTHING

    held = Held(2, lambda: None, most_ahead=0)
    held.add(task(9))
    fetcher = Fetcher(
        poll, ["solo", "other"], held, held.add, 1000.0, lambda polled: None, lambda: hears
    )  # fmt: skip
    fetcher.start()
    await asyncio.wait_for(polled.wait(), 20)
    await fetcher.along([Outcome.completed(task(9).key, b"1")], settle_and_poll)
    await fetcher.stop()
    assert asked == [(("solo",) if only_follow_ups else ("solo", "other"), only_follow_ups)]


async def test_what_follows_from_a_result_is_taken_without_a_look_into_the_queue() -> None:
    polls: asyncio.Queue[Sequence[str]] = asyncio.Queue()

    async def poll(flows: Sequence[str], qty: int) -> Polled:
        polls.put_nowait(flows)
        return Polled((), 0.5)  # one will be due soon

    async def settle_and_poll(flows: Sequence[str], qty: int, only_follow_ups: bool) -> tuple[list[Verdict], Polled]:
        return ["applied"], Polled(tuple(task(n) for n in range(qty)), None)

    taken: list[Task] = []
    held = Held(2, lambda: None, most_ahead=0)
    held.add(task(9))
    fetcher = Fetcher(poll, ["solo"], held, taken.append, 1000.0, lambda polled: None, lambda: True)
    fetcher.start()
    await asyncio.wait_for(polls.get(), 20)
    await fetcher.along([Outcome.completed(task(9).key, b"1")], settle_and_poll)
    assert [t.task_index for t in taken] == [0, 1]
    assert polls.empty()
    assert await asyncio.wait_for(polls.get(), 20) == ("solo",)  # it did not forget the one that is due
    await fetcher.stop()


def task(index: int) -> Task:
    return Task("solo", UUID(int=1), "only", index, index, b"1", None, 1, 1, 3, 60, 5)
