"""What Django's settings say about pgflow, and what `manage.py check` says about them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import override_settings
from psycopg.conninfo import conninfo_to_dict

from pgflow.contrib.django import conf, dsn
from pgflow.contrib.django.checks import check_flows, check_settings
from tests.contrib.conftest import database


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"HOST": "db", "PORT": 5433, "USER": "ada", "PASSWORD": "p@ss ' \\ wört", "NAME": "the shop"},
            {"host": "db", "port": "5433", "user": "ada", "password": "p@ss ' \\ wört", "dbname": "the shop"},
        ),
        ({"HOST": "/run/postgresql"}, {"host": "/run/postgresql", "dbname": "shop"}),
        ({"HOST": ""}, {"dbname": "shop"}),
        (
            {"HOST": "", "OPTIONS": {"sslmode": "require", "pool": True, "isolation_level": 2}},
            {"dbname": "shop", "sslmode": "require"},
        ),
        ({"HOST": "", "NAME": "", "OPTIONS": {"service": "shop"}}, {"service": "shop"}),
        ({"HOST": "", "OPTIONS": {"assume_role": "the owner"}}, {"dbname": "shop", "options": r"-c role=the\ owner"}),
        (
            {"HOST": "", "OPTIONS": {"assume_role": "owner", "options": "-c work_mem=1MB"}},
            {"dbname": "shop", "options": "-c work_mem=1MB -c role=owner"},
        ),
    ],
)
def test_the_address_is_what_django_would_connect_with(settings: dict[str, Any], expected: dict[str, str]) -> None:
    with database(**settings):
        assert conninfo_to_dict(dsn()) == {"client_encoding": "UTF8", **expected}


def test_all_that_can_be_set_is_read() -> None:
    given = {
        "DATABASE": "runs", "FLOWS": ("a.flows", "b:flow"), "MIGRATE": True, "CONCURRENCY": 5, "GRACE": 1.5,
        "LEASE": 30, "HANDLER_PROCESSES": 2, "MAX_TASKS_PER_CHILD": 9, "LIFESPAN": "a:lifespan",
    }  # fmt: skip
    with override_settings(PGFLOW=given):
        read = conf.read()
    assert (read.database, read.flows, read.migrate) == ("runs", ("a.flows", "b:flow"), True)
    assert {name.upper(): option for name, option in read.worker.items()} == dict(list(given.items())[3:])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["default"], "E001 PGFLOW must be a dict, not ['default']"),
        ({"DATABSE": "x"}, "E001 PGFLOW has no key 'DATABSE'; did you mean 'DATABASE'?; it has DATABASE, FLOWS"),
        ({"DATABASE": None}, "E001 PGFLOW DATABASE must be an alias of DATABASES, not None"),
        ({"FLOWS": "shop.flows"}, "E001 PGFLOW FLOWS must be a list of modules"),
        ({"MIGRATE": "yes"}, "E001 PGFLOW MIGRATE must be True or False, not 'yes'"),
        ({"CONCURRENCY": 0}, "E001 PGFLOW CONCURRENCY must be at least 1, not 0"),
        ({"LEASE": "long"}, "E001 PGFLOW LEASE must be a whole number, not 'long'"),
        ({"LIFESPAN": 5}, "E001 PGFLOW LIFESPAN must be MODULE:FUNCTION, not 5"),
        ({"DATABASE": "pgflwo"}, "E002 PGFLOW: DATABASES has no 'pgflwo'; did you mean 'pgflow'?"),
    ],
)
def test_a_wrong_setting_is_found(given: Any, expected: str) -> None:
    with database(), override_settings(PGFLOW=given):
        (error,) = check_settings()
        assert check_flows() == []
        with pytest.raises(ImproperlyConfigured):
            dsn()
    assert f"{error.id} {error.msg}".startswith(f"pgflow.{expected}")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ENGINE": "django.db.backends.sqlite3"}, "the engine django.db.backends.sqlite3, but runs are in PostgreSQL"),
        ({"NAME": ""}, "Please supply the NAME"),
    ],
)
def test_a_database_that_runs_cannot_be_in_is_found(settings: dict[str, Any], expected: str) -> None:
    with database(**settings):
        (error,) = check_settings()
    assert error.id == "pgflow.E003"
    assert expected in error.msg


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 / 0", "E004 importing ordering failed: ZeroDivisionError: division by zero"),
        ("import pgflow", "E004 ordering has no flows: assign a pgflow.Flow to a name in it"),
        ("from pgflow import Flow; empty = Flow('empty')", "E005 ordering: flow 'empty' is not well formed: "),
        ("import tests.contrib.twins as t; one, two = t.first, t.second", "E005 ordering: two different flows have"),
        ("import tests.contrib.twins as t; one = t.first", None),
        (None, "E004 no module 'ordering' here"),
    ],
)
def test_faults_of_flows_are_found(
    text: str | None, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ordering", raising=False)
    if text is not None:
        (tmp_path / "ordering.py").write_text(text)
    with database(), override_settings(PGFLOW={"DATABASE": "pgflow", "FLOWS": ["ordering"]}):
        found = [f"{error.id} {error.msg}" for error in check_flows()]
    assert len(found) == (expected is not None)
    assert all(fault.startswith(f"pgflow.{expected}") for fault in found)
