"""Mistakes that a type checker sees; each line says by which error code."""

from __future__ import annotations

from pgflow import Context, Flow, needs

flow = Flow("f")

Flow()  # error: call-arg
Flow("f", max_attempts="3")  # error: arg-type
Flow("f", retries=3)  # error: call-arg
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


async def async_calls() -> None:
    await count(3, Context())  # error: arg-type
    await count("a")  # error: call-arg
