"""What docs/how-to/watch-in-a-browser.md shows and says of limits is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pgflow.cli.app import run
from pgflow.web import app, pages, rendering
from tests.web.conftest import browser

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "watch-in-a-browser.md").read_text()


async def test_the_application_shows_the_dashboard_to_staff_only(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_DATABASE_URL", dsn)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "watch-in-a-browser.md", "exec"), names)  # noqa: S102
    names["staff_sessions"].add("ours")
    async with names["lifespan"](names["app"]), browser(names["app"]) as http:
        for path in ("", "/", "/flows", "/style.css"):
            assert (await http.get(f"/internal/pgflow{path}")).status_code == 401
        http.cookies.set("session", "ours")
        assert "No runs yet." in (await http.get("/internal/pgflow/")).text
        assert "read only" in (await http.get("/internal/pgflow/flows")).text


def test_the_command_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\n$ pgflow dashboard\n" in PAGE
    assert run(["dashboard", "--help"]) == 0
    shown = capsys.readouterr().out
    for word in ("--host", "--read-only", "PGFLOW_DASHBOARD_PASSWORD", "127.0.0.1", "8080"):
        assert word in PAGE
        assert word in shown


def test_its_numbers() -> None:
    assert f"anew every {pages._EVERY} seconds" in PAGE
    assert f"ask again every {app._AWAY} seconds" in PAGE
    assert f"a page shows {rendering._LONGEST_VALUE:,} characters" in PAGE
