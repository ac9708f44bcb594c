"""Which of a worker's flows a poll asks for: a worker may serve a thousand, of which five are busy."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice

from pgflow.records import Polled

#: Flows per poll: each costs a look into its queue.
_MOST = 10


class Attention:
    """Asks for all flows while they are few; else for those that were heard of, that had work a moment ago or whose
    next message is due, and when there are none of these for the next few in turn.

    with attention.asking() as flows:
        polled = await poll(flows, qty)
        attention.learn(flows, polled, is_full=len(polled.tasks) == qty)
    """

    def __init__(self, flow_slugs: Iterable[str]) -> None:
        self._all: dict[str, None] = {}  # as ordered sets
        self._soon: dict[str, None] = {}
        self._later: dict[str, float] = {}
        self._are_few = True
        self._are_all_wanted = False
        self.serve(flow_slugs)

    def serve(self, flow_slugs: Iterable[str]) -> None:
        """These and no others are asked for from now on; those that are new, soon."""
        before = {} if self._are_few else self._all  # of a few, nobody kept which would be next
        self._all = dict.fromkeys(flow_slugs)
        self._are_few = self._are_all_wanted or len(self._all) <= _MOST
        self._turn = cycle(self._all)
        new = (flow for flow in self._all if flow not in before)
        self._soon = {flow: None for flow in (*self._soon, *new) if flow in self._all}
        self._later = {flow: at for flow, at in self._later.items() if flow in self._all}

    def served(self, flow_slugs: Iterable[str]) -> Sequence[str]:
        """Those of these that are served."""
        return tuple(flow for flow in flow_slugs if flow in self._all)

    def ask_all(self) -> None:
        """From now on every poll asks for all flows, however many."""
        self._are_few = self._are_all_wanted = True

    def notice(self, flow_slugs: Iterable[str]) -> None:
        """These may have work; others than those served are passed over."""
        if not self._are_few:
            self._soon.update((flow, None) for flow in flow_slugs if flow in self._all)

    @contextmanager
    def asking(self, first: Iterable[str] = ()) -> Iterator[Sequence[str]]:
        """The flows to ask for; those in `first` among them. If asking fails they stay noticed."""
        flows = self._choose(first)
        try:
            yield flows
        except BaseException:
            self.notice(flows)
            raise

    def _choose(self, first: Iterable[str]) -> Sequence[str]:
        if self._are_few:
            return tuple(self._all)
        now = time.monotonic()
        wanted = {flow: None for flow in first if flow in self._all} | self._soon
        wanted |= {flow: None for flow, at in self._later.items() if at <= now}
        chosen = tuple(islice(wanted or self._turn, _MOST))
        self._soon = {flow: None for flow in wanted if flow not in chosen}
        return chosen

    def learn(self, flows: Iterable[str], polled: Polled, *, is_full: bool) -> None:
        """What a poll of these flows brought: if it is full, any of them may have more."""
        if is_full:
            self.notice(flows)
        elif polled.next_visible_in is not None:
            at = time.monotonic() + polled.next_visible_in
            self._later.update((flow, at) for flow in flows if flow in self._all)
        else:
            for flow in flows:
                self._later.pop(flow, None)

    def pause(self, longest: float) -> float:
        """Seconds until there is a reason to poll again, at most `longest`."""
        if self._soon and not self._are_few:
            return 0
        soonest = min(self._later.values(), default=math.inf) - time.monotonic()
        return min(max(soonest, 0.001), longest)
