"""docs/reference/commands.md is what the commands say of themselves, and every listing has --json."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pgflow.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "commands.md").read_text()
LISTINGS = ["runs", "show", "watch", "flows", "flows show", "schedule list", "doctor", "prune", "flows prune"]


def test_the_page_is_fresh():
    command = [sys.executable, ROOT / "scripts" / "commands_page.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_command_and_exit_code_is_on_it():
    for name, command in typer.main.get_command(app.app).commands.items():
        for full in (name, *(f"{name} {sub}" for sub in getattr(command, "commands", ()))):
            assert re.search(rf"^## `pgflow {full}[ `]", PAGE, re.MULTILINE), full
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert codes == set(app.EXIT_CODES)


@pytest.mark.parametrize("listing", LISTINGS)
def test_every_listing_has_json(listing):
    section = re.search(rf"^## `pgflow {listing}[ `].*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert "`--json`" in section[0]
