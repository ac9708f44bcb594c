"""Where something stands in the user's code, for messages."""

from __future__ import annotations

import importlib
import sys
import traceback
from contextlib import suppress
from pathlib import Path

#: Folders of what is not the code of users: this package, and the importing of theirs.
_OURS = {Path(__file__).parents[1], Path(importlib.__file__).parent}


def shown(file: str, line: int) -> str:
    """`flows.py:12`, from the current directory on where the file is below it."""
    path = Path(file)
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}"


#: Modules through which the user's code comes: `Flow[In, Out]("slug")`, `@pgflow.job`.
_ON_THE_WAY = ("typing", "pgflow.jobs")


def of_caller() -> str:
    """The line that called the function which asks."""
    frame = sys._getframe(2)
    while frame.f_globals.get("__name__") in _ON_THE_WAY and frame.f_back is not None:
        frame = frame.f_back
    return shown(frame.f_code.co_filename, frame.f_lineno)


def of_error(error: BaseException) -> str:
    """The last line outside of this package and of Python's own importing that raised it; empty if none did."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith("<frozen ") and _OURS.isdisjoint(Path(frame.filename).parents):
            return shown(frame.filename, frame.lineno or 0)
    return ""
