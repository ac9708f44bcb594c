"""Values that commands take as JSON, from a file, or from standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pgflow.errors import InvalidInputError


def read_input(argument: str) -> Any:
    """The value of `JSON`, `@FILE` or `-`; raises InvalidInputError."""
    try:
        if argument == "-":
            source, text = "standard input", sys.stdin.read()
        elif argument.startswith("@"):
            source, text = argument[1:], Path(argument[1:]).read_text(encoding="utf-8")
        else:
            source, text = "the input", argument
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise InvalidInputError(f"cannot read {argument[1:]}: {reason}") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{source} is no JSON ({error}): a text needs double quotes, as in '\"hello\"'"
        ) from error
