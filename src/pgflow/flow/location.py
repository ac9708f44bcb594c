"""Where something stands in the user's code, for messages."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path


def shown(file: str, line: int) -> str:
    """`flows.py:12`, from the current directory on where the file is below it."""
    path = Path(file)
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}"


def of_caller() -> str:
    """The line that called the function which asks."""
    frame = sys._getframe(2)
    while frame.f_globals.get("__name__") == "typing" and frame.f_back is not None:  # Flow[In, Out]("slug")
        frame = frame.f_back
    return shown(frame.f_code.co_filename, frame.f_lineno)
