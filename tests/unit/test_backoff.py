"""Backoff: pauses that grow to a limit, and two lines in the log."""

from __future__ import annotations

import logging

import pytest

from pgflow.worker.backoff import Backoff


def test_the_first_failure_and_the_recovery_are_said_once(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "pgflow.worker")
    backoff = Backoff("settling results")
    for n in range(5):
        backoff.failed(OSError(f"no answer {n}"))
    assert caplog.messages == ["settling results fails, will keep trying: no answer 0"]
    backoff.succeeded()
    backoff.succeeded()
    _, last = caplog.messages
    assert last.startswith("settling results works again, after ")
    assert last.endswith(" s and 5 tries")


def test_success_without_failure_says_nothing(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "pgflow.worker")
    Backoff("polling").succeeded()
    assert caplog.messages == []


def test_each_spell_of_failures_is_said(caplog: pytest.LogCaptureFixture):
    backoff = Backoff("polling")
    for _ in range(2):
        backoff.failed(OSError("gone"))
        backoff.succeeded()
    assert [m.split()[1] for m in caplog.messages] == ["fails,", "works", "fails,", "works"]


def test_pauses_double_from_a_tenth_of_a_second_to_five_with_jitter_on_the_upper_half():
    backoff = Backoff("polling")
    for longest in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0):
        assert longest / 2 <= backoff.failed(OSError()) <= longest


def test_pauses_start_again_after_a_success():
    backoff = Backoff("polling")
    for _ in range(9):
        backoff.failed(OSError())
    backoff.succeeded()
    assert backoff.failed(OSError()) <= 0.1


def test_an_outage_may_last():
    backoff = Backoff("polling")
    assert all(backoff.failed(OSError()) <= 5.0 for _ in range(5000))
