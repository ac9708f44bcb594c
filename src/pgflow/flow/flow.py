"""Flow: records decorated functions as steps, and says what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from types import GenericAlias
from typing import Any, Generic, Never, Self, overload

from typing_extensions import ParamSpec, TypeVar

from pgflow.errors import FlowDefinitionError, InvalidInputError
from pgflow.flow import codec, drawing, location, options, shape
from pgflow.flow.binding import read_signature
from pgflow.flow.handler import Handler
from pgflow.flow.plan import Plan, make_plan
from pgflow.flow.retry import OPTIONS_OF_RETRIES, Exceptions, Retry
from pgflow.flow.schedule import CatchUp, Schedule
from pgflow.flow.slugs import did_you_mean, no_option
from pgflow.flow.spec import OPTIONS_OF_STEPS, FlowSpec, StepSpec
from pgflow.flow.step import NamedStep, SkipMode, Step, unwrapped_partial
from pgflow.records import StepType

In = TypeVar("In", default=Any)
Out = TypeVar("Out", default=dict[str, Any])
P = ParamSpec("P")
T = TypeVar("T")

_OPTIONS = ("max_attempts", "base_delay", "timeout", *OPTIONS_OF_RETRIES)


class Flow(Generic[In, Out]):
    """A DAG of plain functions.

        campaign = Flow("email_campaign", max_attempts=3, base_delay=5, timeout=60)

        @campaign.step
        def fetch_subscribers(flow_input: Request) -> list[Subscriber]: ...

        @campaign.map(over=fetch_subscribers)
        async def send_email(subscriber: Subscriber) -> Receipt: ...

        @campaign.step
        def track_results(send_email: list[Receipt]) -> dict: ...

    A task is attempted `max_attempts` times (default 3), the n-th retry after `base_delay` · 2ⁿ seconds (default 5),
    each attempt for at most `timeout` seconds (default 60). No delay is longer than `max_delay` seconds; `jitter`, from
    0 to 1, is the part of it that is left to chance. `retry_on` names the only exceptions after which a task is tried
    again, `no_retry_on` those after which it is not. Decorators only record; `check()`, run at first use, raises
    FlowDefinitionError with all that is wrong.

    `Flow[In, Out]("email_campaign")` tells type checkers what a run takes, and what it gives: the JSON object
    `{final_step: output}`, a TypedDict say.
    """

    def __init__(
        self,
        slug: str,
        *,
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,
        max_delay: float | None = None,
        jitter: float | None = None,
        retry_on: Exceptions | None = None,
        no_retry_on: Exceptions | None = None,
        **others: Never,
    ) -> None:
        if others:
            raise TypeError("; ".join(no_option("Flow()", name, _OPTIONS) for name in others))
        self.slug = slug
        self.max_attempts = max_attempts
        self.base_delay = base_delay
        self.timeout = timeout
        self.retry = Retry(max_delay=max_delay, jitter=jitter, retry_on=retry_on, no_retry_on=no_retry_on)
        #: `file.py:12`, where it was made; for messages.
        self.location = location.of_caller()
        self._recorded: list[Step[Any, Any]] = []
        self._schedules: list[Schedule] = []
        self._plan: Plan | None = None

    @classmethod
    def of(cls, spec: FlowSpec, functions: Mapping[str, Callable[..., Any]]) -> Self:
        """A flow that is data, with the functions that do its work: by step, or by the handler that a step names.

            flow = Flow.of(spec, {"fetch": fetch, "summarize": summarize})
            run_inline(flow, {"topic": "bees"})

        Parameters are those of decorated functions, and `input`: what the step works on (a map's element, the run's
        input for a step without dependencies, else `{step: output}` of them). Raises FlowDefinitionError with all
        that does not fit: steps without a function, parameters that name other steps than those depended on. What a
        decorated step, or a handler of `Handlers`, says of executors, transactions and retries is kept.
        """
        if not isinstance(functions, Mapping):
            raise InvalidInputError(f"functions must be a mapping, {{step: function}}, not {functions!r}")
        flow = cls(spec.slug, max_attempts=spec.max_attempts, base_delay=spec.base_delay, timeout=spec.timeout)
        faults = []
        for step in spec.steps:
            name = step.slug if step.slug in functions else step.handled_by
            if name not in functions:
                faults.append(f"step {step.slug!r} has no function {name!r}{did_you_mean(name, functions)}")
            elif not callable(functions[name]):
                faults.append(f"step {step.slug!r}: {name!r} must be a function, not {functions[name]!r}")
            else:
                flow._recorded.append(_named(flow, step, Handler.of(functions[name])))
        if faults:
            raise FlowDefinitionError(spec.slug, faults)
        for step in spec.steps:
            wanted = set(flow.plan.dependencies[step.slug]) - set(step.depends_on)
            faults += (f"step {step.slug!r} does not depend on {s!r}, which its function takes" for s in wanted)
        if faults:
            raise FlowDefinitionError(spec.slug, faults)
        return flow

    @overload
    def step(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, T]: ...
    @overload
    def step(self, fn: Callable[P, T], /) -> Step[P, T]: ...
    @overload
    def step(
        self,
        *,
        slug: str | None = None,
        depends_on: Sequence[Step[Any, Any] | str] = (),
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,
        max_delay: float | None = None,
        jitter: float | None = None,
        retry_on: Exceptions | None = None,
        no_retry_on: Exceptions | None = None,
        start_delay: int | None = None,
        run_if: dict[str, Any] | None = None,
        run_unless: dict[str, Any] | None = None,
        when_unmet: SkipMode = "skip",
        when_exhausted: SkipMode = "fail",
        executor: str | None = None,
        transactional: bool = False,
    ) -> _StepDecorator: ...
    def step(self, fn: Callable[..., Any] | None = None, /, **given: Any) -> Any:  # type: ignore[misc]
        """Records a function as a step with one task.

            @flow.step
            def rank(measure: list[Measured]) -> list[str]: ...

        A parameter named like a step takes that step's output; `flow_input`, `ctx` and `deps` have their own meaning.
        `run_if`/`run_unless` are JSON patterns for the run's input (root step) or `{step: output}`; a step that does
        not meet them goes the way of `when_unmet`, one whose attempts are used up that of `when_exhausted`.
        `executor="process"` runs the handler in a process, which is killed at the step's timeout; any other name is
        that of an executor which the worker is given (`Worker(executors=…)`).
        `transactional=True` gives it `ctx.connection`, whose transaction commits together with the task's completion.
        """
        return self._record(fn, "single", given)

    @overload
    def map(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, list[T]]: ...
    @overload
    def map(self, fn: Callable[P, T], /) -> Step[P, list[T]]: ...
    @overload
    def map(
        self,
        *,
        over: Step[Any, Any] | str | None = None,
        initial_tasks: int | None = None,
        slug: str | None = None,
        depends_on: Sequence[Step[Any, Any] | str] = (),
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,
        max_delay: float | None = None,
        jitter: float | None = None,
        retry_on: Exceptions | None = None,
        no_retry_on: Exceptions | None = None,
        start_delay: int | None = None,
        run_if: dict[str, Any] | None = None,
        run_unless: dict[str, Any] | None = None,
        when_unmet: SkipMode = "skip",
        when_exhausted: SkipMode = "fail",
        executor: str | None = None,
        transactional: bool = False,
    ) -> _MapDecorator: ...
    def map(self, fn: Callable[..., Any] | None = None, /, **given: Any) -> Any:  # type: ignore[misc]
        """Records a function as a step with one task per element of a list.

            @flow.map(over=list_files)
            def measure(path: str) -> Measured: ...

        The list is what the step `over` returns, or without it the run's input; the element is the first parameter.
        `initial_tasks=N` without `over` makes N tasks whose element is their index; with `over` it is the expected
        length, and another length fails the step.
        """
        return self._record(fn, "map", given)

    def _record(self, fn: Callable[..., Any] | None, step_type: StepType, named: dict[str, Any]) -> Any:
        decorator = self._decorator(step_type)
        given = options.read(named, step_type, decorator)

        def decorate(fn: Callable[..., Any]) -> Step[Any, Any]:
            if not callable(fn):
                raise TypeError(f"{decorator} decorates functions, not {fn!r}")
            if isinstance(fn, Step | Handler):  # a handler may serve several flows
                fn = fn.fn
            slug = given.slug or getattr(unwrapped_partial(fn), "__name__", None) or type(fn).__name__
            step: Step[Any, Any] = Step(
                self, fn, slug, step_type, given.options, given.depends_on, given.over, given.faults
            )
            self._recorded.append(step)
            self._plan = None
            return step

        return decorate if fn is None else decorate(fn)

    def _decorator(self, step_type: StepType) -> str:
        """What the user wrote, for messages."""
        return f"@{self.slug}.{'map' if step_type == 'map' else 'step'}"

    def schedule(
        self, cron: str, *, tz: str = "UTC", input: Any = None, name: str | None = None, catch_up: CatchUp = "last"
    ) -> None:
        """Declares that runs start by the clock: one for each slot of a cron expression, whichever worker is there.

            campaign.schedule("0 9 * * MON-FRI", tz="Europe/Berlin", input={"campaign_id": 123})

        A worker that serves the flow stores it when it starts, and removes what the code no longer declares. The name,
        by default the flow's slug, is unique in the database. `catch_up` says what becomes of slots that came while no
        worker was there: "none" of them is fired, the "last", or "all" (the latest 100). Each run's key is
        `schedule:<name>:<slot>`, the slot in UTC. `check()` says what is wrong with it.
        """
        made = Schedule(self.slug if name is None else name, cron, tz, input, catch_up, location.of_caller())
        self._schedules.append(made)
        self._plan = None

    # -- what it makes of them

    def check(self) -> None:
        """Raises FlowDefinitionError if the flow is not well formed; its `faults` lists all that is wrong."""
        _ = self.plan

    @property
    def plan(self) -> Plan:
        """The checked flow; made at first use."""
        if self._plan is None:
            numbers = options.value_faults(
                max_attempts=self.max_attempts, base_delay=self.base_delay, timeout=self.timeout
            )
            faults = [f"{self.location}: flow {self.slug!r}: {fault}" for fault in (*numbers, *self.retry.faults())]
            self._plan = make_plan(self.slug, self._recorded, self._schedules, faults)
        return self._plan

    @property
    def schedules(self) -> Sequence[Schedule]:
        """What `schedule` declared."""
        return self.plan.schedules

    @property
    def steps(self) -> Mapping[str, Step[Any, Any]]:
        """The steps by slug, in topological order."""
        return self.plan.steps

    def shape(self) -> dict[str, Any]:
        """The flow's shape: what the database compares and stores (sql-core.md, 3)."""
        return shape.of(FlowSpec.of(self))

    def sql(self) -> str:
        """The SQL statements that store this flow, for psql or a migration."""
        return shape.sql(FlowSpec.of(self))

    def mermaid(self) -> str:
        """The DAG as a Mermaid diagram."""
        return drawing.mermaid(FlowSpec.of(self))

    def __str__(self) -> str:
        return drawing.text(FlowSpec.of(self))

    def __repr__(self) -> str:
        return f"<Flow {self.slug!r} of {len(self._recorded)} steps>"

    def encode_input(self, value: Any) -> bytes:
        """A run's input as JSON text; raises InvalidInputError if it is none, or no list where one is needed.

        It is not checked against annotations, but bytes are fine only where one says bytes.
        """
        raw = codec.encode_for(value, (a for step in self.steps.values() for a in _input_annotations(step)))
        if self.plan.root_map is not None and not raw.startswith(b"["):
            raise InvalidInputError(
                f"flow {self.slug!r} has a root map step {self.plan.root_map!r}: its input must be a list, "
                f"not {type(value).__name__}"
            )
        return raw


def _input_annotations(step: Step[Any, Any]) -> Iterator[Any]:
    """What the parameters of a step that take the run's input, or elements of it, say of it."""
    is_root = not step.dependencies and step.options.initial_tasks is None
    for parameter in read_signature(step).parameters:
        if parameter.role == "flow_input" or (parameter.role == "input" and is_root and step.step_type == "single"):
            yield parameter.annotation
        elif parameter.role in ("element", "input") and is_root and step.step_type == "map":
            yield GenericAlias(list, (parameter.annotation,))


def expect_flow(given: object) -> None:
    """Raises InvalidInputError for what is no Flow."""
    if not isinstance(given, Flow):
        raise InvalidInputError(f"expected a pgflow.Flow, not {given!r}")


def _named(flow: Flow[Any, Any], step: StepSpec, handler: Handler) -> NamedStep[Any, Any]:
    is_map = step.step_type == "map"
    said = replace(handler.options, **{name: getattr(step, name) for name in OPTIONS_OF_STEPS})
    over = step.depends_on[0] if is_map and step.depends_on else None
    named: NamedStep[Any, Any] = NamedStep(
        flow,
        handler.fn,
        step.slug,
        step.step_type,
        said,
        () if is_map else step.depends_on,
        over,
        tuple(said.retry.faults()),
    )
    named.handler = step.handler
    named.origin = handler
    return named


class _StepDecorator:
    """The type of `flow.step(…)`, for type checkers."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Step[P, T]: ...
    def __call__(self, fn: Any, /) -> Any:
        raise NotImplementedError


class _MapDecorator:
    """The type of `flow.map(…)`, for type checkers."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, list[T]]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Step[P, list[T]]: ...
    def __call__(self, fn: Any, /) -> Any:
        raise NotImplementedError
