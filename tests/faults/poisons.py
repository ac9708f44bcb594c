"""Handlers that do what no handler should, and what must become of their tasks."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from pgflow import Flow, RetryAfter


class Deep(BaseException):
    """Not even an Exception."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit("no")


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("with a lock")
        self.lock = threading.Lock()

    def __reduce__(self) -> NoReturn:
        raise TypeError("no")


def throw(error: BaseException) -> NoReturn:
    raise error


def chain(length: int) -> BaseException:
    """An exception with so many causes."""
    error: BaseException = ValueError("the first")
    for n in range(length):
        error, error.__cause__ = ValueError(f"number {n}"), error
    return error


def groups(depth: int) -> BaseException:
    error: Exception = ValueError("the core")
    for _ in range(depth):
        error = ExceptionGroup("nested", [error])
    return error


def nest(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def chatter() -> str:
    for n in range(1_000_000):
        print(n)
    return "said"


def leak_threads() -> str:
    for _ in range(20):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    return "leaked"


leaked: list[asyncio.Task[Any]] = []


def leak_tasks() -> str:
    leaked.extend(asyncio.create_task(asyncio.Event().wait()) for _ in range(1000))
    return "leaked"


def hog() -> None:
    """Takes more memory than the process may have; who comes after it in this process may have it again."""
    usual = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**30, usual[1]))
    try:
        bytearray(2**31)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, usual)


UNFIT = "InvalidInputError: the handler's result"
Poison = Callable[[], Any]
#: name -> (what the handler does, what the run's error begins with; None: it completes)
POISONS: dict[str, tuple[Poison, str | None]] = {
    "sys.exit": (lambda: sys.exit(0), "SystemExit: 0"),
    "KeyboardInterrupt": (lambda: throw(KeyboardInterrupt()), "KeyboardInterrupt"),
    "GeneratorExit": (lambda: throw(GeneratorExit()), "GeneratorExit"),
    "CancelledError": (lambda: throw(asyncio.CancelledError()), "CancelledError"),
    "BaseException": (lambda: throw(Deep("down")), "Deep: down"),
    "unprintable": (lambda: throw(Unprintable()), "Unprintable: (its message cannot be printed)"),
    "unpicklable": (lambda: throw(Unpicklable()), "Unpicklable: with a lock"),
    "1,000 causes": (lambda: throw(chain(1000)), "ValueError: number 999"),
    "a thousand groups": (lambda: throw(groups(1000)), "ExceptionGroup: nested (1 sub-exception)"),
    "endless recursion": (lambda: POISONS["endless recursion"][0](), "RecursionError: maximum recursion depth"),
    "a long message": (lambda: throw(ValueError("long " * 10**6)), "ValueError: long long"),
    "NUL in the message": (lambda: throw(ValueError("a\0b")), "ValueError: a\\0b"),
    "surrogate in the message": (lambda: throw(ValueError("a\ud83d")), "ValueError: a\\ud83d"),
    "NUL in text": (
        lambda: ["a\0b"],
        f"{UNFIT}: PostgreSQL cannot hold it: NUL",
    ),
    "NUL in a key": (
        lambda: {"a\0b": 1},
        f"{UNFIT}: PostgreSQL cannot hold it: NUL",
    ),
    "a lone surrogate": (lambda: "a\ud83d", f"{UNFIT}: not JSON: half a surrogate"),
    "NaN": (lambda: {"x": float("nan")}, f"{UNFIT}: not JSON: nan at $.x"),
    "a set": (lambda: {1, 2}, f"{UNFIT}: not JSON: a value of type set"),
    "a generator": (lambda: (n for n in range(3)), f"{UNFIT}: not JSON"),
    "10,000 deep": (lambda: nest(10_000), f"{UNFIT}: not JSON"),
    "itself": (lambda: (lambda x: x.append(x) or x)([]), f"{UNFIT}: not JSON"),
    "a numeric overflow": (lambda: int("1" + "0" * 4000) ** 50, f"{UNFIT}: not JSON"),
    "retry never": (lambda: throw(RetryAfter(float("inf"))), "ValueError: RetryAfter takes a number"),
    "retry in an age": (lambda: throw(RetryAfter(1e300)), "ValueError: RetryAfter takes a number"),
    "a million lines": (chatter, None),
    "leaked threads": (leak_threads, None),
    "for ever": (lambda: threading.Event().wait(), "HandlerTimeout: the handler did not end within its timeout of 5 s"),
}
#: What only a process of its own survives, and what is enough to do once.
DEADLY: dict[str, tuple[Poison, str | None]] = {
    "50 MB": (lambda: "x" * 50_000_000, None),
    "os._exit": (lambda: os._exit(0), "ProcessDied: the process that ran the handler died (exit code 0)"),
    "a segfault": (lambda: ctypes.string_at(0), "ProcessDied: the process that ran the handler died (SIGSEGV)"),
    "SIGKILL": (
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        "ProcessDied: the process that ran the handler died (SIGKILL; out of memory?)",
    ),
    "no memory": (hog, "MemoryError"),
}
ON_LOOP: dict[str, tuple[Poison, str | None]] = {"leaked tasks": (leak_tasks, None)}
ALL = POISONS | DEADLY | ON_LOOP


in_threads: Flow[Any, Any] = Flow("in_threads", max_attempts=1, timeout=5)
in_processes: Flow[Any, Any] = Flow("in_processes", max_attempts=1, timeout=5)
on_loop: Flow[Any, Any] = Flow("on_loop", max_attempts=1, timeout=5)


@in_threads.step
def thread(flow_input: str) -> Any:
    return ALL[flow_input][0]() if flow_input in ALL else flow_input


@in_processes.step(executor="process")
def process(flow_input: str) -> Any:
    return ALL[flow_input][0]() if flow_input in ALL else flow_input


@on_loop.step
async def loop(flow_input: str) -> Any:
    if flow_input == "for ever":
        await asyncio.Event().wait()
    return ALL[flow_input][0]() if flow_input in ALL else flow_input
