"""The client. Generated from `_async.py` by scripts/unasync.py: do not edit."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID
from weakref import WeakSet

from psycopg import Connection

from pgflow import calls, schema
from pgflow.calls import Call
from pgflow.client._sync_events import Events, Watching
from pgflow.client._sync_flows import Flows
from pgflow.client._sync_schedules import Schedules
from pgflow.client._sync_stored import expect_stored
from pgflow.client.arguments import (
    SAME_INPUT,
    as_stored,
    check_compiled,
    check_flow,
    check_listing,
    checked_age,
    checked_keys,
    checked_reason,
    checked_timeout,
    encode_input,
    encode_inputs,
    run_id_of,
    run_ids_of,
    slug_of,
    start_time,
    step_slug_of,
)
from pgflow.client.news import news_of
from pgflow.config import load
from pgflow.db import Database, callers
from pgflow.errors import DatabaseUnreachable, FlowNotFound, RunNotFound, RunTimeout
from pgflow.flow import Flow, FlowSpec, Step, codec
from pgflow.flow.flow import In, Out
from pgflow.records import Progress, Pruned, Run

T = TypeVar("T")

logger = logging.getLogger("pgflow.client")

#: Seconds between two looks at a run that is waited for, while no notification comes: the first and the longest.
_FIRST_LOOK = 0.02
_LONGEST_LOOK = 1.0
#: Seconds between two tries to get back to a database that went away.
_RECONNECT = 0.25


class Client:
    """Starts runs and looks at them.

        with Client("postgresql:///app") as client:
            run = client.start(campaign, {"campaign_id": 123})
            run = client.wait(run, timeout=60)
            print(run.status, run.output)

    Without an address PGFLOW_DATABASE_URL counts, then DATABASE_URL, then the embedded PostgreSQL. Opening raises
    DatabaseUnreachable, and SchemaError for a database that is not migrated; one that is open already is left as it is.
    """

    def __init__(self, dsn: str | None = None) -> None:
        self._use(Database(load(dsn=dsn)))

    def _use(self, database: Database) -> None:
        self._database = database
        #: The schedules in the database: `client.schedules.list()` and the like.
        self.schedules = Schedules(database)
        self._watching = Watching(database)
        #: Those that were compared with what is stored under their slugs.
        self._compared: WeakSet[Flow[Any, Any]] = WeakSet()

    def open(self) -> None:
        if not self._database.is_closed:
            return
        self._database.open()
        try:
            schema.prepare(self._database)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        self._watching.stop()
        self._database.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    @property
    def dsn(self) -> str:
        """The database's address; the embedded server's, if none was given."""
        return self._database.dsn

    # -- starting

    def start(
        self,
        flow: Flow[In, Out] | str,
        input: In,
        *,
        run_id: UUID | str | None = None,
        key: str | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        connection: Any = None,
    ) -> Run[Out]:
        """Starts a run and returns it as it then stands.

            run = client.start(campaign, {"campaign_id": 123})
            run = client.start(campaign, {"campaign_id": 123}, key="campaign-123", delay=3600)

        With a `key` a flow's run is started once: whoever starts it again under this key gets the same run, whatever
        the input and the other arguments, for as long as that run is in the database. No task begins before `at`, or
        for `delay` seconds by the database's clock. With a `connection` of yours (psycopg, SQLAlchemy, asyncpg, Django)
        the run starts within the transaction that is open there: it exists if and only if that is committed.

        A Flow that is not in the database yet is stored first; a slug must be there (FlowNotFound). Where another flow
        is stored under its slug, the run goes by that one: the logger `pgflow.client` warns, once per client and Flow.
        Raises InvalidInputError, before anything is written, for an input that is no JSON or no list where a root map
        needs one; DatabaseError if there is a run of this `run_id` already.
        """
        run_ids = run_ids_of(None if run_id is None else [run_id], 1)
        keys = checked_keys(None if key is None else [key], 1)
        return (self._start(flow, [encode_input(flow, input)], run_ids, keys, at, delay, connection))[0]

    def start_many(
        self,
        flow: Flow[In, Out] | str,
        inputs: Iterable[In],
        *,
        run_ids: Iterable[UUID | str] | None = None,
        keys: Iterable[str | None] | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        connection: Any = None,
    ) -> list[Run[Out]]:
        """Starts a run per input, all or none, in one call; returns them in the order of the inputs.

            runs = client.start_many(campaign, [{"campaign_id": n} for n in range(10_000)])

        `keys` are as many as the inputs, None for a run without one; all else is as with `start`. Raises as `start`,
        naming the index of the bad input.
        """
        encoded = encode_inputs(flow, inputs)
        ids, checked = run_ids_of(run_ids, len(encoded)), checked_keys(keys, len(encoded))
        return self._start(flow, encoded, ids, checked, at, delay, connection)

    def _start(
        self,
        flow: Flow[Any, Any] | str,
        inputs: list[bytes],
        run_ids: list[UUID] | None,
        keys: list[str | None] | None,
        at: datetime | None,
        delay: float | timedelta | None,
        connection: Any,
    ) -> list[Run]:
        start_at, seconds = start_time(at, delay)
        call = calls.start_flows(slug_of(flow), inputs, run_ids=run_ids, keys=keys, start_at=start_at, delay=seconds)
        if isinstance(flow, Flow) and (connection is not None or flow not in self._compared):
            self._make_sure(flow, connection)  # on a connection each time: an error would end its transaction
        try:
            return self._run(call, connection)
        except FlowNotFound:
            if connection is not None or not isinstance(flow, Flow):
                raise
        self.compile(flow)  # it was deleted
        return self._run(call, connection)

    def _make_sure(self, flow: Flow[Any, Any], connection: Any) -> None:
        """Stores a flow that is missing; says, once per Flow object, if the stored one is another."""
        if flow in self._compared:
            is_there = self._run(calls.flow_exists(flow.slug), connection)
        else:
            differences = self._run(calls.flow_differences(flow.slug, flow.shape()), connection)
            is_there = differences is not None
            self._compared.add(flow)
            if differences:
                logger.warning("%s", as_stored(flow, differences))
        if not is_there:
            check_compiled(flow, self._run(calls.ensure_flow_compiled(flow.slug, flow.shape()), connection))

    def _run(self, call: Call[T], connection: Any) -> T:
        """On the caller's connection, if there is one."""
        if connection is not None:
            return callers.run(connection, call)
        return self._database.run(call)

    def compile(self, flow: Flow[Any, Any] | FlowSpec, *, replace: bool = False) -> str:
        """Stores a flow; returns 'compiled', 'verified' (it was there), 'updated' (only its options) or 'recompiled'.

            client.compile(campaign)
            client.compile(FlowSpec.read(text))      # a flow that is data

        Raises InvalidInputError and FlowDefinitionError before any I/O, FlowMismatch if another flow of this slug is
        there; with `replace` that one goes, with all its runs.
        """
        check_flow(flow)
        store = calls.store_dynamic_flow if isinstance(flow, FlowSpec) else calls.ensure_flow_compiled
        compiled = self._database.run(store(flow.slug, flow.shape(), allow_data_loss=replace))
        status = check_compiled(flow, compiled)
        if isinstance(flow, Flow):
            self._compared.add(flow)
        return status

    @property
    def flows(self) -> Flows:
        """The stored flows: to make, look at and delete them."""
        return Flows(self._database)

    # -- controlling

    def cancel(self, run: Run[Out] | UUID | str, *, reason: str | None = None) -> Run[Out]:
        """Cancels a run and returns it as it then stands; handlers at work on it are told, and cancelled.

            run = client.cancel(run, reason="wrong list of addresses")

        Cancelling it again changes nothing. Raises RunStateError if it has completed or failed, RunNotFound.
        """
        return self._database.run(calls.cancel_run(run_id_of(run), checked_reason(reason)))

    def retry(self, run: Run[Out] | UUID | str) -> Run[Out]:
        """Lets a failed or cancelled run go on from what failed it; completed work is kept.

            run = client.wait(client.retry(run))

        A run that goes on is left alone. Raises RunStateError if it has completed, or if what failed it can only be
        mended by a step that has completed; RunNotFound.
        """
        return self._database.run(calls.retry_run(run_id_of(run)))

    def rerun(
        self, run: Run[Out] | UUID | str, from_step: Step[Any, Any] | str, *, input: Any = SAME_INPUT
    ) -> Run[Out]:
        """Starts a new run that begins at a step, with the outputs of all steps that do not come after it.

            again = client.rerun(run, "send_email")

        Steps that had not ended in the given run are run, too; what was skipped there stays so, and with skip-cascade
        takes along what comes after it. The input is that of the given run, unless another is
        given. Every call starts a run. Raises InvalidInputError for a step there is not, or an input as in `start`;
        RunNotFound.
        """
        encoded = None if input is SAME_INPUT else codec.encode(input)
        return self._database.run(calls.rerun(run_id_of(run), step_slug_of(from_step), encoded))

    def pause(self, flow: Flow[Any, Any] | str) -> None:
        """No task of the flow is started until `resume`; what runs goes on, and runs may be started.

            client.pause(campaign)

        Raises FlowNotFound.
        """
        self._database.run(calls.pause_flow(slug_of(flow)))

    def resume(self, flow: Flow[Any, Any] | str) -> None:
        """Ends the pause of a flow; one that is not paused is left alone. Raises FlowNotFound.

        client.resume(campaign)
        """
        self._database.run(calls.resume_flow(slug_of(flow)))

    def prune(self, older_than: timedelta, *, dry_run: bool = False) -> Pruned:
        """Deletes what ended longer ago than this, and says how much; with `dry_run` it only says so.

            client.prune(timedelta(days=30))

        Runs with their steps and tasks, archived messages, workers not heard of since. Runs that have not ended stay,
        however old. Raises InvalidInputError for what is no age.
        """
        age = checked_age(older_than)
        pruned = self._database.run(calls.count_prunable(age))
        if not dry_run:
            self._database.run(calls.prune_data_older_than(age))
        return pruned

    # -- looking

    def get_run(self, run: Run[Out] | UUID | str) -> Run[Out]:
        """A fresh snapshot of a run, with its steps; raises RunNotFound."""
        run_id = run_id_of(run)
        found = self._database.run(calls.get_run(run_id))
        if found is None:
            raise RunNotFound(run_id)
        return found

    def get_progress(self, run: Run | UUID | str) -> Progress:
        """How far a run is: its steps, what they wait for, what is being retried; without its values.

            progress = client.get_progress(run)
            print(progress.run.steps["send_email"].done_tasks, progress.retries)

        Cheap enough for a display that is refreshed. Raises RunNotFound.
        """
        run_id = run_id_of(run)
        found = self._database.run(calls.progress(run_id))
        if found is None:
            raise RunNotFound(run_id)
        return found

    def list_runs(
        self,
        flow: Flow[Any, Out] | str | None = None,
        *,
        status: str | None = None,
        limit: int = 50,
        before: Run | datetime | None = None,
        values: bool = True,
    ) -> list[Run[Out]]:
        """The newest runs first, without their steps; `before` goes on behind a run, or at a start time.

            older = client.list_runs(campaign, before=runs[-1])

        With `values=False` their `input` and `output`, which may be large, are not read but None.
        Raises FlowNotFound for a slug that names no flow (a Flow that is not stored has no runs), InvalidInputError.
        """
        check_listing(status, limit, before)
        slug = None if flow is None else slug_of(flow)
        found = self._database.run(calls.list_runs(slug, status, limit, before, values=values))
        if not found and isinstance(flow, str):
            expect_stored(self._database, flow)
        return found

    def wait(self, run: Run[Out] | UUID | str, *, timeout: float | None = None) -> Run[Out]:
        """Waits until a run has ended and returns it, however it ended.

            run = client.wait(run, timeout=60)

        Woken by NOTIFY, but never dependent on it; a database that is away for a while is waited for, too. Raises
        RunTimeout after `timeout` seconds (the run goes on), RunNotFound, InvalidInputError for what is no time.
        """
        run_id = run_id_of(run)
        seconds = checked_timeout(timeout)
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = self._wait_until(run_id, deadline)
            except DatabaseUnreachable as error:
                if self._database.is_closed:
                    raise
                left = deadline - time.monotonic()
                if left <= 0:
                    raise RunTimeout(run_id, seconds) from error
                time.sleep(min(_RECONNECT, left))
                continue
            if found is None:
                raise RunTimeout(run_id, seconds)
            return found

    def events(self, run: Run | UUID | str | None = None, *, flow: Flow[Any, Any] | str | None = None) -> Events:
        """An iterator over what happens to a run, from its start to its end; or to all runs of a flow, from now on.

            for event in client.events(run):
                print(event.at, event.type, event.step_slug, event.error)

        Each event is an `Event`. With `flow=` it goes on until closed (`close()`, or `with`). All iterators of a
        client share one connection. Events are read from the tables, so that none is missed, whatever connections are
        lost on the way; NOTIFY only says when to look. What `retry` undoes between two looks leaves no trace. Raises
        InvalidInputError at once, RunNotFound or FlowNotFound at the first step.
        """
        return Events(self._watching, news_of(run, flow))

    def _wait_until(self, run_id: UUID, deadline: float) -> Run | None:
        """The run once it has ended; None at the deadline. On one listening connection."""
        look = _FIRST_LOOK
        with self._database.listen("pgflow_run") as connection:
            while not self._database.run(calls.ended_runs([run_id])):
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                # What is heard may be of an earlier end, before the run was retried.
                if _hears(connection, f"{run_id} ", min(look, left)) and (run := self.get_run(run_id)).ended:
                    return run
                look = min(look * 1.5, _LONGEST_LOOK)
        return self.get_run(run_id)


def _hears(connection: Connection, beginning: str, seconds: float) -> bool:
    """Whether a notification that begins so comes within so many seconds."""
    until = time.monotonic() + seconds
    heard = False
    while not heard and (left := until - time.monotonic()) > 0:
        # ends with the packet that brought something: left in its middle it would keep the connection to itself
        for notification in connection.notifies(timeout=left, stop_after=1):
            heard = heard or notification.payload.startswith(beginning)
    return heard
