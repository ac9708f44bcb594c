"""Where pgmq comes from: it is there, the server offers it, or we bring it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from pgmq.install import get_embedded_install_sql

from pgflow import schema
from pgflow.errors import SchemaError
from tests.schema.catalog import objects
from tests.schema.support import is_installed, plain_owner
from tests.support import rows, value

Offer = Callable[..., None]


def _extension(conn: psycopg.Connection) -> list[tuple[str]]:
    return rows(conn, "select extversion from pg_extension where extname = 'pgmq'")


def test_an_existing_pgmq_is_left_alone(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute(get_embedded_install_sql())
        conn.execute("select pgmq.create('theirs')")
        conn.execute("select pgmq.send('theirs', '{}')")
    before = objects(empty_dsn, "pgmq")
    assert "pgmq" not in schema.migrate(empty_dsn)
    assert objects(empty_dsn, "pgmq") == before
    with psycopg.connect(empty_dsn) as conn:
        assert value(conn, "select count(*) from pgmq.q_theirs") == 1


def test_a_pgmq_schema_that_lacks_functions_is_refused_and_left_alone(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create schema pgmq")
        conn.execute("create function pgmq.send() returns int return 1")
        conn.execute("create function pgmq.read() returns int return 1")
    before = objects(empty_dsn)
    with pytest.raises(SchemaError, match=r"lacks pgmq\.create, pgmq\.archive.*nothing was changed: upgrade it, or"):
        schema.migrate(empty_dsn)
    assert objects(empty_dsn) == before


def test_an_empty_pgmq_schema_is_filled(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create schema pgmq")
    assert schema.migrate(empty_dsn)[0] == "pgmq"


@pytest.fixture
def offer(empty_dsn: str) -> Iterator[Offer]:
    """Makes the server offer a pgmq extension: the real thing, under any version and rights."""
    with ExitStack() as stack, psycopg.connect(empty_dsn, autocommit=True) as admin:

        def offering(version: str, *, superuser: bool = True, trusted: bool = False) -> None:
            folder = stack.enter_context(_extension_folder(admin))
            control, script = folder / "pgmq.control", folder / f"pgmq--{version}.sql"
            for path in (control, script):
                stack.callback(path.unlink)
            script.write_text(get_embedded_install_sql())
            control.write_text(
                f"default_version = '{version}'\nschema = 'pgmq'\nrelocatable = false\n"
                f"superuser = {str(superuser).lower()}\ntrusted = {str(trusted).lower()}\n"
            )

        yield offering


@contextmanager
def _extension_folder(admin: psycopg.Connection) -> Iterator[Path]:
    """A folder for extensions: one of this database alone (from PostgreSQL 18 on), or the server's own."""
    if value(admin, "select count(*) from pg_available_extensions where name = 'pgmq'"):
        pytest.skip("this server offers a pgmq extension of its own")
    if value(admin, "select current_setting('server_version_num')::int") >= 180000:
        share = Path(tempfile.mkdtemp(prefix="pgflow-test-", dir="/tmp"))
        try:
            share.chmod(0o755)
            (share / "extension").mkdir()
            name = value(admin, "select current_database()")
            admin.execute(f"alter database {name} set extension_control_path = '{share}:$system'")
            yield share / "extension"
        finally:
            shutil.rmtree(share)
        return
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("the whole server would offer it, also to the tests that run beside this one: run this file alone")
    folder = Path(value(admin, "select setting from pg_config where name = 'SHAREDIR'")) / "extension"
    is_here = admin.info.host.startswith("/") and folder.is_dir()
    if os.geteuid() != 0 or not is_here or (folder / "pgmq.control").exists():
        pytest.skip(f"only root may add an extension to {folder}, and only on the server's own machine")
    yield folder


def test_an_offered_extension_is_created(empty_dsn: str, offer: Offer) -> None:
    offer("1.4.4")
    assert schema.migrate(empty_dsn)[0] == "pgmq"
    with psycopg.connect(empty_dsn) as conn:
        assert _extension(conn) == [("1.4.4",)]
        conn.execute("select pgflow.create_flow('works')")
    assert schema.migrate(empty_dsn) == []


@pytest.mark.parametrize("rights", [{"superuser": True, "trusted": True}, {"superuser": False}])
def test_an_offered_extension_is_created_by_an_ordinary_owner_where_it_may(
    empty_dsn: str, offer: Offer, rights: dict[str, bool]
) -> None:
    offer("1.10.0", **rights)
    with plain_owner(empty_dsn) as dsn:
        schema.migrate(dsn)
        with psycopg.connect(dsn) as conn:
            assert _extension(conn) == [("1.10.0",)]


def test_an_offered_extension_that_the_role_may_not_create_is_the_administrators(empty_dsn: str, offer: Offer) -> None:
    offer("1.5.1", superuser=True, trusted=False)
    with plain_owner(empty_dsn) as dsn:
        with pytest.raises(SchemaError, match="ask an administrator to run `create extension pgmq` in this database"):
            schema.migrate(dsn)
        assert not is_installed(empty_dsn)
        with psycopg.connect(empty_dsn) as admin:
            admin.execute("create extension pgmq")
        assert "0001_core" in schema.migrate(dsn)


def test_an_extension_older_than_we_need_is_passed_over(empty_dsn: str, offer: Offer) -> None:
    offer("1.4.3")
    assert schema.migrate(empty_dsn)[0] == "pgmq"
    with psycopg.connect(empty_dsn) as conn:
        assert _extension(conn) == []
        conn.execute("select pgflow.create_flow('works')")


def test_the_script_creates_the_extension_where_it_is_offered(empty_dsn: str, offer: Offer) -> None:
    offer("1.4.4")
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(schema.script(empty_dsn))
        assert _extension(conn) == [("1.4.4",)]
