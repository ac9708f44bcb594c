"""The executors that a worker is given, and the steps that ask for them by name."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeAlias, TypeVar

from pgflow.config import SettingsError
from pgflow.errors import ExecutorError
from pgflow.executors import NamedExecutor
from pgflow.flow import Step
from pgflow.flow.slugs import did_you_mean
from pgflow.worker.lifespan import Lifespan, yielded

W = TypeVar("W")

#: By name; or a function that is called with the worker and yields them, as a lifespan yields resources.
Executors: TypeAlias = Mapping[str, concurrent.futures.Executor] | Lifespan[W]


async def plugged_in(
    executors: Executors[W] | None, worker: W, steps: Iterable[Step[Any, Any]], opened: AsyncExitStack
) -> Mapping[str, NamedExecutor]:
    """The executors that these steps ask for; those that a function yields are closed with `opened`."""
    if callable(executors):
        executors = await yielded("executors", "executors", executors, worker, opened)
    return plug_in(executors, steps)


def plug_in(
    executors: Mapping[str, concurrent.futures.Executor] | None, steps: Iterable[Step[Any, Any]]
) -> Mapping[str, NamedExecutor]:
    """Raises SettingsError for what is no executor, and ExecutorError for a step that could not run in one."""
    executors = _checked(executors)
    wanted: dict[str, list[Step[Any, Any]]] = {}
    for step in steps:
        if step.options.executor not in (None, "process"):
            wanted.setdefault(step.options.executor, []).append(step)
    for name, its_steps in wanted.items():
        if name not in executors:
            raise ExecutorError(_unknown(name, its_steps[0], [*executors, "process"]))
    return {name: NamedExecutor(name, executors[name], its_steps) for name, its_steps in wanted.items()}


def _checked(executors: Any) -> Mapping[str, concurrent.futures.Executor]:
    if executors is None:
        return {}
    if not isinstance(executors, Mapping):
        raise SettingsError(
            f"executors must be a mapping of names to executors, or a function that yields one, not {executors!r}"
        )
    for name, executor in executors.items():
        if name == "process":
            raise SettingsError("executors cannot have one named 'process': that is pgflow's own")
        if not isinstance(executor, concurrent.futures.Executor):
            raise SettingsError(f"executors[{name!r}] must be a concurrent.futures.Executor, not {executor!r}")
    return executors


def _unknown(name: str, step: Step[Any, Any], known: list[str]) -> str:
    hint = did_you_mean(name, known) or ": give it one by executors=, or `pgflow worker --executors`"
    return f"{step.title} asks for executor {name!r}, but the worker has {', '.join(map(repr, known))}{hint}"
