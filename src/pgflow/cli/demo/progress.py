"""A run's steps as progress bars, live."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pgflow.records import Run, StepState


class StepBars:
    """One bar per step, brought up to date with each snapshot.

    with StepBars(console) as bars:
        bars.update(run)
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.fields[status]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, run: Run) -> None:
        for slug, step in run.steps.items():
            if slug not in self._bars:
                self._bars[slug] = self._progress.add_task(slug, start=False, total=None, status="waits")
            self._update(self._bars[slug], step)

    def _update(self, bar: TaskID, step: StepState) -> None:
        shown = next(task for task in self._progress.tasks if task.id == bar)
        if step.started_at is not None and not shown.started:
            self._progress.start_task(bar)
        self._progress.update(
            bar, total=step.initial_tasks, completed=step.done_tasks, status=_WORDS.get(step.status, step.status)
        )
        if step.status == "completed" and shown.stop_time is None:
            self._progress.stop_task(bar)


_WORDS = {"created": "waits", "started": "works", "completed": "done"}
