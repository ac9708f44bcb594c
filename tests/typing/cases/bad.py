"""Mistakes that a type checker sees; each line says by which error code."""

from __future__ import annotations

from typing_extensions import TypedDict

import pgflow
from pgflow import Client, Context, Flow, needs
from pgflow.testing import run_inline

flow = Flow("f")


class Report(TypedDict):
    two: int


typed = Flow[list[str], Report]("typed")

Flow()  # error: call-arg
Flow("f", max_attempts="3")  # error: arg-type
Flow("f", retries=3)  # error: arg-type
flow.step(executor=["dask"])  # error: call-overload


@flow.step
def words() -> list[str]:
    return ["a"]


@flow.map(over=words)
async def count(word: str, ctx: Context) -> int:
    return len(word)


@flow.step
def takes_the_wrong_type(numbers: list[int] = needs(words)) -> None: ...  # error: arg-type


@flow.step
def takes_one_of_a_list(number: int = needs(count)) -> None: ...  # error: assignment


@flow.step
def takes_the_wrong_default(number: list[int] = needs(count, default="none")) -> None: ...  # error: arg-type


@flow.step
def forgets_the_default(number: list[int] = needs(count, default=None)) -> None: ...  # error: arg-type


flow.step(when_unmet="ignore")  # error: call-overload
flow.step(initial_tasks=3)  # error: call-overload
flow.map(over=3)  # error: call-overload
flow.step(retry_on="OSError")  # error: call-overload
flow.map(jitter="full")  # error: call-overload
flow.schedule("* * * * *", catch_up="some")  # error: arg-type


def calls() -> None:
    words(1)  # error: call-arg
    needs(len)  # error: call-overload
    needs("words")  # error: call-overload
    flow.step("words")  # error: call-overload
    Context(attempt="1")  # error: arg-type


def runs(client: Client) -> None:
    pgflow.execute(typed, {"n": 1})  # error: misc
    client.start(typed, 1)  # error: misc
    client.start_many(typed, [["a"], [1]])  # error: misc
    client.start(typed, ["a"]).output["three"]  # error: typeddict-item
    client.wait(client.start(typed, ["a"])).output["two"].upper()  # error: attr-defined
    pgflow.execute(typed, ["a"])["two"].upper()  # error: attr-defined
    run_inline(typed, 1)  # error: misc
    client.wait(1)  # error: arg-type


async def async_calls() -> None:
    await count(3, Context())  # error: arg-type
    await count("a")  # error: call-arg
    await pgflow.aexecute(typed, [1])  # error: misc
