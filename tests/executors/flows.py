"""Flows whose handlers run in processes: these must be able to import them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgflow import Context, Flow, Permanent, RetryAfter, needs
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
def where(ctx: Context, flow_input: Any, point: Point = needs(point)) -> dict[str, Any]:
    return {
        "point": f"{type(point).__name__} {point.x} {point.y}",
        "flow_input": flow_input,
        "context": [ctx.flow_slug, str(ctx.run_id), ctx.step_slug, ctx.task_index, ctx.attempt, ctx.max_attempts],
        "has_deadline": ctx.deadline is not None,
        "cancelled": ctx.cancelled.is_set(),
        "elsewhere": os.getpid() != multiprocessing.parent_process().pid,
    }


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
