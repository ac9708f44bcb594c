"""Retry: which errors are final, and how long until the next attempt."""

from __future__ import annotations

import random
from inspect import currentframe
from pathlib import Path
from typing import Any

import pytest

from pgflow import Flow, Permanent, RetryAfter
from pgflow.errors import FlowDefinitionError
from pgflow.flow.retry import Retry


@pytest.fixture(autouse=True)
def _same_chance() -> None:
    random.seed(7)


def test_without_options_the_database_decides() -> None:
    assert Retry().delay(5, 1) is None
    assert Retry(jitter=0).delay(5, 1) is None
    assert not Retry().is_final(ValueError())


@pytest.mark.parametrize(("attempt", "expected"), [(1, 10), (2, 20), (3, 40), (4, 60), (5, 60), (1_000_000, 60)])
def test_max_delay_ends_the_doubling(attempt: int, expected: float) -> None:
    assert Retry(max_delay=60).delay(5, attempt) == expected


def test_a_max_delay_of_zero_and_no_base_delay_mean_at_once() -> None:
    assert Retry(max_delay=0).delay(5, 3) == 0
    assert Retry(jitter=1).delay(0, 3) == 0


@pytest.mark.parametrize(("jitter", "least"), [(0.25, 30), (0.5, 20), (1, 0)])
def test_jitter_is_the_part_that_is_left_to_chance(jitter: float, least: float) -> None:
    delays = [Retry(jitter=jitter).delay(5, 3) or 0 for _ in range(2000)]
    assert least <= min(delays) < least + 1
    assert 39 < max(delays) <= 40
    assert abs(sum(delays) / len(delays) - (least + 40) / 2) < 1
    assert max(Retry(jitter=jitter, max_delay=7).delay(5, 9) or 0 for _ in range(200)) <= 7


def test_no_delay_is_longer_than_postgresql_can_reckon_with() -> None:
    assert 0 < (Retry(jitter=0.5).delay(2**31, 10_000) or 0) <= 366 * 86_400


@pytest.mark.parametrize(
    ("retry", "final", "not_final"),
    [
        (Retry(retry_on=OSError), [ValueError(), KeyboardInterrupt()], [OSError(), ConnectionError(), TimeoutError()]),
        (Retry(retry_on=(OSError, KeyError)), [LookupError()], [KeyError(), OSError()]),
        (Retry(retry_on=[]), [OSError()], []),
        (Retry(no_retry_on=OSError), [OSError(), ConnectionError()], [ValueError()]),
        (Retry(retry_on=[OSError], no_retry_on=[ConnectionError]), [ConnectionResetError(), KeyError()], [OSError()]),
    ],
)
def test_exceptions_are_judged_by_class_and_no_has_the_last_word(
    retry: Retry, final: list[BaseException], not_final: list[BaseException]
) -> None:
    assert [error for error in (*final, *not_final) if retry.is_final(error)] == final


def test_what_a_handler_says_itself_comes_first() -> None:
    strict = Retry(retry_on=(), no_retry_on=Exception)
    assert strict.is_final(Permanent("no"))
    assert not strict.is_final(RetryAfter(1))
    assert Retry(retry_on=Permanent).is_final(Permanent("no"))


def test_a_step_overrides_its_flow_option_by_option() -> None:
    flow: Flow[Any, Any] = Flow("f", max_delay=60, jitter=0.5, retry_on=OSError, no_retry_on=[KeyError])

    @flow.step(jitter=0, retry_on=())
    def strict(): ...

    @flow.map
    def plain(element): ...

    assert strict.retry == Retry(max_delay=60, jitter=0, retry_on=(), no_retry_on=[KeyError])
    assert plain.retry == flow.retry == Retry(max_delay=60, jitter=0.5, retry_on=OSError, no_retry_on=[KeyError])


def test_they_are_no_part_of_the_flows_shape() -> None:
    flow: Flow[Any, Any] = Flow("f", max_delay=60)
    plain: Flow[Any, Any] = Flow("f")
    for each in (flow, plain):
        each.step(slug="a", **({"jitter": 1} if each is flow else {}))(lambda: 1)
    assert flow.shape() == plain.shape()


BAD = [
    ({"max_delay": -1}, "max_delay must be a number of seconds, at most 31622400, not -1"),
    ({"max_delay": float("nan")}, "max_delay must be a number of seconds"),
    ({"max_delay": 1e300}, "max_delay must be a number of seconds"),
    ({"max_delay": True}, "max_delay must be a number of seconds"),
    ({"jitter": 1.1}, "jitter must be a number from 0 to 1 (the part of the delay left to chance), not 1.1"),
    ({"jitter": "full"}, "jitter must be a number from 0 to 1"),
    ({"retry_on": "OSError"}, "retry_on takes an exception class, or a list of them, not 'OSError'"),
    ({"retry_on": [OSError, 5]}, "retry_on takes an exception class, or a list of them, not 5"),
    ({"no_retry_on": int}, "no_retry_on takes an exception class, or a list of them, not <class 'int'>"),
    ({"no_retry_on": OSError()}, "no_retry_on takes an exception class"),
]


@pytest.mark.parametrize(("options", "fault"), BAD, ids=[fault for _, fault in BAD])
def test_bad_values_are_faults_with_file_and_line(options: dict[str, Any], fault: str) -> None:
    frame = currentframe()
    assert frame is not None
    flow: Flow[Any, Any] = Flow("f", **options)
    line = frame.f_lineno - 1

    @flow.step(**options)
    def a(): ...

    with pytest.raises(FlowDefinitionError) as caught:
        flow.check()
    of_flow, of_step = caught.value.faults
    here = Path(__file__).relative_to(Path.cwd())
    assert of_flow.startswith(f"{here}:{line}: flow 'f': {fault}")
    assert of_step.startswith(f"{here}:{line + 3}: step 'a': {fault}")


def test_a_flow_with_declared_types_knows_where_it_stands_too() -> None:
    flow = Flow[int, str]("f", jitter=2)
    flow.step(slug="a")(lambda: "")
    with pytest.raises(FlowDefinitionError, match=r"test_retry\.py:\d+: flow 'f': jitter"):
        flow.check()
