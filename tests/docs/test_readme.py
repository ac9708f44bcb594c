"""What README.md shows runs as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_first_flow_prints_what_it_says(dsn, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 15
    (tmp_path / "words.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "words.py"],
        cwd=tmp_path,
        env={"PGFLOW_DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("{'longest': 'workflows'}\n", "")
    assert f"it prints `{done.stdout.strip()}`" in README


def test_every_command_it_shows_exists():
    known = subprocess.run(
        [sys.executable, "-m", "pgflow", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for line in re.findall(r"^\$ pgflow (.*)", README, re.MULTILINE):
        assert re.search(rf"^│ {shlex.split(line, comments=True)[0]} ", known, re.MULTILINE), line


def test_every_make_target_it_shows_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z0-9%-]+):", makefile, re.MULTILINE)
    for shown in re.findall(r"`?make ([a-z0-9-]+)", README):
        assert any(fnmatchcase(shown, target.replace("%", "*")) for target in targets), shown
