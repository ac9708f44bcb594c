"""An exception in words, fit to be stored."""

from __future__ import annotations

#: Characters of an error_message that are stored: so few that PostgreSQL keeps them in the task's row.
LONGEST_ERROR = 2000


def error_text(error: BaseException) -> str:
    """`TypeName: message`: at most LONGEST_ERROR characters, without those that PostgreSQL refuses."""
    try:
        message = str(error)
    except BaseException:  # a user's __str__ may raise anything
        message = "(its message cannot be printed)"
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    text = text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST_ERROR else text[: LONGEST_ERROR - 1] + "…"
