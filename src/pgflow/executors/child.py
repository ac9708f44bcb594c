"""What happens inside a handler's process, ours or a cluster's: JSON text in, JSON text out.

A decorated function cannot be pickled, so a step is named to the process, `module:flow#step`, and found there again.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import multiprocessing
import os
import platform
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

from pgflow.errors import ExecutorError, InvalidInputError, RetryAfter
from pgflow.flow import Context, Flow, Handlers, Step
from pgflow.flow.handlers import find_step

_LONGEST_MESSAGE = 100_000
_PR_SET_PDEATHSIG = 1

FailureKind: TypeAlias = Literal["raised", "permanent", "retry_after", "unfit"]


@dataclass(frozen=True, slots=True)
class Job:
    """A task, as it crosses to the process; `context` holds the fields of its Context that can be pickled, and
    `is_root` says that it is one of a single step without dependencies."""

    step: str
    input: bytes
    flow_input: bytes | None
    context: Mapping[str, Any]
    is_root: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """What a handler raised, in words: exceptions of users' own may not survive pickling."""

    kind: FailureKind
    name: str
    message: str
    traceback: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """How a job ended."""

    output: bytes | None = None
    failure: Failure | None = None


def prepare(level: int | None) -> None:
    """Done once per process, before its first job."""
    # Ctrl-C, and systemd's SIGTERM to all of a unit, are the worker's to act upon. Not SIG_IGN: programs that a
    # handler starts would inherit it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_it_to_the_worker)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    _die_with_parent()
    if level is not None:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=level)


def _leave_it_to_the_worker(*_: object) -> None: ...


def _die_with_parent() -> None:
    """Linux kills us whatever we do; elsewhere a thread notices, once the handler lets it run."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_after_parent, name="pgflow-parent-watch", daemon=True).start()


def _exit_after_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def check(names: Sequence[str]) -> str | None:
    """Why this process cannot find these steps; None if it can."""
    try:
        for name in names:
            _find(name)
    except BaseException as error:
        return f"{type(error).__name__}: {message_of(error)}"
    return None


def run(job: Job) -> Answer:
    """Finds the step, binds, calls, encodes; raises nothing."""
    try:
        step = _find(job.step)
    except BaseException as error:
        return _failed(_not_found(job.step, error), "raised")
    try:
        arguments = step.binding.arguments(job.input, job.flow_input, _context(job), is_root=job.is_root)
    except BaseException as error:
        return _failed(error, "unfit" if isinstance(error, InvalidInputError) else "raised")
    try:
        result = step.fn(**arguments)
    except BaseException as error:
        return _failed(error, _kind(step, error))
    try:
        return Answer(output=step.binding.encode(result))
    except BaseException as error:
        return _failed(error, "unfit" if isinstance(error, InvalidInputError) else "raised")


@cache
def _find(name: str) -> Step[Any, Any]:
    module, _, rest = name.partition(":")
    home_name, _, name_there = rest.partition("#")
    home = getattr(importlib.import_module(module), home_name)
    if not isinstance(home, Flow | Handlers):
        raise TypeError(f"{module}:{home_name} is no flow here")
    return find_step(home, name_there)


def _not_found(name: str, why: BaseException) -> ExecutorError:
    error = ExecutorError(
        f"{name} is not found on {platform.node()} ({type(why).__name__}: {message_of(why)}): "
        "install the flow's module wherever its handlers run"
    )
    error.__cause__ = why
    return error


def _context(job: Job) -> Context:
    async def load() -> bytes:
        if job.flow_input is None:
            raise RuntimeError("in a process the run's input is there for handlers with a `flow_input` parameter only")
        return job.flow_input

    fields = job.context
    details = {"flow": fields["flow_slug"], "run": fields["run_id"], "step": fields["step_slug"]}
    logger = logging.LoggerAdapter(logging.getLogger("pgflow.handler"), details | {"task": fields["task_index"]})
    return Context(**fields, logger=logger, load_raw_input=load)


def _kind(step: Step[Any, Any], error: BaseException) -> FailureKind:
    if step.retry.is_final(error):
        return "permanent"
    return "retry_after" if isinstance(error, RetryAfter) else "raised"


def _failed(error: BaseException, kind: FailureKind) -> Answer:
    try:
        lines = "".join(traceback.format_exception(error))
    except Exception:
        lines = "(its traceback cannot be printed)"
    return Answer(
        failure=Failure(
            kind=kind,
            name=type(error).__name__,
            message=message_of(error),
            traceback=lines[-_LONGEST_MESSAGE:],
            seconds=error.seconds if isinstance(error, RetryAfter) else 0.0,
        )
    )


def message_of(error: BaseException) -> str:
    """An exception's own words, of bounded length."""
    try:
        return str(error)[:_LONGEST_MESSAGE]
    except BaseException:  # a user's __str__ may raise anything
        return "(its message cannot be printed)"
