"""The FastAPI example, asked over HTTP: what a request starts exists if the request succeeds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from uuid import UUID

import psycopg
import pytest

from tests.support import eventually, value

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi_app.py"


@pytest.fixture
def example(dsn: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("PGFLOW_DATABASE_URL", dsn)
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fastapi_app", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore:Using `httpx`")  # the one that is pinned still does
def test_an_order_is_shipped_and_a_refused_one_leaves_nothing(
    example: ModuleType, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi.testclient import TestClient

    monkeypatch.setenv("WORK", "1")
    with TestClient(example.app) as http:
        assert http.post("/orders", json={"item": "cup", "pieces": 0}).status_code == 422
        assert value(conn, "select count(*) from pgflow.runs") == 0
        ordered = http.post("/orders", json={"item": "cup", "pieces": 3})
        assert ordered.status_code == 202
        run_id = ordered.json()["run_id"]
        done = eventually(lambda: (now := http.get(f"/orders/{run_id}").json())["status"] == "completed" and now)
        assert done["output"] == {"ship": {"shipped": "3 × cup"}}
        assert value(conn, "select run_id from orders") == UUID(run_id)
        assert http.get(f"/orders/{UUID(int=0)}").status_code == 404
    assert value(conn, "select count(*) from pgflow.workers where stopped_at is null") == 0
