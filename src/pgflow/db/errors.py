"""PostgreSQL's errors as ours: SQLSTATE -> exception, and which errors another try may mend."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from pgflow.config import mask_password
from pgflow.errors import (
    DatabaseError,
    DatabaseUnreachable,
    FlowNotFound,
    InvalidInputError,
    PgflowError,
    RunNotFound,
    RunStateError,
    ScheduleNotFound,
    SchemaError,
)
from pgflow.flow.codec import MOST_BYTES

#: SQLSTATE classes of connection, resources, locks and rights: the call was not at fault (engine.md, 2).
_TRANSIENT_CLASSES = {"08", "25", "28", "40", "42", "53", "55", "57", "58"}
_FLOW_NOT_FOUND = re.compile(r"^Flow not found: (.*)$", re.MULTILINE)
_RUN_NOT_FOUND = re.compile(r"^Run not found: (.*)$", re.MULTILINE)
_SCHEDULE_NOT_FOUND = re.compile(r"^Schedule not found: (.*)$", re.MULTILINE)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later: a lost or refused connection, a lock, a full server.

    `is_transient(DatabaseUnreachable("…"))` is True; an error of the data, such as 22P02, is not.
    """
    if isinstance(error, DatabaseUnreachable | PoolTimeout | PoolClosed | TooManyRequests):
        return True
    if isinstance(error, DatabaseError) and isinstance(error.__cause__, psycopg.Error):
        error = error.__cause__
    if not isinstance(error, psycopg.Error):
        return isinstance(error, SchemaError)
    return error.sqlstate is None or error.sqlstate[:2] in _TRANSIENT_CLASSES


@contextmanager
def translated(dsn: str) -> Iterator[None]:
    """Raises PostgreSQL's errors as ours, each with the way out; the original stays as `__cause__`."""
    try:
        yield
    except (psycopg.Error, PoolTimeout, UnicodeEncodeError) as error:
        raise _translate(error, dsn) from error


def _translate(error: psycopg.Error | PoolTimeout | UnicodeEncodeError, dsn: str) -> Exception:
    text = _first_line(error)
    match error:
        case UnicodeEncodeError():
            return InvalidInputError(f"half a surrogate pair in {error.object[:60]!r}: PostgreSQL cannot hold it")
        case psycopg.DataError() if "NUL" in text and error.sqlstate is None:
            return InvalidInputError("a NUL character in a text: PostgreSQL cannot hold it")
        case psycopg.errors.ReadOnlySqlTransaction():
            return DatabaseUnreachable(f"{_place(dsn)} cannot be written ({text}): is it a standby, or in a failover?")
        case PoolTimeout():
            return DatabaseUnreachable(f"no connection to {_place(dsn)} within the pool's timeout")
        case PoolClosed():  # transient still: a worker that ends may close it under a call, which blames no task
            return DatabaseUnreachable(f"this client of {_place(dsn)} is closed: make the call before, or open another")
        case psycopg.OperationalError() if error.sqlstate is None or error.sqlstate[:2] in {"08", "57", "53"}:
            return DatabaseUnreachable(
                f"cannot reach {_place(dsn)} ({text}): is PostgreSQL running, and is the address right?"
            )
        case psycopg.errors.UniqueViolation() if error.diag.constraint_name == "runs_pkey":
            return DatabaseError("there is a run of this run_id already: give each its own (a key= may be given again)")
        case psycopg.errors.ProgramLimitExceeded() if "jsonb" in text or "array size" in text:
            return DatabaseError(
                f"{text}: PostgreSQL holds {MOST_BYTES:,} bytes in a value, and a map's outputs are one in the end: "
                "return less, the place of a file, say"
            )
        case _:
            return refusal(error.sqlstate, error) or DatabaseError(text)


def refusal(sqlstate: str | None, error: Exception) -> PgflowError | None:
    """Our error where it was pgflow's SQL that refused, whichever driver says so; None where it was not."""
    text = _first_line(error)
    match sqlstate:
        case "3F000" | "42883" | "42P01" | "42703":  # no such schema, function, table, column
            return SchemaError(f"the database's pgflow schema is missing or old ({text}): run `pgflow migrate`")
        case "23503" if found := _FLOW_NOT_FOUND.search(str(error)):
            return FlowNotFound(found[1])
        case "P0002" if found := _RUN_NOT_FOUND.search(str(error)):
            return RunNotFound(UUID(found[1]))
        case "P0002" if found := _SCHEDULE_NOT_FOUND.search(str(error)):
            return ScheduleNotFound(found[1])
        case "42501" if text.startswith("permission denied"):
            return DatabaseError(f"{text}: the role has no right to it (docs/how-to/least-privilege.md)")
        case "55000":
            return RunStateError(text)
        case "22P05" | "22P02" | "P0001":  # a character or a text that a type cannot hold; or our own words
            return InvalidInputError(text)
        case _:
            return None


def _place(dsn: str) -> str:
    """What people call the database: without the settings of the connection, and without the password."""
    parts = conninfo_to_dict(dsn)
    host = parts.get("host") or parts.get("hostaddr") or "the local socket"
    return f"database {parts.get('dbname') or parts.get('user') or ''!r} on {host}:{parts.get('port') or 5432}"


def _first_line(error: Exception) -> str:
    lines = mask_password(str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
