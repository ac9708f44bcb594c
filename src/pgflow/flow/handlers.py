"""Handlers: functions by name, for flows that are data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar, cast, get_args, overload

from pgflow.errors import FlowDefinitionError, InvalidInputError
from pgflow.flow.binding import Binding, Signature, read_signature
from pgflow.flow.flow import Flow
from pgflow.flow.handler import Handler
from pgflow.flow.retry import Exceptions
from pgflow.flow.slugs import did_you_mean
from pgflow.flow.spec import FlowSpec, StepSpec
from pgflow.flow.step import NamedStep, Step, may_be_skipped_alone
from pgflow.records import StepType

F = TypeVar("F", bound=Callable[..., Any])

#: Where functions stand that serve whatever flow names them.
_NOWHERE: Flow[Any, Any] = Flow("handlers")


class Handlers(Mapping[str, Callable[..., Any]]):
    """Functions by name, for a worker of flows that live in the database only.

        handlers = pgflow.Handlers()

        @handlers("summarize")
        async def summarize(input: str, ctx: Context) -> str: ...

        @handlers                              # under its own name
        def fetch(flow_input: dict) -> list[str]: ...

        @handlers("score", executor="process", retry_on=OSError)
        def cpu_bound(input: str) -> float: ...

        Worker([handlers]).run()               # or: pgflow worker app:handlers

    A parameter `input` takes what the step works on: a map's element, the run's input for a step without dependencies,
    else `{step: output}` of them. `flow_input`, `ctx` and `deps` are what they are in flows of functions; any other
    parameter is a map's element, or else the output of the dependency of that name. The functions stay as they were.

    Options are those of `Flow.step` that are the worker's business: executor, transactional, max_delay, jitter,
    retry_on, no_retry_on; the others stand in the flow's spec. A decorated step keeps what it, or its flow, says of
    them. Raises TypeError for other options, and ValueError for a name that is taken or a value that cannot be.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._steps: dict[tuple[str, StepType], LooseStep] = {}

    @overload
    def __call__(
        self,
        name: str | None = None,
        /,
        *,
        executor: str | None = None,
        transactional: bool = False,
        max_delay: float | None = None,
        jitter: float | None = None,
        retry_on: Exceptions | None = None,
        no_retry_on: Exceptions | None = None,
    ) -> Callable[[F], F]: ...
    @overload
    def __call__(self, fn: F, /) -> F: ...
    def __call__(self, name: Any = None, /, **options: Any) -> Any:
        """Records a function under a name, or under its own."""
        Handler(print).with_options(options)  # whatever it is that will be decorated
        if name is None and options:
            return lambda fn: self._record(_own_name(fn), fn, options)
        if not isinstance(name, str):
            return self._record(_own_name(name), name, options)
        return lambda fn: self._record(name, fn, options)

    def _record(self, name: str, fn: F, options: dict[str, Any]) -> F:
        if not callable(fn):
            raise TypeError(f"@handlers({name!r}) decorates functions, not {fn!r}")
        if name in self:
            raise InvalidInputError(_taken(name))
        self._add(name, replace(Handler.of(fn).with_options(options), home=self, name=name))
        return fn

    def _add(self, name: str, handler: Handler) -> None:
        if self._handlers.setdefault(name, handler) != handler:
            raise InvalidInputError(_taken(name))

    def __getitem__(self, name: str) -> Callable[..., Any]:
        handler = self._handlers[name]
        return handler if handler.has_options else handler.fn

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)

    def __repr__(self) -> str:
        return f"<Handlers {', '.join(self._handlers)}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __or__(self, other: Handlers) -> Handlers:
        """The functions of both; raises ValueError for a name that they share."""
        both = Handlers()
        for name, handler in (*self._handlers.items(), *other._handlers.items()):
            both._add(name, handler)
        return both

    # -- what it makes of them

    def check(self) -> None:
        """Raises FlowDefinitionError with all that is wrong with the functions, whatever step they may serve."""
        faults = [
            f"{step.location}: {step.title}: {fault}"
            for name in self
            for step in [self._loose(name, "single")]
            for fault in (*step.signature.faults, *_option_faults(step))
        ]
        if faults:
            raise FlowDefinitionError("handlers", faults)

    def step(self, name: str, step_type: StepType) -> Step[Any, Any] | None:
        """How a task of a step of this type is worked on by the function of this name; None if there is none."""
        return self._loose(name, step_type) if name in self else None

    @property
    def steps(self) -> list[Step[Any, Any]]:
        """Each function as it serves steps, of either type."""
        return [self._loose(name, step_type) for name in self for step_type in get_args(StepType)]

    def faults(self, spec: FlowSpec) -> list[str]:
        """Why these functions cannot do the work of a flow; empty if they can."""
        skippable = {step.slug for step in spec.steps if may_be_skipped_alone(step)}
        return [fault for step in spec.steps for fault in self._step_faults(step, skippable)]

    def _step_faults(self, step: StepSpec, skippable: Collection[str]) -> Iterator[str]:
        name = step.handled_by
        if name not in self:
            yield f"step {step.slug!r} needs a handler {name!r}{did_you_mean(name, self)}"
            return
        signature = self._loose(name, step.step_type).signature
        yield from (f"step {step.slug!r}, handler {name!r}: {fault}" for fault in signature.faults)
        for parameter in signature.parameters:
            if parameter.role != "output" or parameter.has_default:
                continue
            if parameter.source not in step.depends_on:
                yield f"step {step.slug!r} does not depend on {parameter.source!r}, which handler {name!r} takes"
            elif parameter.source in skippable:
                yield (
                    f"step {parameter.source!r} may be skipped: handler {name!r} of step {step.slug!r} needs a default "
                    "for it"
                )

    def _loose(self, name: str, step_type: StepType) -> LooseStep:
        if (name, step_type) not in self._steps:
            self._steps[name, step_type] = LooseStep(name, self._handlers[name], step_type)
        return self._steps[name, step_type]


class LooseStep(NamedStep[..., Any]):
    """A function as it serves all steps of a type, in whatever flows."""

    def __init__(self, name: str, handler: Handler, step_type: StepType) -> None:
        super().__init__(_NOWHERE, handler.fn, name, step_type, handler.options)
        self.origin = handler

    @property
    def title(self) -> str:
        return f"handler {self.slug!r}"

    @cached_property
    def signature(self) -> Signature:
        return read_signature(self)

    @cached_property
    def binding(self) -> Binding:
        return Binding(self.step_type, self.signature.parameters, self.signature.returns)


def find_step(home: Flow[Any, Any] | Handlers, name: str) -> Step[Any, Any]:
    """What a step is `found_as`; raises KeyError if it is not there."""
    step_type, _, handler = name.rpartition(":") if isinstance(home, Flow) else name.partition(":")
    if isinstance(home, Handlers):
        return home._loose(handler, cast(StepType, step_type))
    step = home.steps[handler]
    return LooseStep(handler, Handler.of(step), cast(StepType, step_type)) if step_type else step


def _taken(name: str) -> str:
    return f"there is a handler {name!r} already"


def _own_name(fn: Any) -> str:
    if not callable(fn) or not hasattr(fn, "__name__"):
        raise TypeError(f"@handlers takes a name or decorates a function that has one, not {fn!r}")
    name: str = fn.__name__
    return name


def _option_faults(step: Step[Any, Any]) -> Iterator[str]:
    """What cannot be had of a worker that knows functions by name only."""
    yield from step.options.retry.faults()
    if fault := step.executor_fault:
        yield fault
    if step.options.transactional:
        yield (
            "transactional=True needs to know the whole flow: give the worker `Flow.of(spec, handlers)`, or use "
            "execute_dynamic"
        )
