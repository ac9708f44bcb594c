"""How times, numbers and statuses are told to people: the same in a terminal and in a browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pgflow.records import Run, StepState


def moment(when: datetime | None) -> str:
    """A time in the local time zone, to the second."""
    return "" if when is None else when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(span: timedelta) -> str:
    """`0.41 s`, `12.3 s`, `4 min 05 s`, `3 h 20 min`."""
    seconds = max(span.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def many(count: int, noun: str) -> str:
    """`1 run`, `1,000 runs`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def shortened(text: str, length: int) -> str:
    """The first line of a text, of at most `length` characters."""
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= length else line[: length - 1] + "…"


def end_of(run: Run) -> datetime:
    """When a run ended; now, while it goes on."""
    return run.completed_at or run.failed_at or datetime.now(UTC)


def run_time(run: Run) -> str:
    """How long a run took, or has taken until now."""
    return duration(end_of(run) - run.started_at)


def shown_status(run: Run, step: StepState) -> str:
    """What was open when the run ended will never go on, though its row keeps its status (engine.md, 5)."""
    return "cancelled" if run.ended and step.status in {"created", "started"} else step.status


def step_time(run: Run, step: StepState) -> str:
    """How long a step took, or has taken until now."""
    if step.started_at is None:
        return ""
    return duration((step.completed_at or step.failed_at or step.skipped_at or end_of(run)) - step.started_at)
