"""The defaults that docs/explanation/timeouts.md and the JSON schema of a flow name are those that hold."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg

from pgflow import FlowSpec
from pgflow.config import Settings
from tests.support import rows

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "timeouts.md").read_text()


def default_of(limit: str) -> str:
    """The third column of a limit's row."""
    (default,) = re.findall(rf"^\| \*\*{limit}\*\*[^|]*\|[^|]*\| ([^|]*) \|", PAGE, re.MULTILINE)
    return str(default)


def test_flows_have_the_defaults_that_are_named(conn: psycopg.Connection) -> None:
    conn.execute("select pgflow.create_flow('plain')")
    ((attempts, delay, timeout),) = rows(conn, "select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows")
    assert default_of("retry delay") == f"{delay} s · 2ⁿ after the n-th attempt, {attempts} attempts"
    assert default_of("timeout") == f"{timeout} s"
    fields = FlowSpec.model_json_schema()["properties"]
    for name, default in (("max_attempts", attempts), ("base_delay", delay), ("timeout", timeout)):
        assert fields[name]["description"].endswith(f" Default: {default}.")


def test_workers_have_the_defaults_that_are_named() -> None:
    assert default_of("lease") == f"{Settings().lease} s"
    assert default_of("grace") == f"{Settings().grace:g} s"


def test_the_first_retry_waits_as_long_as_is_said(conn: psycopg.Connection) -> None:
    assert rows(conn, "select pgflow.calculate_retry_delay(5, 1), pgflow.calculate_retry_delay(5, 2)") == [(10, 20)]
