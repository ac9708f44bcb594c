"""`client.flows`. `_sync_flows.py` is generated from this file: edit here only."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeAlias

from typing_extensions import Unpack

from pgflow import calls
from pgflow.client.arguments import checked_age, slug_of
from pgflow.db import AsyncDatabase
from pgflow.errors import FlowDefinitionError, FlowNotFound, InvalidInputError
from pgflow.flow import Flow, FlowSpec, StepSpec, shape
from pgflow.flow.spec import StepFields, check_head, faults_of_last, make_step
from pgflow.records import StoredFlow

_StoredFlows: TypeAlias = list[StoredFlow]  # within the class, `list` is a method
_Slugs: TypeAlias = list[str]


class AsyncFlows:
    """The flows in the database, and how one that is data is made step by step.

        await client.flows.create_flow("report", max_attempts=5)
        await client.flows.add_step("report", "fetch")
        await client.flows.add_step("report", "summarize", step_type="map", depends_on=["fetch"])

    After each call the stored flow is whole. A flow that is known as a whole is better stored at once, by
    `client.compile(spec)`.
    """

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def create_flow(
        self,
        slug: str,
        *,
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,
    ) -> FlowSpec:
        """Stores a flow without steps and returns it; one that is there with the same options is returned as it is.

        Raises FlowDefinitionError before any I/O; InvalidInputError for a flow of this slug that comes from code or
        has other options; DatabaseError for a slug that differs from another one only in case.
        """
        head = check_head(slug, max_attempts=max_attempts, base_delay=base_delay, timeout=timeout)
        await self._database.run(calls.create_dynamic_flow(slug, shape.flow_options(head)))
        return await self.get(slug)

    async def add_step(self, flow: FlowSpec | str, slug: str, **fields: Unpack[StepFields]) -> StepSpec:
        """Adds a step behind those it depends on; the same step again changes nothing.

            await client.flows.add_step("report", "rank", depends_on=["fetch"], run_if={"fetch": {"ok": True}})

        Raises FlowDefinitionError for a step that is not well formed or does not fit those stored, InvalidInputError
        for a flow that comes from code, or has a run that has not completed (it would lack the step), FlowNotFound.
        Nothing is written then.
        """
        flow_slug = slug_of(flow)
        step = make_step(flow_slug, slug, fields)
        try:
            await self._database.run(calls.add_dynamic_step(flow_slug, shape.step_shape(step)))
        except InvalidInputError:
            stored = await self.get(flow_slug)  # only now: what it says of names that are nearly right is worth a look
            if faults := faults_of_last((*stored.steps, step)):
                raise FlowDefinitionError(flow_slug, faults) from None
            raise
        return step

    async def get(self, flow: Flow[Any, Any] | FlowSpec | str) -> FlowSpec:
        """A stored flow, whoever stored it; raises FlowNotFound.

        print(await client.flows.get("report"))
        """
        flow_slug = slug_of(flow)
        definition = await self._database.run(calls.flow_definition(flow_slug))
        if definition is None:
            raise FlowNotFound(flow_slug)
        return FlowSpec.of_shape(flow_slug, definition)

    async def list(self) -> _StoredFlows:
        """All stored flows by slug, with what goes on in each."""
        return await self._database.run(calls.list_flows())

    async def delete(self, flow: Flow[Any, Any] | FlowSpec | str) -> None:
        """Deletes a flow with its queue, all its runs and their history; raises FlowNotFound."""
        slug = slug_of(flow)
        if not await self._database.run(calls.delete_flow(slug)):
            raise FlowNotFound(slug)

    async def prune(self, older_than: timedelta, *, dry_run: bool = False) -> _Slugs:
        """Deletes the flows that are data, were not changed for so long, and have neither runs nor schedules; returns
        their slugs. With `dry_run` it only says which.

            await client.flows.prune(timedelta(days=30))

        Raises InvalidInputError for what is no age.
        """
        age = checked_age(older_than)
        return await self._database.run(
            calls.prunable_dynamic_flows(age) if dry_run else calls.prune_dynamic_flows(age)
        )
