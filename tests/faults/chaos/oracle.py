"""What must be true when all is over, by what the ledger says of the handlers; and what can be learnt from it."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

import psycopg

from tests.faults.chaos.faults import FREEZE, KILL, KILL_ALONE, Injected
from tests.faults.chaos.flows import FLOWS
from tests.faults.chaos.load import START_CENTS
from tests.support import rows, value
from tests.testing.real import INVARIANTS

TaskId: TypeAlias = tuple[UUID, str, int]


@dataclass(frozen=True, slots=True)
class Note:
    """An attempt, as its handler noted it when it began."""

    token: str
    pid: int
    fails: bool
    at: float


class Oracle:
    """Reads everything once; `faults` lists what is wrong."""

    def __init__(self, database: psycopg.Connection, ledger: psycopg.Connection, acknowledged: Iterable[UUID]) -> None:
        self._database = database
        self._acknowledged = list(acknowledged)
        self.notes: dict[TaskId, list[Note]] = defaultdict(list)
        for run_id, step, index, *note in rows(
            ledger,
            "select run_id, step_slug, task_index, token::text, pid, fails, extract(epoch from at)::float8 "
            "from ledger order by at",
        ):
            self.notes[run_id, step, index].append(Note(*note))
        self.outputs: dict[TaskId, Any] = {
            (run_id, step, index): output
            for run_id, step, index, output in rows(
                database,
                "select run_id, step_slug, task_index, output from pgflow.step_tasks where status = 'completed'",
            )
        }

    def faults(self) -> list[str]:
        return [*self._unfinished(), *self._invariants(), *self._results(), *self._acceptances(), *self._bank()]

    def _unfinished(self) -> Iterable[str]:
        ended = {run for (run,) in rows(self._database, "select run_id from pgflow.runs where status <> 'started'")}
        if missing := set(self._acknowledged) - ended:
            yield f"{len(missing)} runs that were acknowledged have not ended or are gone: {sorted(missing)[:3]}"
        if count := value(self._database, "select count(*) from pgflow.runs where status = 'started'"):
            yield f"{count} runs have not ended"

    def _invariants(self) -> Iterable[str]:
        for slug in FLOWS:
            for what, sql in INVARIANTS.items():
                if count := value(self._database, sql.format(slug=slug)):
                    yield f"{slug}: {what} ({count})"

    def _results(self) -> Iterable[str]:
        """Every effect at least once; every result from an attempt that the ledger knows, and that did not fail."""
        for task, output in self.outputs.items():
            result = output[0] if isinstance(output, list) else output
            tokens = [note.token for note in self.notes[task] if not note.fails]
            if tokens.count(result["token"]) != 1:
                yield f"{task}: its result is of no attempt that the ledger knows"

    def _acceptances(self) -> Iterable[str]:
        accepted = rows(self._database, "select run_id, step_slug, task_index, output from accepted")
        counts = Counter((run_id, step, index) for run_id, step, index, _ in accepted)
        yield from (f"{task}: {count} results were accepted" for task, count in counts.items() if count != 1)
        if lost := self.outputs.keys() - counts.keys():
            yield f"{len(lost)} results came from nowhere"
        for run_id, step, index, output in accepted:
            if self.outputs.get((run_id, step, index)) != output:
                yield f"{(run_id, step, index)}: the accepted result is not the task's"

    def _bank(self) -> Iterable[str]:
        done = {task: output for task, output in self.outputs.items() if task[1] in ("transfer", "transfer_too")}
        made = rows(self._database, "select run_id, step_slug, task_index, token::text from transfers")
        expected = Counter({(*task, output["token"]): 1 for task, output in done.items()})
        if Counter(made) != expected:
            yield (
                f"of {len(done)} transfers that completed {len(expected - Counter(made))} were not made, and "
                f"{len(Counter(made) - expected)} were made that did not complete, or twice"
            )
        balances = dict(rows(self._database, "select id, cents from accounts"))
        for output in done.values():
            balances[output["payer"]] += output["cents"]
            balances[output["payee"]] -= output["cents"]
        if off := {account: cents - START_CENTS for account, cents in balances.items() if cents != START_CENTS}:
            yield f"the bank does not balance: {off}"

    # -- figures

    def recoveries(self, injected: Iterable[Injected], kind: str) -> list[float]:
        """For each task that a worker was at work on when it was taken out: seconds until another one began it."""
        found = []
        for fault in injected:
            if fault.kind == kind:
                found += [s for task in self.notes if (s := self._recovery(task, fault)) is not None]
        return found

    def _recovery(self, task: TaskId, fault: Injected) -> float | None:
        before = [note for note in self.notes[task] if note.at <= fault.at]
        after = [note for note in self.notes[task] if note.at > fault.at and note.pid != fault.pid]
        if not before or not after:
            return None
        last = before[-1]
        # those that were to fail were put back by their own worker; nothing takes longer than two seconds
        if last.pid != fault.pid or last.fails or last.at < fault.at - 2:
            return None
        return after[0].at - fault.at

    def figures(self, injected: list[Injected]) -> list[tuple[str, str]]:
        """Rows of a table: what, and how many or how long."""
        kinds = Counter(fault.kind for fault in injected)
        lines = [(kind, str(count)) for kind, count in sorted(kinds.items())]
        statuses = dict(rows(self._database, "select status, count(*) from pgflow.runs group by 1 order by 1"))
        attempts = sum(map(len, self.notes.values()))
        lines += [(f"**runs {status}**", f"{count:,}") for status, count in statuses.items()]
        lines += [
            ("**tasks completed**", f"{len(self.outputs):,}"),
            ("of these, transfers", f"{value(self._database, 'select count(*) from transfers'):,}"),
            ("attempts that handlers began", f"{attempts:,}"),
            ("of these, begun and neither accepted nor failed by themselves", f"{self._in_vain():,}"),
        ]
        for kind in (KILL_ALONE, KILL, FREEZE):
            if seconds := sorted(self.recoveries(injected, kind)):
                p95 = seconds[min(len(seconds) - 1, int(len(seconds) * 0.95))]
                lines += [
                    (f"**tasks taken over from {kind}**", str(len(seconds))),
                    (
                        "from the fault to their next attempt: p50 / p95 / max",
                        f"{statistics.median(seconds):.1f} s / {p95:.1f} s / {seconds[-1]:.1f} s",
                    ),
                ]
        return lines

    def _in_vain(self) -> int:
        results = (output[0] if isinstance(output, list) else output for output in self.outputs.values())
        accepted = {result["token"] for result in results}
        return sum(not note.fails and note.token not in accepted for notes in self.notes.values() for note in notes)
