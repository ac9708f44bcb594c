"""What is shown, a function per page: a call or two of the client's, and a template."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import get_args
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from pgflow.errors import InvalidInputError
from pgflow.flow import StepSpec
from pgflow.health import examine, live_workers
from pgflow.records import Progress, Run, RunStatus, StepState
from pgflow.showing import shown_status
from pgflow.web.addresses import client_of
from pgflow.web.graph import Drawing, draw
from pgflow.web.rendering import render

_STYLE = Path(__file__).with_name("style.css")
_PER_PAGE = 50
_LATEST = 10
#: Seconds between two looks at a run that goes on.
_EVERY = 2


async def runs(request: Request) -> Response:
    """The newest runs, of a flow and of a status where these are given."""
    asked = {name: value for name in ("flow", "status", "before") if (value := request.query_params.get(name))}
    found = await client_of(request).list_runs(
        asked.get("flow"),
        status=asked.get("status"),
        limit=_PER_PAGE + 1,
        before=_place(asked["before"]) if "before" in asked else None,
        values=False,
    )
    page = found[:_PER_PAGE]
    filters = {name: asked[name] for name in asked if name != "before"}
    older = urlencode({**filters, "before": _mark(page[-1])}) if len(found) > _PER_PAGE else None
    return render(
        request,
        "runs.html",
        runs=page,
        asked=asked,
        statuses=get_args(RunStatus),
        newest=urlencode(filters),
        older=older,
    )


async def run(request: Request) -> Response:
    """A run. While it goes on its values, which may be large, are read when asked for, not every other second."""
    run_id = request.path_params["run_id"]
    progress = await client_of(request).get_progress(run_id)
    has_values = progress.run.ended or "values" in request.query_params
    return render(
        request,
        "run.html",
        refresh=None if has_values else _EVERY,
        run=await client_of(request).get_run(run_id) if has_values else progress.run,
        has_values=has_values,
        retries=progress.retries,
        drawing=_drawing(progress),
        reruns=progress.run.ended and not request.app.state.read_only,
    )


async def flows(request: Request) -> Response:
    """The stored flows, and what goes on in each."""
    return render(request, "flows.html", flows=await client_of(request).flows.list())


async def flow(request: Request) -> Response:
    """A stored flow and its latest runs."""
    slug = request.path_params["slug"]
    spec = await client_of(request).flows.get(slug)
    latest = await client_of(request).list_runs(slug, limit=_LATEST, values=False)
    steps = spec.steps_in_order
    drawing = draw({step.slug: step.depends_on for step in steps}, {step.slug: ("", _kind(step)) for step in steps})
    return render(
        request, "flow.html", flow=spec, steps=steps, kind=_kind, options=_options, drawing=drawing, runs=latest
    )


async def health(request: Request) -> Response:
    """What the doctor finds, and who works."""
    dsn = client_of(request).dsn
    workers = await asyncio.to_thread(live_workers, dsn)
    checked, _ = await asyncio.to_thread(examine, dsn)
    return render(request, "health.html", checked=checked, workers=workers)


async def style(request: Request) -> Response:
    """The stylesheet, under an address that has our version in it."""
    return FileResponse(_STYLE, headers={"Cache-Control": "max-age=86400"})


# ---------------------------------------------------------------------------------------- the place in a listing


def _mark(run: Run) -> str:
    return f"{run.started_at.isoformat()}_{run.run_id}"


def _place(mark: str) -> Run:
    """As much of a run as says where a listing goes on; raises InvalidInputError."""
    started_at, _, run_id = mark.partition("_")
    try:
        return Run(
            UUID(run_id), "", "started", None, None, None, 0, datetime.fromisoformat(started_at), None, None
        )  # fmt: skip
    except ValueError:
        raise InvalidInputError(f"{mark!r} is no place among the runs: begin at the newest ones") from None


# ---------------------------------------------------------------------------------------- pictures


def _drawing(progress: Progress) -> Drawing | None:
    run = progress.run
    dependencies = {
        slug: [dep for dep in progress.dependencies.get(slug, ()) if dep in run.steps] for slug in run.steps
    }
    looks = {slug: (status := shown_status(run, step), _note(status, step)) for slug, step in run.steps.items()}
    return draw(dependencies, looks)


def _note(status: str, step: StepState) -> str:
    return f"{status} {step.done_tasks:,}/{step.initial_tasks:,}" if (step.initial_tasks or 0) > 1 else status


def _kind(step: StepSpec) -> str:
    kind = step.step_type if step.initial_tasks is None else f"map of {step.initial_tasks:,}"
    return kind if step.run_if is None and step.run_unless is None else f"{kind}, conditional"


def _options(step: StepSpec) -> str:
    """What a step says of itself beside its kind and its dependencies, as flows that are data have it."""
    given = step.model_dump(
        mode="json", exclude_defaults=True, exclude={"slug", "step_type", "initial_tasks", "depends_on"}
    )
    return ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in given.items())
