"""Handlers: functions by name, for flows that are data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar, overload

from pgflow.errors import FlowDefinitionError
from pgflow.flow.binding import Binding, Signature, read_signature
from pgflow.flow.flow import Flow
from pgflow.flow.slugs import did_you_mean
from pgflow.flow.spec import FlowSpec, StepSpec
from pgflow.flow.step import NamedStep, Step, StepOptions, may_be_skipped_alone
from pgflow.records import StepType

F = TypeVar("F", bound=Callable[..., Any])


class Handlers(Mapping[str, Callable[..., Any]]):
    """Functions by name, for a worker of flows that live in the database only.

        handlers = pgflow.Handlers()

        @handlers("summarize")
        async def summarize(input: str, ctx: Context) -> str: ...

        @handlers                              # under its own name
        def fetch(flow_input: dict) -> list[str]: ...

        Worker([handlers]).run()               # or: pgflow worker app:handlers

    A parameter `input` takes what the step works on: a map's element, the run's input for a step without dependencies,
    else `{step: output}` of them. `flow_input`, `ctx` and `deps` are what they are in flows of functions; any other
    parameter is a map's element, or else the output of the dependency of that name. The functions stay as they were.
    """

    def __init__(self) -> None:
        self._functions: dict[str, Callable[..., Any]] = {}
        self._steps: dict[tuple[str, StepType], _LooseStep] = {}
        self._nowhere: Flow[Any, Any] = Flow("handlers")

    @overload
    def __call__(self, name: str, /) -> Callable[[F], F]: ...
    @overload
    def __call__(self, fn: F, /) -> F: ...
    def __call__(self, name: Any, /) -> Any:
        """Records a function under a name, or under its own."""
        if not isinstance(name, str):
            if not callable(name) or not hasattr(name, "__name__"):
                raise TypeError(f"@handlers takes a name or decorates a function that has one, not {name!r}")
            return self._record(name.__name__, name)
        return lambda fn: self._record(name, fn)

    def _record(self, name: str, fn: F) -> F:
        if not callable(fn):
            raise TypeError(f"@handlers({name!r}) decorates functions, not {fn!r}")
        if name in self._functions:
            raise ValueError(f"there is a handler {name!r} already")
        self._functions[name] = fn.fn if isinstance(fn, Step) else fn
        return fn

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def __repr__(self) -> str:
        return f"<Handlers {', '.join(self._functions)}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __or__(self, other: Handlers) -> Handlers:
        """The functions of both; raises ValueError for a name that they share."""
        both = Handlers()
        for name, fn in (*self.items(), *other.items()):
            if both.get(name) is not fn:
                both._record(name, fn)
        return both

    # -- what it makes of them

    def check(self) -> None:
        """Raises FlowDefinitionError with all that is wrong with the functions, whatever step they may serve."""
        faults = [
            f"{step.location}: handler {name!r}: {fault}"
            for name in self
            for step in [self._loose(name, "single")]
            for fault in step.signature.faults
        ]
        if faults:
            raise FlowDefinitionError("handlers", faults)

    def step(self, name: str, step_type: StepType) -> Step[Any, Any] | None:
        """How a task of a step of this type is worked on by the function of this name; None if there is none."""
        return self._loose(name, step_type) if name in self._functions else None

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

    def _loose(self, name: str, step_type: StepType) -> _LooseStep:
        if (name, step_type) not in self._steps:
            self._steps[name, step_type] = _LooseStep(
                self._nowhere, self._functions[name], name, step_type, StepOptions()
            )
        return self._steps[name, step_type]


class _LooseStep(NamedStep[..., Any]):
    """A function as it serves all steps of a type, in whatever flows."""

    @cached_property
    def signature(self) -> Signature:
        return read_signature(self)

    @cached_property
    def binding(self) -> Binding:
        return Binding(self.step_type, self.signature.parameters, self.signature.returns)
