"""Ahead: how much a worker fetches beyond what its handlers work on."""

from __future__ import annotations

import pytest

from pgflow.worker import ahead as module
from pgflow.worker.ahead import Ahead


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def work(ahead: Ahead, handlers: int) -> None:
    for _ in range(handlers):
        ahead.ended()


def test_nothing_is_fetched_ahead_before_handlers_have_shown_how_quick_they_are(clock: Clock):
    assert Ahead().size == 0


def test_as_many_as_ended_in_the_best_of_the_last_moments(clock: Clock):
    ahead = Ahead()
    work(ahead, 30)
    assert ahead.size == 30
    clock.now += 0.06
    work(ahead, 5)
    assert ahead.size == 30


def test_it_forgets(clock: Clock):
    ahead = Ahead()
    work(ahead, 100)
    clock.now += 0.5
    assert 0 < ahead.size < 50
    clock.now += 5
    assert ahead.size == 0


def test_slow_handlers_get_nothing_ahead(clock: Clock):
    ahead = Ahead()
    for _ in range(10):
        work(ahead, 1)
        clock.now += 1
    assert ahead.size == 0


def test_a_slow_database_makes_it_look_further_ahead_and_a_quick_one_less_far(clock: Clock):
    ahead = Ahead()

    def size() -> int:
        """After half a second in which two handlers ended each millisecond."""
        for _ in range(50):
            work(ahead, 20)
            clock.now += 0.01
        return ahead.size

    assert 80 <= size() <= 120
    for _ in range(20):
        ahead.answered(0.03)
    assert 220 <= size() <= 260
    for _ in range(20):
        ahead.answered(1.0)  # whatever happens to the database, no task waits long
    assert 380 <= size() <= 420
    for _ in range(20):
        ahead.answered(0.002)
    assert 80 <= size() <= 120


def test_slow_handlers_that_end_together_are_no_quick_ones(clock: Clock):
    ahead = Ahead()
    for _ in range(10):
        work(ahead, 20)
        ahead.answered(0.2)
        clock.now += 1
    work(ahead, 20)
    assert ahead.size == 20


def test_there_is_a_limit_in_tasks_and_one_in_bytes(clock: Clock):
    ahead = Ahead()
    work(ahead, 100_000)
    assert ahead.size == 1000
    for _ in range(20):
        ahead.fetched(10, 10 * 1024 * 1024)
    assert ahead.size <= 17
    for _ in range(20):
        ahead.fetched(10, 0)
    assert ahead.size == 1000
