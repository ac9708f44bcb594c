"""Context: all defaults, for unit tests of handlers."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import date

import pytest

from pgflow import Context
from pgflow.errors import InvalidInputError


def test_a_context_needs_no_arguments():
    ctx = Context()
    assert (ctx.flow_slug, ctx.step_slug, ctx.task_index, ctx.attempt, ctx.max_attempts) == ("", "", 0, 1, 1)
    assert ctx.deadline is None
    assert not ctx.cancelled.is_set()
    assert ctx.resources == {}
    ctx.logger.debug("it can be logged to")


def test_contexts_share_nothing():
    one, two = Context(), Context()
    one.cancelled.set()
    assert not two.cancelled.is_set()
    assert one.resources is not two.resources


def test_a_context_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Context().attempt = 2  # type: ignore[misc]


async def test_the_runs_input_is_loaded_and_converted():
    async def raw() -> bytes:
        return b'["2026-01-02"]'

    ctx = Context(load_raw_input=raw)
    assert await ctx.load_input() == ["2026-01-02"]
    assert await ctx.load_input(list[date]) == [date(2026, 1, 2)]
    with pytest.raises(InvalidInputError):
        await ctx.load_input(int)


async def test_without_a_run_there_is_no_input():
    with pytest.raises(RuntimeError, match="made without a run"):
        await Context().load_input()


def test_a_connection_is_there_for_transactional_steps_only():
    with pytest.raises(RuntimeError, match="this Context has no connection: declare the step with transactional=True"):
        _ = Context().connection
    connection = object()
    assert Context(open_connection=connection).connection is connection
