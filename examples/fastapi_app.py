"""Orders over HTTP: a request stores an order and starts a run in one transaction; a worker ships it.

    PGFLOW_DATABASE_URL=postgresql:///shop WORK=1 uvicorn fastapi_app:app

With WORK=1 the worker runs beside the application; otherwise start it elsewhere: pgflow worker fastapi_app
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from pgflow import AsyncClient, Flow, Worker
from pgflow.errors import RunNotFound


class Order(BaseModel):
    item: str
    pieces: int


shipping = Flow("shipping", max_attempts=5)


@shipping.step
def pack(flow_input: Order) -> str:
    return f"{flow_input.pieces} × {flow_input.item}"


@shipping.step
async def ship(pack: str) -> dict[str, str]:
    return {"shipped": pack}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncExitStack() as opened:
        app.state.client = await opened.enter_async_context(AsyncClient())
        async with await psycopg.AsyncConnection.connect(app.state.client.dsn) as connection:
            await connection.execute("create table if not exists orders (run_id uuid primary key, item text)")
        if os.environ.get("WORK"):
            await opened.enter_async_context(Worker([shipping]))
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=202)
async def order(order: Order, request: Request) -> dict[str, UUID]:
    client: AsyncClient = request.app.state.client
    async with await psycopg.AsyncConnection.connect(client.dsn) as connection:  # in an application: from its pool
        run = await client.start(shipping, order.model_dump(), connection=connection)
        if order.pieces < 1:
            raise HTTPException(422, "at least one piece")  # neither the order nor the run exists then
        await connection.execute("insert into orders values (%s, %s)", (run.run_id, order.item))
    return {"run_id": run.run_id}


@app.get("/orders/{run_id}")
async def status(run_id: UUID, request: Request) -> dict[str, Any]:
    client: AsyncClient = request.app.state.client
    try:
        run = await client.get_run(run_id)
    except RunNotFound as error:
        raise HTTPException(404, str(error)) from error
    return {"status": run.status, "output": run.output}
