"""`pgflow dashboard` as a command: its address, its end, and what it refuses before it listens."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from pgflow.web import serving
from tests.cli.conftest import Said, cli, spawn  # noqa: F401  # a fixture

PASSWORD = "PGFLOW_DASHBOARD_PASSWORD"
EVERYWHERE = "0.0.0.0"  # noqa: S104


def test_it_serves_at_the_address_it_prints_until_ctrl_c(dsn: str, tmp_path: Path) -> None:
    process = spawn("dashboard", "--port", "0", cwd=tmp_path, PGFLOW_DATABASE_URL=dsn)
    try:
        line = process.stdout.readline()
        url = line.split(" at ")[1].split()[0]
        with httpx.Client(base_url=url) as http:
            assert "No runs yet." in http.get("/").text
            port = httpx.URL(url).port
            assert http.get("/", headers={"Host": f"localhost:{port}"}).status_code == 200
            rebound = http.get("/", headers={"Host": f"evil.example:{port}"})
            assert rebound.status_code == 400
            assert "content-security-policy" in rebound.headers
            process.send_signal(signal.SIGINT)  # with a connection open
            assert process.wait(20) == 0
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
    finally:
        process.kill()
        process.communicate()


def test_with_a_password_others_may_reach_it(dsn: str, tmp_path: Path) -> None:
    options = ("dashboard", "--host", EVERYWHERE, "--port", "0", "--read-only", "--dsn", dsn)
    process = spawn(*options, cwd=tmp_path, **{PASSWORD: "open"})
    try:
        url = process.stdout.readline().split(" at ")[1].split()[0].replace(EVERYWHERE, "127.0.0.1")
        assert httpx.get(url).status_code == 401
        assert "read only" in httpx.get(url, auth=("me", "open")).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def refusal(said: Said) -> str:
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_a_port_in_use(cli, dsn):  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = cli("dashboard", "--port", str(port), "--dsn", dsn)
    assert said.code == 2
    assert f"cannot listen at 127.0.0.1:{port} (Address already in use): give another --port" in refusal(said)


def test_an_address_that_is_not_this_machines(cli, dsn, monkeypatch):  # noqa: F811
    monkeypatch.setenv(PASSWORD, "open")
    said = cli("dashboard", "--host", "192.0.2.1", "--dsn", dsn)
    assert (said.code, "cannot listen at 192.0.2.1:8080" in refusal(said)) == (2, True)


def test_an_unreachable_database(cli):  # noqa: F811
    said = cli("dashboard", "--dsn", "postgresql://me:secret@127.0.0.1:1/nowhere")
    assert (said.code, "cannot reach database 'nowhere'" in refusal(said)) == (3, True)


def test_a_database_that_is_not_migrated(cli, empty_dsn):  # noqa: F811
    said = cli("dashboard", "--dsn", empty_dsn)
    assert (said.code, "pgflow migrate" in refusal(said)) == (2, True)


@pytest.mark.parametrize("host", [EVERYWHERE, "192.0.2.1", "::", "dashboard.example"])
def test_a_host_that_others_reach_needs_a_password(cli, host, monkeypatch):  # noqa: F811
    monkeypatch.setenv(PASSWORD, "")  # is none
    said = cli("dashboard", "--host", host, "--dsn", "postgresql://127.0.0.1:1/nowhere")
    assert said.code == 2
    assert f"others can reach {host}" in refusal(said)
    assert PASSWORD in said.err


@pytest.mark.parametrize("package", ["jinja2", "starlette", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(cli, package, monkeypatch):  # noqa: F811
    for name in [name for name in sys.modules if name.split(".")[0] == package or name.startswith("pgflow.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    said = cli("dashboard")
    assert said.code == 2
    assert "needs jinja2, starlette and uvicorn: run `pip install 'py-pgflow[dashboard]'`" in refusal(said)


def test_names_that_lead_here() -> None:
    assert "[::1]" in serving._names("127.0.0.1")
    assert serving._names("10.0.0.5") == ["10.0.0.5"]
    assert serving._names("::") == ["*"]
