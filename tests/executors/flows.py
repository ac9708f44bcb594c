"""Flows whose handlers run in processes: these must be able to import them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgflow import Context, Flow, Handlers, Permanent, RetryAfter, Run
from pgflow.errors import InvalidInputError

local = Flow("process_local", base_delay=0, max_attempts=2, timeout=60)


@dataclass
class Point:
    x: int
    y: int


@local.step(executor="process")
def point(flow_input: Point) -> Point:
    return Point(flow_input.y, flow_input.x)


@local.step(executor="process")
def where(ctx: Context, flow_input: Any, point: Point) -> dict[str, Any]:
    return {
        "point": f"{type(point).__name__} {point.x} {point.y}",
        "flow_input": flow_input,
        "context": [ctx.flow_slug, str(ctx.run_id), ctx.step_slug, ctx.task_index, ctx.attempt, ctx.max_attempts],
        "has_deadline": ctx.deadline is not None,
        "cancelled": ctx.cancelled.is_set(),
        "resources": dict(ctx.resources),
        "pid": os.getpid(),
    }


def where_it_ran(run: Run) -> int:
    """The process of `where`, when it has seen all that it should have of a run with the input (1, 2)."""
    assert run.output is not None, run.error
    seen: dict[str, Any] = dict(run.output["where"])
    pid: int = seen.pop("pid")
    assert seen == {
        "point": "Point 2 1",
        "flow_input": {"x": 1, "y": 2},
        "context": [run.flow_slug, str(run.run_id), "where", 0, 1, 2],
        "has_deadline": True,
        "cancelled": False,
        "resources": {},
    }
    return pid


class Odd(Exception):
    """An exception that does not survive pickling."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Busy(ConnectionError):
    """What is worth another try."""


picky = Flow("process_picky", base_delay=0, max_attempts=3, timeout=60, retry_on=ConnectionError)


@picky.step(executor="process")
def pick(flow_input: str, ctx: Context) -> int:
    """Raises what its input says, at the first attempt."""
    if ctx.attempt == 1:
        raise {"busy": Busy, "wrong": KeyError, "later": lambda _: RetryAfter(0)}[flow_input](flow_input)
    return ctx.attempt


tools = Handlers()


@tools("elsewhere", executor="process")
def elsewhere(input: Any, ctx: Context) -> list[Any]:
    return [input, ctx.step_slug, os.getpid()]


@tools("choosy")
@Flow("decorated", retry_on=ConnectionError).step(executor="process", no_retry_on=Busy)
def choosy(flow_input: str, ctx: Context) -> int:
    return pick(flow_input, ctx)


@tools(executor="pool", retry_on=ConnectionError)
def pooled_pick(input: str, ctx: Context) -> int:
    return pick(input, ctx)


ends = Flow("process_ends", base_delay=0, max_attempts=2, timeout=60)


@ends.step(executor="process")
def end(flow_input: str, ctx: Context) -> Any:
    """One of many ways to end, at the first attempt; 'second' at any other."""
    if ctx.attempt > 1:
        return "second"
    match flow_input:
        case "segfault":
            ctypes.string_at(0)
        case "killed":  # as the kernel does it when memory runs out
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit 0" | "exit 3":
            os._exit(int(flow_input[-1]))
        case "sys.exit":
            sys.exit(5)
        case "odd":
            raise Odd(1, 2)
        case "unprintable":
            raise Unprintable
        case "permanent":
            raise Permanent("never")
        case "retry after":
            raise RetryAfter(0, "later")
        case "invalid":
            raise InvalidInputError("the handler's own")
        case "no json":
            return {1, 2}
    raise ValueError(flow_input)


plain = Flow("process_plain")


@plain.step(executor="process")
def pid() -> int:
    return os.getpid()


#: For tests that watch the processes from outside: each task writes its process's id into a file of its own.
watched = Flow("process_watched", base_delay=0, max_attempts=2, timeout=60)


@watched.map(executor="process")
def watch(element: dict[str, Any], ctx: Context) -> int:
    directory = Path(element["directory"])
    begun = directory / f"{element['name']}-{ctx.attempt}"
    begun.with_suffix(".tmp").write_text(str(os.getpid()))
    begun.with_suffix(".tmp").rename(begun)
    ctx.logger.info("begun %s", element["name"])
    while not (directory / f"go-{element['name']}").exists():
        time.sleep(0.02)
    return os.getpid()


#: A handler that is deaf to signals and holds the interpreter's lock: only SIGKILL ends it.
deaf = Flow("process_deaf", base_delay=0, max_attempts=1, timeout=1)


@deaf.step(executor="process")
def hang(flow_input: str) -> None:
    Path(flow_input).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(600)


# ---------------------------------------------------------------------------------------- in executors with a name

#: The same handlers, in executors that the worker is given under the name "pool".
pooled = Flow("pool_local", base_delay=0, max_attempts=2, timeout=60)
pooled.step(executor="pool")(point)
pooled.step(executor="pool")(where)

pool_ends = Flow("pool_ends", base_delay=0, max_attempts=2, timeout=60)
pool_end = pool_ends.step(executor="pool")(end)

pool_picky = Flow("pool_picky", base_delay=0, max_attempts=3, timeout=60, retry_on=ConnectionError)
pool_pick = pool_picky.step(executor="pool")(pick)

#: Each task may be held up, and watched, by files; see `watch`.
pool_watched = Flow("pool_watched", base_delay=0, max_attempts=1, timeout=60)
pool_watch = pool_watched.map(executor="pool")(watch)

#: The same, with little time.
pool_hurried = Flow("pool_hurried", base_delay=0, max_attempts=1, timeout=1)
pool_hurry = pool_hurried.map(executor="pool", slug="watch")(watch)
