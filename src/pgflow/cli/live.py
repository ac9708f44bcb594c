"""What goes on being shown: a picture that is drawn again on a terminal, lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TypeVar

from rich.console import RenderableType
from rich.live import Live

from pgflow.cli import terminal
from pgflow.errors import DatabaseUnreachable
from pgflow.records import Event, Run

T = TypeVar("T")


def looks(look: Callable[[], T], *, every: float) -> Iterator[T]:
    """What each look brings, for ever; a database that is away for a while is waited for."""
    while True:
        try:
            yield look()
        except DatabaseUnreachable as error:
            sys.stderr.write(f"{error}; trying again\n")
        time.sleep(every)


def draw(pictures: Iterator[RenderableType]) -> None:
    """Draws each picture over the last one."""
    with Live(console=terminal.console(), auto_refresh=False, vertical_overflow="crop") as live:
        for picture in pictures:
            live.update(picture, refresh=True)


def changes(listings: Iterator[list[Run]]) -> Iterator[Run]:
    """The runs of each listing that were not in the one before, or had another status there; the oldest first."""
    told: dict[object, str] = {}
    for found in listings:
        yield from (run for run in reversed(found) if told.get(run.run_id) != run.status)
        told = {run.run_id: run.status for run in found}


def print_line(value: Run | Event) -> None:
    """A line of JSON, at once: a program may wait for it."""
    print(json.dumps(asdict(value), ensure_ascii=False, default=terminal.plain), flush=True)  # noqa: T201
