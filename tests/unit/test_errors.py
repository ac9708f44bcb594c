"""The tree of exceptions."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from uuid import UUID

import pytest

from pgflow import errors
from pgflow.errors import FlowMismatch, FlowNotFound, Permanent, PgflowError, RetryAfter, RunFailed, RunTimeout

RUN = UUID(int=7)
CLASSES = [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, Exception)]
EXAMPLES = [
    errors.FlowDefinitionError("f", ["one", "two"]),
    errors.InvalidInputError("no"),
    errors.DatabaseUnreachable("no"),
    errors.SchemaError("no"),
    FlowNotFound("f"),
    FlowMismatch("f", ["Step count differs: 2 vs 3"]),
    errors.RunNotFound(RUN),
    errors.RunStateError("no"),
    errors.EmbeddedError("no"),
    RunFailed(RUN, "f", step="a", task_index=0, attempt=2, error="ValueError: x"),
    RunTimeout(RUN, 1.5),
    Permanent("no"),
    RetryAfter(3, "later"),
]


def test_all_errors_are_of_one_tree_that_the_docstring_draws():
    assert all(issubclass(c, PgflowError) for c in CLASSES)
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    assert sorted(drawn) == sorted(c.__name__ for c in CLASSES if c is not PgflowError)


def through_pickle(error: PgflowError) -> PgflowError:
    return pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("clone", [copy.copy, through_pickle])
def test_errors_survive_other_processes(error: PgflowError, clone):
    twin = clone(error)
    assert type(twin) is type(error)
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_messages_are_one_line(error: PgflowError):
    assert str(error)
    assert "\n" not in str(error)


def test_errors_are_also_what_python_calls_them():
    assert issubclass(errors.InvalidInputError, ValueError)
    assert issubclass(RunTimeout, TimeoutError)


def test_a_failed_run_says_where_and_why():
    error = RunFailed(RUN, "f", step="a", task_index=0, attempt=2, error="ValueError: x")
    assert str(error) == f"run {RUN} of flow 'f' failed in step 'a' (task 0, attempt 2): ValueError: x"
    assert (error.run_id, error.flow_slug, error.step, error.task_index, error.attempt) == (RUN, "f", "a", 0, 2)


def test_a_failed_run_without_a_task_says_what_is_known():
    error = RunFailed(RUN, "f", step="a", task_index=None, attempt=None, error="Condition not met")
    assert str(error) == f"run {RUN} of flow 'f' failed in step 'a': Condition not met"
    nothing = RunFailed(RUN, "f", step=None, task_index=None, attempt=None, error=None)
    assert str(nothing) == f"run {RUN} of flow 'f' failed: no reason was stored"


def test_messages_say_what_to_do_next():
    assert "start a worker for it" in str(FlowNotFound("f"))
    assert "Step count differs: 2 vs 3" in str(FlowMismatch("f", ["Step count differs: 2 vs 3"]))
    assert "it goes on" in str(RunTimeout(RUN, 1.5))
    assert "within 1.5 s" in str(RunTimeout(RUN, 1.5))


@pytest.mark.parametrize("seconds", [-1, float("nan"), "5", None])
def test_retry_after_takes_seconds_to_come(seconds: float):
    with pytest.raises(ValueError, match="RetryAfter takes a number of seconds, from 0 to"):
        RetryAfter(seconds)


def test_retry_after_has_a_message_of_its_own():
    assert (RetryAfter(2).seconds, str(RetryAfter(2))) == (2.0, "retry after 2 s")
    assert str(RetryAfter(2, "busy")) == "busy"
    assert RetryAfter(0).seconds == 0
