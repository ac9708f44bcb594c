"""Values that several commands take: JSON, from a file or standard input too, and ages."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from pgflow.errors import InvalidInputError
from pgflow.flow import document

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Age = Annotated[str, typer.Option(metavar="AGE", help="How old at least: 30d, 12h, 90m, 2w.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")]


def read_input(argument: str) -> Any:
    """The value of `JSON`, `@FILE` or `-`; raises InvalidInputError."""
    try:
        if argument == "-":
            source, text = "standard input", sys.stdin.read()
        elif argument.startswith("@"):
            source, text = argument[1:], Path(argument[1:]).read_text(encoding="utf-8-sig")
        else:
            source, text = "the input", argument
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise InvalidInputError(f"cannot read {argument[1:]}: {reason}") from error
    try:
        return document.strict_json(text)
    except InvalidInputError as error:
        raise InvalidInputError(f"{source}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{source} is no JSON ({error}): a text needs double quotes, as in '\"hello\"'"
        ) from error


def read_age(text: str) -> timedelta:
    """The age that `30d` or `12h` is; raises InvalidInputError."""
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if found is None:
        raise InvalidInputError(f"{text!r} is no age: expected a number and a unit (s, m, h, d, w), as in 30d or 12h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
