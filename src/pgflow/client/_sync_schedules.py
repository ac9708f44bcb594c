"""Schedules from outside. Generated from `_async_schedules.py` by scripts/unasync.py: do not edit."""

from __future__ import annotations

from typing import Any, TypeAlias

from pgflow import calls
from pgflow.client._sync_stored import expect_stored
from pgflow.client.arguments import check_schedule, encode_input, slug_of
from pgflow.db import Database
from pgflow.flow import Flow
from pgflow.flow.schedule import CatchUp
from pgflow.records import Run, Schedule

Listing: TypeAlias = list[Schedule]


class Schedules:
    """The schedules in a database, as `client.schedules`.

        client.schedules.add("nightly", campaign, "0 3 * * *", tz="Europe/Berlin", input={"campaign_id": 123})
        for schedule in client.schedules.list():
            print(schedule.name, schedule.next_at)

    Those that a flow's code declares (`flow.schedule`) are among them, and may be paused and run like any other. Every
    method raises ScheduleNotFound for a name there is not.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        name: str,
        flow: Flow[Any, Any] | str,
        cron: str,
        *,
        tz: str = "UTC",
        input: Any = None,
        catch_up: CatchUp = "last",
    ) -> Schedule:
        """Makes a schedule; its first slot is the first after now. See `Flow.schedule` for what it is made of.

        Raises InvalidInputError, before anything is written, for what is not valid and for a name that is taken;
        FlowNotFound.
        """
        check_schedule(name, cron, tz, input, catch_up)
        call = calls.add_schedule(name, slug_of(flow), cron, tz, encode_input(flow, input), catch_up)
        return self._database.run(call)

    def pause(self, name: str) -> Schedule:
        """Nothing of it is started until `resume`; what comes meanwhile is not made up for."""
        return self._database.run(calls.pause_schedule(name))

    def resume(self, name: str) -> Schedule:
        """Ends its pause; one that is not paused is left alone."""
        return self._database.run(calls.resume_schedule(name))

    def run_now(self, name: str) -> Run:
        """Starts a run as the schedule would, now and beside its slots, paused or not."""
        return self._database.run(calls.run_schedule(name))

    def delete(self, name: str) -> Schedule:
        """Deletes it and returns what it was; its runs stay.

        One from code (`origin` is 'code') comes back when a worker starts whose code still declares it: pause it
        instead, or remove it there.
        """
        return self._database.run(calls.delete_schedule(name))

    def list(self, flow: Flow[Any, Any] | str | None = None) -> Listing:
        """All schedules, or those of a flow, by name; raises FlowNotFound for a slug that names no flow."""
        found = self._database.run(calls.list_schedules(None if flow is None else slug_of(flow)))
        if not found and isinstance(flow, str):
            expect_stored(self._database, flow)
        return found
