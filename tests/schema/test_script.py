"""The SQL for those who run it themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

import psycopg
import pytest

from pgflow import schema
from tests.schema.catalog import objects
from tests.schema.support import is_installed
from tests.sqlcoverage import untouched
from tests.support import rows


def _psql(dsn: str, text: str) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("no psql here")
    done = subprocess.run(
        [psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", dsn],
        input=text, text=True, capture_output=True, check=False, env={**os.environ, "PGCLIENTENCODING": "utf8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _psycopg(dsn: str, text: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(text)


@untouched
@pytest.mark.parametrize("run", [_psql, _psycopg])
@pytest.mark.parametrize("of_database", [False, True], ids=["for an empty one", "for this one"])
def test_the_script_makes_what_migrate_makes(
    empty_dsn: str, dsn: str, run: Callable[[str, str], None], of_database: bool
) -> None:
    text = schema.script(empty_dsn if of_database else None)
    assert not is_installed(empty_dsn)
    run(empty_dsn, text)
    assert objects(empty_dsn) == objects(dsn)
    with psycopg.connect(empty_dsn) as ours, psycopg.connect(dsn) as theirs:
        for table, columns in (("schema_migrations", "number, name"), ("schema_functions", "name, checksum")):
            noted = f"select {columns} from pgflow.{table} order by 1"
            assert rows(ours, noted) == rows(theirs, noted)
    assert schema.migrate(empty_dsn) == []


def test_an_up_to_date_database_needs_no_script(dsn: str) -> None:
    assert schema.script(dsn) == ""


def test_the_script_of_an_upgrade_holds_the_upgrade_only(dsn: str) -> None:
    before = objects(dsn)
    with psycopg.connect(dsn) as conn:
        conn.execute("update pgflow.schema_functions set checksum = 'old' where name = 'is_local'")
    text = schema.script(dsn)
    assert "function pgflow.is_local()" in text
    assert "create table" not in text
    assert "function pgflow.start_flow(" not in text
    _psycopg(dsn, text)
    assert objects(dsn) == before
    assert schema.script(dsn) == ""


def test_a_script_that_fails_half_way_leaves_nothing_behind(empty_dsn: str) -> None:
    text = schema.script(empty_dsn).replace("commit;", "select 1 / 0; commit;")
    with psycopg.connect(empty_dsn, autocommit=True) as conn, pytest.raises(psycopg.errors.DivisionByZero):
        conn.execute(text)
    assert not is_installed(empty_dsn)
