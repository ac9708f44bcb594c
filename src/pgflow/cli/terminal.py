"""What commands write: text and tables for people, JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

_COLOURS = {
    "completed": "green",
    "started": "cyan",
    "failed": "red",
    "cancelled": "yellow",
    "skipped": "yellow",
}


def console() -> Console:
    """Standard output; wide enough for whole ids where it is no terminal."""
    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 200)


def command() -> str:
    """How this command was called, so that what we suggest can be pasted."""
    called = sys.argv[0]
    if Path(called).name != "pgflow" or shutil.which("pgflow") == called:
        return "pgflow"
    return called


def print_json(value: Any) -> None:
    """A value as indented JSON; times in ISO 8601."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=plain) + "\n")


def plain(value: Any) -> str:
    """What JSON has no form for, as text."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def status(name: str) -> Text:
    """A status in its colour."""
    return Text(name, style=_COLOURS.get(name, "dim"))
