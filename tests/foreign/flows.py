"""The Python handlers of the flows that flows.mjs defines."""

from __future__ import annotations

from typing import Any

from pgflow import Context, Flow, Permanent

orders: Flow[Any, Any] = Flow("orders", max_attempts=3, base_delay=1, timeout=20)


@orders.step
def lines(flow_input: dict[str, Any]) -> list[dict[str, int]]:
    return flow_input["lines"]  # type: ignore[no-any-return]


@orders.map(over=lines)
async def price(line: dict[str, int], ctx: Context) -> int:
    """Fails at the first attempt of every other line."""
    if ctx.task_index % 2 and ctx.attempt == 1:
        raise ConnectionError("the price list is away")
    return line["amount"] * line["price"]


@orders.step(max_attempts=2)
def stock(lines: list[dict[str, int]], flow_input: dict[str, Any], ctx: Context) -> int:
    if flow_input.get("closed"):
        raise Permanent("the warehouse is closed")
    if flow_input.get("flood"):
        raise OSError(f"flooded, attempt {ctx.attempt}")
    return 100 - sum(line["amount"] for line in lines)


@orders.step(depends_on=[price, stock])
def invoice(deps: dict[str, Any]) -> dict[str, Any]:
    return {"total": sum(deps["price"]), "deps": sorted(deps), "left": deps["stock"]}


squares: Flow[Any, Any] = Flow("squares")


@squares.map
def square(n: int) -> int:
    return n * n
