"""What a handler may know of the task it works on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from pgflow.flow import codec
from pgflow.records import Task

_NO_RUN = UUID(int=0)
_LOGGER = logging.getLogger("pgflow.handler")


async def _no_input() -> bytes:
    raise RuntimeError("this Context was made without a run; give it load_raw_input= to test load_input()")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The task at hand; every field has a default, so that a unit test can call a handler with `Context()`.

        async def send(mail: Mail, ctx: Context) -> None:
            ctx.logger.info("attempt %s of %s", ctx.attempt, ctx.max_attempts)

    `deadline` is when the step's timeout ends (UTC). `cancelled` is set when the task should stop: shutdown, timeout,
    run cancelled or lease lost. `resources` is what the worker was given. `open_connection` is what `connection`
    returns: a test of a transactional step's handler calls it with `Context(open_connection=…)`.
    """

    flow_slug: str = ""
    run_id: UUID = _NO_RUN
    step_slug: str = ""
    task_index: int = 0
    attempt: int = 1
    max_attempts: int = 1
    deadline: datetime | None = None
    worker_id: UUID | None = None
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = _LOGGER
    resources: Mapping[str, Any] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)
    load_raw_input: Callable[[], Awaitable[bytes]] = _no_input
    open_connection: Any = None

    @classmethod
    def of(cls, task: Task, worker_id: UUID, **more: Any) -> Self:
        """The context of a claimed task, with a logger that knows which."""
        details = {"flow": task.flow_slug, "run": task.run_id, "step": task.step_slug, "task": task.task_index}
        logger = logging.LoggerAdapter(_LOGGER, details)
        return cls(**context_fields(task, worker_id), logger=logger, **more)

    @property
    def connection(self) -> Any:
        """The database connection of a step with `transactional=True`: what is done on it is done exactly once.

            @bank.step(transactional=True)
            async def transfer(flow_input: Order, ctx: Context) -> None:
                await ctx.connection.execute("update accounts set …")

        A psycopg.AsyncConnection for `async def` handlers, a psycopg.Connection for plain ones, in a transaction that
        commits together with the task's completion, and not otherwise. It is the handler's until that returns, and
        not the handler's to commit, roll back or close. Raises RuntimeError in any other step.
        """
        if self.open_connection is None:
            step = f"step {self.step_slug!r}" if self.step_slug else "this Context"
            raise RuntimeError(f"{step} has no connection: declare the step with transactional=True")
        return self.open_connection

    async def load_input(self, annotation: Any = Any) -> Any:
        """The run's input, loaded once per run and worker, and converted to `annotation` if one is given."""
        return codec.decode(await self.load_raw_input(), annotation)


def context_fields(task: Task, worker_id: UUID) -> dict[str, Any]:
    """What a Context says of its task, in any process."""
    return {
        "flow_slug": task.flow_slug,
        "run_id": task.run_id,
        "step_slug": task.step_slug,
        "task_index": task.task_index,
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "deadline": datetime.now(UTC) + timedelta(seconds=task.timeout),
        "worker_id": worker_id,
    }
