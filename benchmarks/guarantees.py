"""What each engine does for a task beside running it, at the versions and with the settings that are measured.

Read in the sources and documents of the pinned versions, unless it says otherwise. Speed is only worth comparing with
this beside it.
"""

from __future__ import annotations

from typing import NamedTuple


class Guarantees(NamedTuple):
    """Each begins with yes, no or partly, then says how."""

    #: Whether what a handler returns is stored, and where.
    results: str
    #: Whether a failed task runs again without anybody asking.
    retries: str
    #: What happens to a task whose worker was killed (kill -9), and by what it is noticed.
    recovery: str
    #: Whether a worker that was given up for dead, but is not, can no longer settle the task.
    fenced: str
    #: Whether a task can wait for several others and get what they returned.
    dag: str


_OURS = Guarantees(
    results="yes: every task, step and run, in PostgreSQL",
    retries="yes: 3 attempts with backoff",
    recovery="yes: its lease of 15 s lapses, the next poll starts it again; three such stalls fail it",
    fenced="yes: every claim has a number, results under an older one are refused",
    dag="yes",
)

GUARANTEES = {
    "ours": _OURS,
    "floor": Guarantees(
        results="yes: the same rows as ours",
        retries="no",
        recovery="no",
        fenced="no",
        dag="no: the order of its statements is fixed",
    ),
    "pgflow": Guarantees(
        results="yes: every task, step and run, in PostgreSQL",
        retries="yes: 3 attempts with backoff",
        recovery="no: only queued tasks are started, so its task stays 'started' and the run open "
        "(0.14 requeues it by a cron job, three times: by our contract, not checked here)",
        fenced="no: whoever completes a started task is believed",
        dag="yes",
    ),
    "pgqueuer": Guarantees(
        results="no: done jobs are deleted, a log says how they ended",
        retries="no: a failed job is logged and gone; opt-in per entry point (`RetryRequested`)",
        recovery="yes: a job without a heartbeat for 30 s is picked again, without limit",
        fenced="no: jobs are ended by id",
        dag="no",
    ),
    "oban": Guarantees(
        results="no: the job's row stays, what it returned does not; opt-in (`Record`)",
        retries="yes: 20 attempts with backoff",
        recovery="yes: a job that has been executing for 300 s is started again, also if it still runs",
        fenced="yes: an acknowledgement names the time of its attempt",
        dag="no",
    ),
    "procrastinate": Guarantees(
        results="no: the job's row stays, what it returned does not",
        retries="no: opt-in per task",
        recovery="partly: workers have heartbeats, but their jobs come back only by a periodic task that users write",
        fenced="no: jobs are ended by id",
        dag="no",
    ),
    "dbos": Guarantees(
        results="yes: every step and workflow, in PostgreSQL",
        retries="no: opt-in per step",
        recovery="yes: a workflow goes on after its last step when a process with the same executor id starts; "
        "on other machines by its paid control plane, or by hand",
        fenced="partly: a step's result is stored once, the first wins",
        dag="partly: as code inside one workflow, in one process",
    ),
    "absurd": Guarantees(
        results="yes: every step and task, in PostgreSQL",
        retries="yes: 5 attempts",
        recovery="yes: its claim (120 s unless set) expires, the next worker to poll starts a new attempt",
        fenced="yes: an attempt that was given up cannot be completed",
        dag="partly: as code inside one task, in one process",
    ),
    "celery": Guarantees(
        results="yes: in Redis, for a day, as durable as that is set up (here: snapshots now and then)",
        retries="no: opt-in per task",
        recovery="no: what a worker holds is lost with it; with `acks_late` it comes back after an hour",
        fenced="no",
        dag="partly: chains and chords, put together by the client",
    ),
}
