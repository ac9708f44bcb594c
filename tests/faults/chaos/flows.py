"""The flows of a chaos run: some random ones, made from CHAOS_SEED, and a bank."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from typing import Any

from pgflow import Context, Flow
from tests.faults.chaos.ledger import ledger

SEED = int(os.environ.get("CHAOS_SEED", "0"))
RANDOM_FLOWS = 6
ACCOUNTS = 20

#: How long handlers take, in seconds: mostly not long, and now and then long enough to be hit.
_DURATIONS = (0.0, 0.0, 0.005, 0.005, 0.02, 0.02, 0.1, 0.5, 1.0)
_FAILURES = 0.06
_MODES: tuple[Any, ...] = ("skip", "skip-cascade", "skip", "fail")


class _Attempt:
    """What an attempt of a task does: the same whenever the same attempt is made."""

    def __init__(self, ctx: Context) -> None:
        self.rng = random.Random(f"{SEED} {ctx.run_id} {ctx.step_slug} {ctx.task_index} {ctx.attempt}")
        self.duration = self.rng.choice(_DURATIONS)
        self.fails = self.rng.random() < _FAILURES
        self.token = ledger().note(ctx, self.fails)

    def end(self) -> dict[str, Any]:
        if self.fails:
            raise RuntimeError("chaos")
        return {"token": self.token, "ok": self.rng.random() < 0.7}

    def list(self) -> list[dict[str, Any]]:
        return [self.end() | {"n": n} for n in range(self.rng.choice((1, 2, 4, 8)))]


def _random_flow(number: int) -> Flow[Any, Any]:
    rng = random.Random(f"{SEED} {number}")
    flow: Flow[Any, Any] = Flow(f"chaos_{number}", max_attempts=rng.choice((4, 6, 8)), base_delay=0, timeout=60)
    lists: list[str] = []
    singles: list[str] = []
    for n in range(rng.randint(3, 8)):
        slug = f"s{n}"
        options: dict[str, Any] = {"when_unmet": rng.choice(_MODES), "when_exhausted": rng.choice(_MODES)}
        if lists and rng.random() < 0.4:
            flow.map(slug=slug, over=rng.choice(lists), **options)(_element_handler(rng))
            lists.append(slug)
            continue
        earlier = lists + singles
        needed = rng.sample(earlier, min(len(earlier), rng.choice((0, 1, 1, 2, 3))))
        conditions = [s for s in needed if s in singles]
        if conditions and rng.random() < 0.4:
            options["run_if"] = {conditions[0]: {"ok": True}}
        gives_list = rng.random() < 0.5
        flow.step(slug=slug, depends_on=needed, **options)(_handler(rng, gives_list=gives_list))
        (lists if gives_list else singles).append(slug)
    return flow


def _handler(rng: random.Random, *, gives_list: bool) -> Any:
    async def on_loop(ctx: Context, deps: dict[str, Any]) -> Any:
        attempt = _Attempt(ctx)
        await asyncio.sleep(attempt.duration)
        return attempt.list() if gives_list else attempt.end()

    def in_thread(ctx: Context, deps: dict[str, Any]) -> Any:
        attempt = _Attempt(ctx)
        _pause(attempt.duration)
        return attempt.list() if gives_list else attempt.end()

    return rng.choice((on_loop, in_thread))


def _pause(seconds: float) -> None:
    """time.sleep, which libfaketime breaks."""
    threading.Event().wait(seconds)


def _element_handler(rng: random.Random) -> Any:
    async def on_loop(element: Any, ctx: Context) -> Any:
        attempt = _Attempt(ctx)
        await asyncio.sleep(attempt.duration)
        return attempt.end()

    def in_thread(element: Any, ctx: Context) -> Any:
        attempt = _Attempt(ctx)
        _pause(attempt.duration)
        return attempt.end()

    return rng.choice((on_loop, in_thread))


bank: Flow[Any, Any] = Flow("bank", max_attempts=20, base_delay=0, timeout=60)
_MOVE = "update accounts set cents = cents + %s where id = %s"
_NOTE = "insert into transfers values (%s, %s, %s, %s)"


def _statements(order: dict[str, int], ctx: Context, token: str) -> list[tuple[str, list[Any]]]:
    """Accounts in the order of their numbers, so that transfers do not lock each other out."""
    moves = sorted([(order["payer"], -order["cents"]), (order["payee"], order["cents"])])
    return [
        *((_MOVE, [cents, account]) for account, cents in moves),
        (_NOTE, [ctx.run_id, ctx.step_slug, ctx.task_index, token]),
    ]


@bank.map(transactional=True)
async def transfer(order: dict[str, int], ctx: Context) -> dict[str, Any]:
    attempt = _Attempt(ctx)
    for statement, values in _statements(order, ctx, attempt.token):
        await ctx.connection.execute(statement, values)
    await asyncio.sleep(attempt.duration / 10)
    return attempt.end() | order


@bank.map(transactional=True)
def transfer_too(order: dict[str, int], ctx: Context) -> dict[str, Any]:
    attempt = _Attempt(ctx)
    for statement, values in _statements(order, ctx, attempt.token):
        ctx.connection.execute(statement, values)
    _pause(attempt.duration / 10)
    return attempt.end() | order


def orders(rng: random.Random) -> list[dict[str, int]]:
    """An input of the bank's."""
    made = []
    for _ in range(rng.randint(1, 8)):
        payer, payee = rng.sample(range(ACCOUNTS), 2)
        made.append({"payer": payer, "payee": payee, "cents": rng.randint(1, 100_000)})
    return made


FLOWS: dict[str, Flow[Any, Any]] = {"bank": bank} | {flow.slug: flow for flow in map(_random_flow, range(RANDOM_FLOWS))}
globals().update(FLOWS)  # where `pgflow worker` looks for them
