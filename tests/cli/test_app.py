"""Global options, errors in one line, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pgflow
from pgflow import errors
from pgflow.cli import app
from tests.cli.conftest import spawn

COMMANDS = [
    "demo", "migrate", "worker", "start", "show", "watch", "runs", "cancel", "retry", "rerun", "pause", "resume",
    "doctor", "dashboard", "prune", "validate", "compile", "flows",
]  # fmt: skip
UNREACHABLE = "postgresql://me:secret@127.0.0.1:1/nowhere"


def test_version(cli):
    assert cli("--version").out == f"py-pgflow {pgflow.__version__}\n"


def test_without_a_command_the_help_is_shown(cli):
    for name in (*COMMANDS, "--dsn", "--verbose", "Exit codes"):
        assert name in cli("--help").out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli, command):
    said = cli(command, "--help")
    assert said.code == 0
    assert f"Usage: pgflow {command}" in said.out
    assert "--dsn URL and --verbose" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], "pgflow: No such command 'bogus'. See `pgflow --help`."),
        (["show"], "pgflow: Missing argument 'RUN'. See `pgflow show --help`."),
        ([], "pgflow: Missing command. See `pgflow --help`."),
        (["schedule"], "pgflow: Missing command. See `pgflow schedule --help`."),
        (["runs", "--limit", "many"], "See `pgflow runs --help`."),
        (["runs", "--dsn"], "pgflow: --dsn needs an address: postgresql://user@host:5432/database"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(cli, arguments, message):
    said = cli(*arguments)
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert message in said.err


def test_an_unreachable_database_is_exit_code_3_and_tells_no_password(cli):
    said = cli("runs", "--dsn", UNREACHABLE)
    assert said.code == 3
    assert said.err.startswith("pgflow: cannot reach database 'nowhere' on 127.0.0.1:1 (")
    assert said.err.count("\n") == 1
    assert "secret" not in said.err


def test_verbose_adds_the_traceback_and_may_stand_anywhere(cli):
    for arguments in (["--verbose", "--dsn", UNREACHABLE, "runs"], ["runs", f"--dsn={UNREACHABLE}", "--verbose"]):
        said = cli(*arguments)
        assert said.code == 3
        assert "Traceback (most recent call last)" in said.err
        assert said.err.splitlines()[-1].startswith("pgflow: cannot reach database")


def test_an_address_that_is_none_is_explained(cli):
    said = cli("runs", "--dsn", "nonsense")
    assert said.code == 2
    assert "'nonsense' is no address of a database" in said.err
    assert "postgresql://user@host:5432/database" in said.err
    said = cli("runs", "--dsn", "mysql://app")
    assert "no address of a database (its scheme is mysql, not postgresql): expected postgresql://user@h" in said.err


@pytest.mark.parametrize("variable", ["PGFLOW_DATABASE_URL", "DATABASE_URL"])
def test_the_address_may_come_from_the_environment(cli, dsn, monkeypatch, variable):
    monkeypatch.setenv(variable, dsn)
    said = cli("runs")
    assert (said.code, said.out) == (0, "")
    assert said.err == "no runs yet: `pgflow start FLOW JSON` starts one\n"


def test_an_error_of_our_own_is_one_line_that_says_how_to_see_more():
    line, code = app._explained(KeyError("oh"))
    assert (line, code) == ("unexpected KeyError: 'oh' (--verbose shows where)", 70)


def test_every_error_of_the_tree_has_an_exit_code():
    assert app._explained(errors.DatabaseUnreachable("x"))[1] == 3
    assert app._explained(errors.SchemaError("x"))[1] == 2
    assert app._explained(errors.FlowDefinitionError("f", ["x"]))[1] == 2


def test_a_reader_that_goes_away_is_no_error():
    """`pgflow migrate --sql | head -1`: more than a pipe holds."""
    with spawn("migrate", "--sql", cwd=Path.cwd()) as command:
        assert command.stdout.readline() == "begin;\n"
        command.stdout.close()
        assert command.stderr.read() == ""
    assert command.returncode == 0


def test_without_the_cli_extra_the_error_says_what_to_install(tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(name='typer')")
    done = subprocess.run(
        [sys.executable, "-m", "pgflow", "runs"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "pgflow: the command line needs typer and rich: run `pip install 'py-pgflow[cli]'`\n"
