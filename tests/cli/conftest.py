"""Running commands as a user would, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgflow.cli.app import run

APP = """
from pgflow import Flow, Permanent

shout = Flow("shout", max_attempts=1)

@shout.step
def louder(flow_input: dict) -> str:
    if flow_input.get("fail"):
        raise ValueError("no voice")
    return flow_input["text"].upper()
"""


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs a command in this process."""

    def call(*arguments: str) -> Said:
        code = run(list(arguments))
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's module `app` in the current directory, with the flow `shout`."""
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("app", None)  # whose ever that was
    yield tmp_path
    sys.modules.pop("app", None)


def spawn(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Starts `pgflow …` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pgflow", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )
