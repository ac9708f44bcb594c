"""Flows as users write them: nothing to complain about."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_type
from uuid import UUID

from pydantic import BaseModel
from typing_extensions import TypedDict

import pgflow
from pgflow import AsyncClient, Client, Context, Flow, Permanent, RetryAfter, Run, RunFailed, Step, Worker, needs
from pgflow.testing import run_inline


class Request(BaseModel):
    campaign_id: int


@dataclass
class Subscriber:
    address: str


campaign = Flow("email_campaign", max_attempts=3, base_delay=5, timeout=60)


class Report(TypedDict):
    each: list[str]


typed = Flow[Request, Report]("typed", max_delay=60, jitter=0.5, no_retry_on=LookupError)
typed.schedule("0 9 * * *", tz="Europe/Berlin", input=Request(campaign_id=1), catch_up="all")


@campaign.step
def fetch_subscribers(flow_input: Request) -> list[Subscriber]:
    return [Subscriber(str(flow_input.campaign_id))]


@campaign.map(over=fetch_subscribers, max_attempts=5, start_delay=1, max_delay=2.5, retry_on=[OSError, TimeoutError])
async def send_email(subscriber: Subscriber, ctx: Context) -> UUID:
    if ctx.cancelled.is_set():
        raise RetryAfter(2.5)
    return ctx.run_id


@campaign.map(initial_tasks=3, executor="process")
def ping(index: int) -> int:
    return index


@campaign.map(over="fetch_subscribers", transactional=True)
async def store(subscriber: Subscriber, ctx: Context) -> None:
    await ctx.connection.execute("insert into subscribers values (%s)", [subscriber.address])


@campaign.map(over="fetch_subscribers")
def check(subscriber: Subscriber) -> bool:
    return bool(subscriber.address)


@campaign.step(run_if={"fetch_subscribers": []}, when_unmet="skip-cascade", when_exhausted="skip")
def none_there(fetch_subscribers: list[Subscriber]) -> str:
    raise Permanent("nobody")


@campaign.step(slug="summary", depends_on=["ping", check])
async def track(
    deps: dict[str, Any],
    receipts: list[UUID] = needs(send_email),
    nobody: str | None = needs(none_there, default=None),
) -> dict[str, int]:
    return {"sent": len(receipts)}


@typed.map
def each(x: int) -> str:
    return str(x)


def steps_are_typed() -> None:
    assert_type(needs(fetch_subscribers), list[Subscriber])
    assert_type(needs(send_email), list[UUID])
    assert_type(needs(ping), list[int])
    assert_type(needs(track), dict[str, int])
    assert_type(needs(each), list[str])
    step: Step[..., Any] = send_email
    by_slug: dict[str, Step[Any, Any]] = dict(campaign.steps)
    print(step.slug, by_slug)


def steps_are_callable() -> None:
    fetch_subscribers(Request(campaign_id=1))
    fetch_subscribers(flow_input=Request(campaign_id=1))
    ping(3)


async def async_steps_are_callable() -> None:
    await send_email(Subscriber("a"), Context())
    await track({}, [], None)


def flows_are_objects() -> None:
    campaign.check()
    shape: dict[str, Any] = campaign.shape()
    text: str = campaign.sql() + campaign.mermaid() + str(campaign)
    print(shape, text)


def flows_run() -> None:
    result = pgflow.execute(campaign, {"campaign_id": 123}, timeout=3)
    assert_type(result, dict[str, Any])
    with Client() as client:
        run = client.start(campaign, {"campaign_id": 123})
        try:
            run = client.wait(run, timeout=60)
        except RunFailed as error:
            print(error.step, error.run_id)
        print(run.steps["send_email"].status, run.output)
    Worker([campaign, typed], concurrency=50).run()


async def flows_run_async() -> None:
    assert_type(await pgflow.aexecute(typed, Request(campaign_id=1)), Report)
    async with AsyncClient() as client:
        run = await client.wait(await client.start("email_campaign", {"campaign_id": 1}))
        print(run.status, run.output["summary"])
        typed_run = await client.wait(await client.start(typed, Request(campaign_id=1)))
        assert_type(typed_run.output, Report)


asyncio.run(flows_run_async())


def typed_flows_have_typed_runs(client: Client) -> list[str]:
    started = client.start(typed, Request(campaign_id=1), key="1")
    assert_type(started, Run[Report])
    assert_type(client.wait(started, timeout=1), Run[Report])
    assert_type(client.rerun(client.retry(client.cancel(client.get_run(started))), "each"), Run[Report])
    assert_type(client.start_many(typed, [Request(campaign_id=1)]), list[Run[Report]])
    assert_type(client.list_runs(typed), list[Run[Report]])
    assert_type(run_inline(typed, Request(campaign_id=1)).result, Report)
    several: list[Run] = [started, client.get_run("6e8f1f0a-0000-4000-8000-000000000000")]
    print(several)
    return pgflow.execute(typed, Request(campaign_id=1))["each"]


class UrgentRequest(Request):
    hours: int


def what_fits_is_taken(client: Client, loose: Flow[dict[str, Any], Any], sequence: Flow[Sequence[int]]) -> None:
    client.start(typed, UrgentRequest(campaign_id=1, hours=2))
    client.start(loose, {"a": 1, "b": [None]})
    client.start(sequence, [1, 2])
    assert_type(run_inline(sequence, range(3)).output, dict[str, Any])


def other_flows_stay_as_easy(client: Client, anything: Flow) -> dict[str, Any]:
    run = client.start(campaign, [1, {"x": None}])
    assert_type(run, Run[dict[str, Any]])
    assert_type(client.start("email_campaign", 3), Run[dict[str, Any]])
    assert_type(client.wait(run.run_id), Run[dict[str, Any]])
    assert_type(client.wait(str(run.run_id)).output["summary"], Any)
    bare: Run = client.wait(run)
    print(bare.output["summary"]["sent"], client.list_runs(before=bare), client.list_runs("email_campaign"))
    print(pgflow.execute(anything, None)["x"], client.start(anything, 3).output["x"])
    return pgflow.execute(campaign, {"campaign_id": 123})


# flows that are data, and functions by name

handlers = pgflow.Handlers()


@handlers("shorten")
def shorten(input: str, ctx: Context) -> str:
    return input[:3]


@handlers("score", executor="process", retry_on=(OSError,), jitter=0.5)
def score(input: str) -> float:
    return len(input) / 2


@handlers(no_retry_on=ValueError, max_delay=60)
def weigh(input: str) -> float:
    return score(input)


@handlers
async def search(flow_input: dict[str, str]) -> list[str]:
    return flow_input["topic"].split()


assert_type(shorten("abcdef", Context()), str)
assert_type(score("abc"), float)
spec = pgflow.FlowSpec.read('{"slug": "report", "steps": [{"slug": "search"}]}')
assert_type(spec, pgflow.FlowSpec)
built = (
    pgflow.FlowBuilder("b").add_step("search").add_step("s", depends_on=["search"], step_type="map", timeout=5).build()
)
assert_type(Flow.of(built, {"search": search, "s": shorten}), Flow)
Worker([campaign, handlers])


def store_as_data(client: Client) -> dict[str, Any]:
    client.compile(spec)
    client.flows.create_flow("mini", max_attempts=2)
    assert_type(client.flows.add_step("mini", "search", run_if={"a": 1}), pgflow.StepSpec)
    assert_type(client.flows.list(), list[pgflow.StoredFlow])
    return pgflow.execute_dynamic("report", {"topic": "bees"}, handlers)
