"""The shell completes commands and options, also behind global options."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def complete(words: str) -> list[str]:
    """What bash is told to offer for the last word."""
    environment = {
        **os.environ,
        "_PGFLOW_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pgflow"], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pgflow wat", ["watch"]),
        ("pgflow runs --fo", ["--follow"]),
        ("pgflow schedule run", ["run-now"]),
        ("pgflow --dsn postgresql:///app doc", ["doctor"]),
        ("pgflow runs --dsn postgresql:///app --fo", ["--follow"]),
    ],
)
def test_words_are_completed(words, offered):
    assert complete(words) == offered


def test_the_script_for_the_shell_can_be_shown():
    environment = {**os.environ, "SHELL": "/bin/bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "pgflow", "--show-completion", "bash"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "_PGFLOW_COMPLETE=complete_bash" in done.stdout
