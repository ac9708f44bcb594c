"""The completer: batches, keeps what the database does not take, finds the guilty."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from pgflow.errors import DatabaseError, DatabaseUnreachable
from pgflow.records import Outcome, TaskKey, Verdict
from pgflow.worker import completer as module
from pgflow.worker.completer import Completer

Settle = Callable[[list[Outcome]], Awaitable[list[Verdict]]]


def outcome(n: int, output: bytes = b"1") -> Outcome:
    return Outcome.completed(TaskKey(UUID(int=1), "step", n, 1), output)


@asynccontextmanager
async def completing(
    settle: Settle, settled: list[int], gone: list[int] | None = None, *, busy: bool = False
) -> AsyncIterator[Completer]:
    told = [] if gone is None else gone
    completer = Completer(
        settle, lambda: busy, lambda key: settled.append(key.task_index), lambda key: told.append(key.task_index)
    )
    completer.start()
    yield completer
    async with asyncio.timeout(20):
        await completer.flush()
    await completer.stop()


async def test_outcomes_that_come_together_are_settled_together_and_in_order() -> None:
    batches: list[list[int]] = []
    settled: list[int] = []

    async def settle(batch: list[Outcome]) -> list[Verdict]:
        batches.append([o.key.task_index for o in batch])
        return ["applied"] * len(batch)

    async with completing(settle, settled, busy=True) as completer:
        for n in range(1200):
            completer.add(outcome(n))
    assert [len(batch) for batch in batches] == [500, 500, 200]
    assert settled == [n for batch in batches for n in batch] == list(range(1200))


async def test_a_batch_is_limited_in_bytes_but_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 10)
    sizes: list[int] = []

    async def settle(batch: list[Outcome]) -> list[Verdict]:
        sizes.append(len(batch))
        return ["applied"] * len(batch)

    async with completing(settle, []) as completer:
        for size in (4, 4, 4, 100, 1):
            completer.add(outcome(size, b"1" * size))
    assert sizes == [2, 1, 1, 1]


@pytest.mark.parametrize("verdict", ["applied", "duplicate", "stale", "gone"])
async def test_every_verdict_is_final(verdict: Verdict) -> None:
    settled: list[int] = []
    gone: list[int] = []

    async def settle(batch: list[Outcome]) -> list[Verdict]:
        return [verdict] * len(batch)

    async with completing(settle, settled, gone) as completer:
        completer.add(outcome(7))
    assert settled == [7]
    assert gone == ([7] if verdict == "gone" else [])


async def test_what_the_database_does_not_take_now_is_sent_again_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settled: list[int] = []
    tries = 0

    async def settle(batch: list[Outcome]) -> list[Verdict]:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise DatabaseUnreachable("away")
        return ["applied"] * len(batch)

    with caplog.at_level(logging.WARNING, "pgflow"):
        async with completing(settle, settled) as completer:
            completer.add(outcome(1))
    assert settled == [1]
    assert [r.getMessage().split(",")[0] for r in caplog.records] == [
        "settling results fails",
        "settling results works again",
    ]


@pytest.mark.parametrize("guilty", [{0}, {6}, {2, 3}, set(range(7))])
async def test_the_guilty_fail_alone(guilty: set[int]) -> None:
    settled: list[int] = []
    failures: dict[int, Outcome] = {}

    async def settle(batch: list[Outcome]) -> list[Verdict]:
        if any(o.key.task_index in guilty and o.status == "completed" for o in batch):
            raise DatabaseError("value overflows numeric format")
        failures.update({o.key.task_index: o for o in batch if o.status == "failed"})
        return ["applied"] * len(batch)

    async with completing(settle, settled) as completer:
        for n in range(7):
            completer.add(outcome(n))
    assert sorted(settled) == list(range(7))
    assert failures.keys() == guilty
    assert all(o.permanent and "value overflows numeric format" in (o.error or "") for o in failures.values())


async def test_an_outcome_that_cannot_even_fail_is_let_go() -> None:
    settled: list[int] = []

    async def settle(batch: list[Outcome]) -> list[Verdict]:
        if any(o.key.task_index == 1 for o in batch):
            raise DatabaseError("never")
        return ["applied"] * len(batch)

    async with completing(settle, settled) as completer:
        for n in range(3):
            completer.add(outcome(n))
    assert sorted(settled) == [0, 1, 2]
