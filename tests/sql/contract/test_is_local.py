"""pgflow.is_local."""

from __future__ import annotations

import psycopg
import pytest

from tests.support import value

SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"


def test_a_database_without_the_setting_is_not_local(trial: psycopg.Connection) -> None:
    assert value(trial, "select pgflow.is_local()") is False


@pytest.mark.parametrize(("secret", "local"), [(SECRET, True), ("", False), ("another", False), (SECRET + "x", False)])
def test_the_well_known_secret_decides(trial: psycopg.Connection, secret: str, local: bool) -> None:
    trial.execute("select set_config('app.settings.jwt_secret', %s, false)", (secret,))
    assert value(trial, "select pgflow.is_local()") is local


def test_the_setting_is_read_at_each_call(trial: psycopg.Connection) -> None:
    seen = []
    for secret in ("x", SECRET, "x"):
        trial.execute("select set_config('app.settings.jwt_secret', %s, false)", (secret,))
        seen.append(value(trial, "select pgflow.is_local()"))
    assert seen == [False, True, False]
