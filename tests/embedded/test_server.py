"""One private server: where it is, what it keeps, how it is reached."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import psycopg
import pytest

from pgflow import embedded
from pgflow.config import load
from pgflow.db import Database
from pgflow.db.address import _say_embedded
from pgflow.embedded.directory import default_directory
from pgflow.errors import EmbeddedError
from tests.embedded.support import is_alive, postmaster
from tests.support import eventually, value


def test_a_started_server_answers_in_its_database(embedded_directory: Path) -> None:
    with embedded.start(embedded_directory) as server, psycopg.connect(server.dsn) as conn:
        assert value(conn, "select current_database()") == "pgflow"
        assert value(conn, "show server_version_num") >= "180000"
        assert value(conn, "show fsync") == "on"
        assert server.tcp_dsn is None


def test_data_survive_a_stop_and_a_new_start(used_directory: Path) -> None:
    with embedded.start(used_directory) as server:
        with psycopg.connect(server.dsn) as conn:
            conn.execute("create table kept as select 42 as n")
        pid = postmaster(used_directory)
    eventually(lambda: not is_alive(pid))
    with embedded.start(used_directory) as server, psycopg.connect(server.dsn) as conn:
        assert value(conn, "select n from kept") == 42


def test_a_server_without_durability_says_so(used_directory: Path) -> None:
    with embedded.start(used_directory, durable=False) as server, psycopg.connect(server.dsn) as conn:
        assert value(conn, "show fsync") == "off"


def test_the_settings_lead_to_the_directory(used_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_EMBEDDED_DIR", str(used_directory))
    with embedded.start(durable=False) as server:
        assert server.directory == used_directory


def test_a_database_without_an_address_is_the_embedded_one(
    used_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _say_embedded.cache_clear()  # another test may have heard it
    with Database(load({}, embedded_dir=used_directory)) as database:
        pid = postmaster(used_directory)
        assert database.is_embedded
        assert capsys.readouterr().err == f"pgflow: no database given, using the embedded one in {used_directory}\n"
        with Database(load({}, embedded_dir=used_directory)) as another:
            assert another.is_embedded
        assert capsys.readouterr().err == ""  # it was said
    eventually(lambda: not is_alive(pid))


def test_the_default_directory_of_a_user_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_directory() == tmp_path / ".local/share/pgflow"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_directory() == tmp_path / "data/pgflow"


def test_the_default_directory_of_root_is_in_var_lib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_directory() == Path("/var/lib/pgflow")


def test_only_our_own_folder_gets_other_modes(embedded_directory: Path) -> None:
    above = [embedded_directory.parent, *embedded_directory.parent.parents]
    before = [folder.stat().st_mode for folder in above]
    with embedded.start(embedded_directory, durable=False):
        assert [folder.stat().st_mode for folder in above] == before
        assert _mode(embedded_directory / "socket") == 0o700
        assert _mode(embedded_directory / "data") == 0o700
        assert _mode(embedded_directory / "password") == 0o600
        assert _mode(embedded_directory) == (0o711 if os.geteuid() == 0 else 0o700)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", ["so-deep-" * 15, "a space, 100% $(false)", 'it\'s a "quote", a back\\slash'])
def test_any_path_will_do(embedded_directory: Path, name: str) -> None:
    directory = embedded_directory / name
    embedded_directory.mkdir()
    with embedded.start(directory, durable=False) as server:
        with psycopg.connect(server.dsn) as conn:
            assert value(conn, "select 1") == 1
            sockets = Path(value(conn, "show unix_socket_directories"))
        pid = postmaster(directory)
        assert sockets.samefile(directory / "socket")
        assert _mode(sockets) == 0o700
    eventually(lambda: not is_alive(pid))
    eventually(lambda: sockets.is_relative_to(directory) or not sockets.exists())


def test_a_port_is_open_on_this_machine_only_and_for_the_password_only(used_directory: Path) -> None:
    with embedded.start(used_directory, port=0, durable=False) as server:
        assert server.tcp_dsn is not None
        with psycopg.connect(server.tcp_dsn) as conn:
            assert value(conn, "select host(inet_server_addr())") == "127.0.0.1"
            assert value(conn, "show listen_addresses") == "127.0.0.1"
        for password in ("wrong", ""):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(server.tcp_dsn, password=password)
        with psycopg.connect(server.dsn) as conn:
            assert value(conn, "select inet_server_addr()") is None


def test_the_port_asked_for_is_the_one_that_opens(used_directory: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with embedded.start(used_directory, port=port, durable=False) as server:
        assert server.tcp_dsn is not None
        assert f"@127.0.0.1:{port}/" in server.tcp_dsn


def test_the_password_stays_the_same(used_directory: Path) -> None:
    with embedded.start(used_directory, durable=False):
        pid = postmaster(used_directory)
        password = (used_directory / "password").read_text()
    eventually(lambda: not is_alive(pid))
    with embedded.start(used_directory, port=0, durable=False) as server:
        assert (used_directory / "password").read_text() == password
        assert server.tcp_dsn is not None
        psycopg.connect(server.tcp_dsn).close()


def test_a_port_in_use_is_refused_and_nothing_stays_behind(used_directory: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(EmbeddedError, match=r"does not start: .*Address already in use.*\(log: "):
            embedded.start(used_directory, port=other.getsockname()[1], durable=False)
    with embedded.start(used_directory, durable=False) as server:
        psycopg.connect(server.dsn).close()
