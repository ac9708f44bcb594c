"""Live events. Generated from `_async_events.py` by scripts/unasync.py: do not edit."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self
from uuid import UUID

from psycopg import Connection, OperationalError

from pgflow import calls
from pgflow.client._sync_stored import expect_stored
from pgflow.client.news import FlowNews, Look, RunNews
from pgflow.db import Database
from pgflow.errors import DatabaseUnreachable
from pgflow.records import Event

CHANNEL = "pgflow_events"
#: Seconds that a watch lasts in the database unless it is renewed, and after which it is.
_WATCH = 40.0
_RENEW = 15.0
#: Seconds between two looks at all that is watched, whatever was heard: the first and the longest.
_FIRST_LOOK = 0.25
_LONGEST_LOOK = 2.0
#: Seconds after a look in which notifications are gathered before the next: a busy flow sends hundreds a second.
_GATHER = 0.05
#: How often what a look took passes before the next: who watches much leaves the database and its cores to the work.
_REST = 20
#: Seconds between two tries to get back to a database that went away.
_RECONNECT = 0.25


class Events:
    """An iterator over events, made by `Client.events`; `close()`, or `with`, ends it early."""

    def __init__(self, watching: Watching, news: RunNews | FlowNews) -> None:
        self._watching = watching
        self.news = news
        self._begun = False
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while not self._closed:
            if self.news.pending:
                return self.news.pending.popleft()
            if self.news.ended:
                self.close()
                if self.news.error is not None:
                    raise self.news.error
            elif not self._begun:
                self._watching.begin(self)
                self._begun = True
            else:
                self._watching.advance(self)
        raise StopIteration

    def close(self) -> None:
        """Ends the iteration, and the connection with the last one; safe to call twice."""
        self._closed = True
        self._watching.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class Watching:
    """All iterators over events of one client: they share a listening connection, and a look serves them all.

    Nothing runs in the background: of those who wait, one leads. It waits for notifications, looks at the tables, hands
    the news to everybody, and gives up the lead.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Condition()
        self._led = False
        self._stops = 0
        self._watchers: weakref.WeakSet[Events] = weakref.WeakSet()  # one that is dropped leaves by itself
        self._connection: Connection | None = None
        self._rest_until = 0.0
        self._look_at_all_at = 0.0
        self._renew_at = 0.0
        self._look_after = _FIRST_LOOK
        self._has_heard = False

    def begin(self, watcher: Events) -> None:
        """Brings a new iterator what there is already; raises RunNotFound or FlowNotFound."""
        news = watcher.news
        stops = self._stops
        slugs = [] if news.flow_slug is None else [news.flow_slug]
        for slug in slugs:
            expect_stored(self._database, slug)
        self._database.run(calls.watch(list(news.run_ids), slugs, _WATCH))
        horizon, runs = self._database.run(calls.snapshots(list(news.run_ids), slugs))
        with self._turn:
            news.take_all(Look(runs), horizon)
            news.ended |= self._stops > stops
            self._watchers.add(watcher)
            self._look_after = _FIRST_LOOK  # a change during this look may have been told to nobody

    def advance(self, watcher: Events) -> None:
        """Waits until the iterator may have news, be it by leading or by following."""
        with self._turn:
            while self._led and not watcher.news.is_ready:
                self._turn.wait()
            if watcher.news.is_ready:
                return
            self._led = True
        try:
            self._lead()
        finally:
            self._led = False
            with self._turn:
                self._turn.notify_all()

    def leave(self, watcher: Events) -> None:
        with self._turn:
            self._watchers.discard(watcher)
            is_last = not self._led and all(other.news.ended for other in self._watchers)
        if is_last:
            self.close()

    def stop(self) -> None:
        """Ends all iterators; one that leads right now notices it at its next look, and closes the connection."""
        with self._turn:
            self._stops += 1  # which ends those that are about to begin
            for watcher in self._watchers:
                watcher.news.ended = True
            self._turn.notify_all()
            is_led = self._led
        if not is_led:
            self.close()

    def close(self) -> None:
        """Gives up the connection; who goes on gets a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- leading

    def _lead(self) -> None:
        """Until the next notification or look, whichever comes first; an outage of the database is waited out."""
        try:
            connection = self._connection or self._connect()
            named = self._hear(connection)
            began = time.monotonic()
            if named:
                self._look_at(named)
            elif began >= self._look_at_all_at:
                self._look_at_all()
            now = time.monotonic()
            self._rest_until = now + max(_GATHER, _REST * (now - began))
        except (DatabaseUnreachable, OperationalError):
            self.close()
            time.sleep(_RECONNECT)
        except BaseException:
            self.close()  # left in the middle of something, it is not used again
            raise

    def _connect(self) -> Connection:
        """Listens; what was missed before is found by looking at all, at once."""
        self._connection = self._database.listening(CHANNEL)
        self._look_at_all_at = self._renew_at = time.monotonic()
        return self._connection

    def _hear(self, connection: Connection) -> set[UUID]:
        """The watched runs that notifications name; none when it is time to look at all."""
        named: set[UUID] = set()
        while not named and (left := self._look_at_all_at - time.monotonic()) > 0:
            named = self._wanted(_heard(connection, left))
        if named:
            self._has_heard = True
            time.sleep(max(0.0, min(self._rest_until, self._look_at_all_at) - time.monotonic()))
            while payloads := _heard(connection, 0):
                named |= self._wanted(payloads)
        return named

    def _wanted(self, payloads: Iterable[str]) -> set[UUID]:
        """Those runs that payloads name (see _tell_watchers.sql) and somebody here watches."""
        subjects = {news.subject for news in self._watched()}
        named = {(run_id, flow_slug) for payload in payloads for run_id, flow_slug, *_ in json.loads(payload)}
        return {UUID(run_id) for run_id, flow_slug in named if run_id in subjects or flow_slug in subjects}

    def _watched(self) -> Sequence[RunNews | FlowNews]:
        with self._turn:
            return [watcher.news for watcher in self._watchers if not watcher.news.ended]

    def _look_at(self, run_ids: Iterable[UUID]) -> None:
        _, runs = self._database.run(calls.snapshots(list(run_ids)))
        watched, look = self._watched(), Look(runs)
        with self._turn:
            for news in watched:
                news.take(look)

    def _look_at_all(self) -> None:
        """Finds what no notification told of; looks sooner again if there was anything though none came."""
        watched = self._watched()
        run_ids = list({run_id for news in watched for run_id in news.run_ids})
        slugs = list({news.flow_slug for news in watched if news.flow_slug is not None})
        since = min((news.since for news in watched if news.since is not None), default=None)
        if time.monotonic() >= self._renew_at:
            self._database.run(calls.watch(run_ids, slugs, _WATCH))
            self._renew_at = time.monotonic() + _RENEW
        horizon, runs = self._database.run(calls.snapshots(run_ids, slugs, since))
        look = Look(runs)
        with self._turn:
            is_new = sum(news.take_all(look, horizon) for news in watched) > 0
        is_deaf = is_new and not self._has_heard
        self._look_after = _FIRST_LOOK if is_deaf else min(self._look_after * 2, _LONGEST_LOOK)
        self._has_heard = False
        self._look_at_all_at = time.monotonic() + self._look_after


def _heard(connection: Connection, timeout: float) -> list[str]:
    """What the next packet brings within so many seconds: left in its middle, it would lose the rest."""
    return [note.payload for note in connection.notifies(timeout=timeout, stop_after=1)]
