"""What is wrong with a database, its workers and queues, and what to do about each: `pgflow doctor` says it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import TypeAlias

from pgflow import calls, calls_health, schema, showing
from pgflow.config import SettingsError, load, mask_password
from pgflow.db import Database
from pgflow.errors import DatabaseError, DatabaseUnreachable

HEALTHY, FINDINGS, WRONG_USE, NO_DATABASE = 0, 1, 2, 3

_OLDEST, _NEWEST = 14, 18
_SKEW = timedelta(seconds=2)
_WAITED = timedelta(minutes=5)
_DEEP = 100_000
_DEAD_ROWS = 10_000
_LONG_TRANSACTION = timedelta(hours=1)
_PROOF_TIMEOUT = 3.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and what to do about it."""

    what: str
    do: str


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was looked at: how it is, and what is wrong with it."""

    check: str
    detail: str = ""
    findings: list[Finding] = field(default_factory=list)


Check: TypeAlias = Callable[[Database], Checked]


def examine(dsn: str | None) -> tuple[list[Checked], int]:
    """All that can be looked at, and the exit code; what needs a schema is left out where it is not sound."""
    try:
        settings = load(dsn=dsn)
        with Database(settings) as database:
            if database.is_embedded:
                schema.prepare(database)
            checked = list(_checks(database))
    except SettingsError as error:
        return [_found("settings", str(error), "correct it, or unset it to get the default")], WRONG_USE
    except DatabaseUnreachable as error:
        do = "start PostgreSQL, or correct --dsn, PGFLOW_DATABASE_URL or DATABASE_URL"
        return [_found("connection", mask_password(str(error)), do)], NO_DATABASE
    return checked, FINDINGS if any(each.findings for each in checked) else HEALTHY


def live_workers(dsn: str) -> list[calls_health.LiveWorker]:
    """The workers that live, the oldest first; raises DatabaseUnreachable, SchemaError."""
    with Database(load(dsn=dsn)) as database:
        return database.run(calls_health.live_workers())


def _checks(database: Database) -> Iterator[Checked]:
    yield Checked("connection", mask_password(database.settings.dsn or "the embedded database"))
    for check in (_clock, _server, _notifications):
        yield check(database)
    for needed in (_rights, _schema):
        yield (checked := needed(database))
        if checked.findings:
            return
    for check in (_workers, _stalled, _queues, _bloat):
        yield check(database)


# ---------------------------------------------------------------------------------------- the server


def _clock(database: Database) -> Checked:
    before = datetime.now(UTC)
    theirs = database.run(calls_health.server()).now
    after = datetime.now(UTC)
    skew = max(before - theirs, theirs - after, timedelta())  # what the way there and back cannot explain
    if skew <= _SKEW:
        return Checked("clock", f"{skew.total_seconds():.1f} s apart")
    return _found(
        "clock",
        f"the clocks of this machine and the database are {skew.total_seconds():.1f} s apart",
        "synchronise both (chrony, systemd-timesyncd): deadlines and displayed times are off by that much",
    )


def _server(database: Database) -> Checked:
    server = database.run(calls_health.server())
    detail = f"PostgreSQL {server.version}, pgmq {server.pgmq or 'missing'}, py-pgflow {version('py-pgflow')}"
    findings = []
    if not _OLDEST <= server.version_number // 10_000 <= _NEWEST:
        findings.append(
            Finding(f"PostgreSQL {server.version} is not supported", f"use PostgreSQL {_OLDEST} to {_NEWEST}")
        )
    if server.oldest_transaction is not None and server.oldest_transaction > _LONG_TRANSACTION:
        findings.append(
            Finding(
                f"a transaction has been open for {showing.duration(server.oldest_transaction)}: vacuum can remove no "
                "row that died since, and queues get slower",
                "find it by `select pid, xact_start, state, query from pg_stat_activity order by xact_start` and end "
                "it; set idle_in_transaction_session_timeout",
            )
        )
    return Checked("versions", detail, findings)


def _notifications(database: Database) -> Checked:
    """What is sent at the one address must be heard at the other."""
    token = f"doctor {time.monotonic_ns()}"
    try:
        with database.listen("pgflow_doctor") as connection:
            are_on = database.run(calls.notify("pgflow_doctor", token))
            heard = any(n.payload == token for n in connection.notifies(timeout=_PROOF_TIMEOUT, stop_after=1))
    except DatabaseError as error:
        return _found("notifications", str(error), "correct PGFLOW_LISTEN_URL, or unset it if no pooler is in the way")
    if heard:
        return Checked("notifications", "arrive" + ("" if are_on else "; pgflow's are switched off (pgflow.notify)"))
    return _found(
        "notifications",
        "what is notified at the database's address is not heard by who listens (a pooler in transaction mode swallows "
        "LISTEN, or PGFLOW_LISTEN_URL leads elsewhere): workers and watchers fall back on polling",
        "set PGFLOW_LISTEN_URL to an address of the same database that leads past the pooler",
    )


# ---------------------------------------------------------------------------------------- the schema


def _rights(database: Database) -> Checked:
    role = database.run(calls_health.server()).role
    lacks_role = database.run(calls_health.lacks_role())
    if lacks_role:
        return _found(
            "rights",
            f"role {role} is in none of the roles that `pgflow migrate --roles` made",
            f'as the owner: grant pgflow_worker, pgflow_client to "{role}", or the one it needs',
        )
    missing = database.run(calls_health.missing_rights()) if lacks_role is None else []
    if not missing:
        return Checked("rights", f"role {role} has all it needs")
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return _found(
        "rights",
        f"role {role} lacks {shown}",
        f'as the owner: grant usage on schema pgflow, pgmq to "{role}"; grant select, insert, update, delete on all '
        f'tables in schema pgflow, pgmq to "{role}"; grant execute on all functions in schema pgflow, pgmq to "{role}"',
    )


def _schema(database: Database) -> Checked:
    try:
        schema.prepare(database)
        pending = schema.script(database.dsn)
    except DatabaseError as error:
        what, _, do = str(error).rpartition(": ")
        return _found("schema", what or do, do)
    if pending:
        return _found("schema", "functions in the database are not those of this package", "run `pgflow migrate`")
    return Checked("schema", "up to date")


# ---------------------------------------------------------------------------------------- the work


def _workers(database: Database) -> Checked:
    return _well_unless(
        "workers",
        "every flow with runs under way has one",
        [
            Finding(
                f"no live worker serves flow {slug}, which has {showing.many(count, 'run')} under way",
                "start one: `pgflow worker MODULE` with the module that has this flow",
            )
            for slug, count in database.run(calls_health.unserved_flows())
        ],
    )


def _stalled(database: Database) -> Checked:
    return _well_unless(
        "stalled tasks",
        "none",
        [
            Finding(
                f"{showing.many(count, 'task')} of step {step} of flow {flow} stalled: the worker went away",
                "start a worker of this flow, which takes them up or fails them; if they stall again, see in its log "
                "what kills it (memory?)",
            )
            for flow, step, count in database.run(calls_health.stalled_tasks())
        ],
    )


def _queues(database: Database) -> Checked:
    found = database.run(calls_health.queues())
    detail = f"{sum(q.ready for q in found):,} messages waiting, {sum(q.later for q in found):,} for later"
    return Checked("queues", detail, [finding for queue in found if (finding := _backlog(queue)) is not None])


def _backlog(queue: calls_health.Queue) -> Finding | None:
    waited = queue.waited or timedelta()
    if not queue.ready or (waited < _WAITED and queue.ready < _DEEP):
        return None
    many = showing.many(queue.ready, "message")
    what = f"{many} of flow {queue.flow_slug} waiting, the first for {showing.duration(waited)}"
    if queue.paused_at is not None:
        return Finding(f"{what}: the flow is paused", f"`pgflow resume {queue.flow_slug}`, if it may go on")
    return Finding(what, "start more workers of this flow, or raise --concurrency; look at the database's load first")


def _bloat(database: Database) -> Checked:
    return _well_unless(
        "dead rows",
        f"no table has {_DEAD_ROWS:,} and more than live ones",
        [
            Finding(
                f"{each.table} has {each.dead:,} dead rows and {each.live:,} live ones, "
                + (f"last vacuumed {showing.moment(each.vacuumed_at)}" if each.vacuumed_at else "never vacuumed"),
                f"`vacuum {each.table}` now; see that autovacuum is on and that no transaction stays open",
            )
            for each in database.run(calls_health.bloat(_DEAD_ROWS))
        ],
    )


def _well_unless(check: str, how_it_is_then: str, findings: list[Finding]) -> Checked:
    return Checked(check, "" if findings else how_it_is_then, findings)


def _found(check: str, what: str, do: str) -> Checked:
    return Checked(check, findings=[Finding(what, do)])
