"""Settings: where values come from, what they may be, and that passwords stay hidden."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from pgflow.config import Settings, SettingsError, load, mask_password
from pgflow.errors import PgflowError

VARIABLES = {
    "dsn": ("PGFLOW_DATABASE_URL", "host=x", "host=x"),
    "listen_dsn": ("PGFLOW_LISTEN_URL", "host=y", "host=y"),
    "embedded_dir": ("PGFLOW_EMBEDDED_DIR", "/some/where", Path("/some/where")),
    "concurrency": ("PGFLOW_CONCURRENCY", "7", 7),
    "lease": ("PGFLOW_LEASE", "8", 8),
    "grace": ("PGFLOW_GRACE", "0.5", 0.5),
    "poll_interval": ("PGFLOW_POLL_INTERVAL", "3", 3.0),
    "handler_processes": ("PGFLOW_HANDLER_PROCESSES", "3", 3),
    "max_tasks_per_child": ("PGFLOW_MAX_TASKS_PER_CHILD", "9", 9),
}


def test_defaults_come_from_nowhere_else():
    settings = load({})
    assert settings == Settings()
    assert settings.dsn is None
    assert {settings.source(name) for name in VARIABLES} == {"default"}


@pytest.mark.parametrize("name", VARIABLES)
def test_the_environment_wins_over_the_default(name: str):
    variable, text, value = VARIABLES[name]
    settings = load({variable: text})
    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(value) or name == "embedded_dir"
    assert settings.source(name) == variable


@pytest.mark.parametrize("name", VARIABLES)
def test_an_argument_wins_over_the_environment(name: str):
    variable, text, value = VARIABLES[name]
    settings = load({variable: "nonsense"}, **{name: text})
    assert getattr(settings, name) == value
    assert settings.source(name) == "argument"


def test_every_setting_has_a_variable():
    assert {name for name in Settings.__dataclass_fields__ if not name.startswith("_")} == set(VARIABLES)


def test_an_argument_of_none_is_none_given():
    assert load({"PGFLOW_LEASE": "9"}, lease=None).source("lease") == "PGFLOW_LEASE"


def test_database_url_is_the_second_choice():
    both = {"DATABASE_URL": "host=second", "PGFLOW_DATABASE_URL": "host=first"}
    assert (load(both).dsn, load(both).source("dsn")) == ("host=first", "PGFLOW_DATABASE_URL")
    only = {"DATABASE_URL": "host=second", "PGFLOW_DATABASE_URL": ""}
    assert (load(only).dsn, load(only).source("dsn")) == ("host=second", "DATABASE_URL")


def test_the_process_environment_is_the_default_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGFLOW_CONCURRENCY", "3")
    assert load().concurrency == 3
    assert load({}).concurrency == 20


def test_a_directory_may_start_with_a_tilde(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert load({"PGFLOW_EMBEDDED_DIR": "~/db"}).embedded_dir == Path("/home/ada/db")


@pytest.mark.parametrize(
    ("environ", "arguments", "message"),
    [
        ({"PGFLOW_LEASE": "soon"}, {}, "PGFLOW_LEASE must be a whole number, not 'soon'"),
        ({"PGFLOW_CONCURRENCY": "2.5"}, {}, "PGFLOW_CONCURRENCY must be a whole number, not '2.5'"),
        ({"PGFLOW_GRACE": "1s"}, {}, "PGFLOW_GRACE must be a number, not '1s'"),
        ({"PGFLOW_CONCURRENCY": "0"}, {}, "PGFLOW_CONCURRENCY must be at least 1, not '0'"),
        ({"PGFLOW_POLL_INTERVAL": "0"}, {}, "PGFLOW_POLL_INTERVAL must be at least 0.01, not '0'"),
        ({"PGFLOW_GRACE": "nan"}, {}, "PGFLOW_GRACE must be at least 0, not 'nan'"),
        ({}, {"lease": 0}, "lease must be at least 1, not 0"),
        ({}, {"lease": 2.5}, "lease must be a whole number, not 2.5"),
        ({}, {"lease": "x"}, "lease must be a whole number, not 'x'"),
        ({"PGFLOW_LEASE": "5"}, {"grace": -1}, "grace must be at least 0, not -1"),
        ({}, {"grace": []}, "grace must be a number, not []"),
    ],
)
def test_a_bad_value_is_refused_by_name_and_place(environ: dict[str, str], arguments: dict[str, Any], message: str):
    with pytest.raises(SettingsError) as caught:
        load(environ, **arguments)
    assert str(caught.value) == message
    assert isinstance(caught.value, PgflowError)
    assert isinstance(caught.value, ValueError)


def test_an_unknown_setting_is_refused_and_the_known_ones_named():
    with pytest.raises(TypeError, match=r"unknown setting\(s\): leese; known: dsn, .*lease"):
        load({}, leese=3)


def test_settings_are_frozen_and_compare_by_value():
    settings = load({"PGFLOW_LEASE": "9"})
    assert settings == load({}, lease=9)
    with pytest.raises(FrozenInstanceError):
        settings.lease = 3  # type: ignore[misc]


# ---------------------------------------------------------------------------------------- passwords


@pytest.mark.parametrize(
    ("dsn", "masked"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://:secret@host", "postgresql://:***@host"),
        ("postgres://me:se%40cret@a:1,b:2/db", "postgres://me:***@a:1,b:2/db"),
        ("postgresql://me:se@cret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:se#c?ret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:se/cret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://h/db?user=me&password=secret&port=1", "postgresql://h/db?user=me&password=***&port=1"),
        ("postgresql://h/db?sslpassword=secret", "postgresql://h/db?sslpassword=***"),
        ("postgresql://me:secret@h/db?password=secret", "postgresql://me:***@h/db?password=***"),
        ("host=x password=secret user=me", "host=x password=*** user=me"),
        ("password=se&cret user=me", "password=*** user=me"),
        ("PASSWORD = 'se cret' user=me", "PASSWORD = *** user=me"),
        (r"password='se\'cret' user=me", "password=*** user=me"),
        (r"password=se\ cret user=me", "password=*** user=me"),
        ("sslpassword=secret", "sslpassword=***"),
    ],
)
def test_a_password_is_masked_wherever_it_stands(dsn: str, masked: str):
    assert mask_password(dsn) == masked


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "postgresql:///db",
        "postgresql://host:5432/db",
        "postgresql://me@host/db",
        "postgresql://a:1,b:2/db?target_session_attrs=any",
        "host=/run/x port=5432 passfile=/x",
    ],
)
def test_an_address_without_a_password_stays_as_it_is(dsn: str):
    assert mask_password(dsn) == dsn


def test_the_repr_of_settings_hides_passwords():
    settings = load({}, dsn="postgresql://me:secret@host/db", listen_dsn="host=x password=secret")
    for shown in (repr(settings), str(settings), f"{settings}"):
        assert "secret" not in shown
        assert "dsn='postgresql://me:***@host/db'" in shown
        assert "listen_dsn='host=x password=***'" in shown
        assert "lease=15" in shown
