"""A step: a handler function, its options, and the marker that names it as a dependency."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, overload

from typing_extensions import ParamSpec, TypeVar

from pgflow.flow import location
from pgflow.flow.retry import NOTHING_SAID, Retry
from pgflow.flow.slugs import RESERVED
from pgflow.records import StepType

if TYPE_CHECKING:
    from pgflow.flow.binding import Binding
    from pgflow.flow.flow import Flow
    from pgflow.flow.handler import Handler
    from pgflow.flow.handlers import Handlers
    from pgflow.flow.spec import StepSpec

P = ParamSpec("P", default=...)
T = TypeVar("T", default=Any)
D = TypeVar("D")
E = TypeVar("E")

SkipMode: TypeAlias = Literal["fail", "skip", "skip-cascade"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """What can be set per step; None inherits from the flow (or means none). Times are seconds.

    `executor` says where the handler runs: 'process', an executor of the worker's by its name, or by default the event
    loop (async def) or a thread (def).
    `transactional` gives it a connection whose transaction commits together with the task's completion.
    """

    max_attempts: int | None = None
    base_delay: int | None = None
    timeout: int | None = None
    start_delay: int | None = None
    run_if: dict[str, Any] | None = None
    run_unless: dict[str, Any] | None = None
    when_unmet: SkipMode = "skip"
    when_exhausted: SkipMode = "fail"
    initial_tasks: int | None = None
    executor: str | None = None
    transactional: bool = False
    retry: Retry = NOTHING_SAID


def may_be_skipped_alone(options: StepOptions | StepSpec) -> bool:
    """Whether what depends on the step may one day run without its output."""
    conditional = options.run_if is not None or options.run_unless is not None
    return (conditional and options.when_unmet == "skip") or options.when_exhausted == "skip"


class Step(Generic[P, T]):
    """A handler within a flow, as `@flow.step` and `@flow.map` return it; calling it just calls the handler.

    `T` is what the step gives to those that depend on it: for a map, the list of its handler's results.
    """

    #: Names of parameters that have a meaning of their own.
    reserved: tuple[str, ...] = RESERVED
    #: The user's function, also where another one calls it for the step.
    __wrapped__: Callable[..., Any]
    #: The name by which the function was found, where that is not the slug.
    handler: str | None = None

    def __init__(
        self,
        flow: Flow[Any, Any],
        fn: Callable[..., Any],
        slug: str,
        step_type: StepType,
        options: StepOptions,
        depends_on: tuple[Step[Any, Any] | str, ...] = (),
        over: Step[Any, Any] | str | None = None,
        faults: tuple[str, ...] = (),
    ) -> None:
        functools.update_wrapper(self, fn)
        self.flow = flow
        self.fn = fn
        self.slug = slug
        self.step_type: StepType = step_type
        self.options = options
        self.depends_on = depends_on
        self.over = over
        #: What is wrong with the options it was given.
        self.faults = faults

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.step_type} step {self.flow.slug}.{self.slug}>"

    @property
    def is_async(self) -> bool:
        """Whether the handler runs on the event loop."""
        fn = unwrapped_partial(self.fn)
        return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004

    @property
    def executor_fault(self) -> str | None:
        """What speaks against the executor that it is to run in; None if nothing does."""
        if self.options.executor is None or not self.is_async:
            return None
        return f"executor={self.options.executor!r} is for plain functions: an async handler runs on the event loop"

    @property
    def location(self) -> str:
        """`file.py:12`, for messages; empty where Python does not know."""
        code = getattr(plain_function(self.__wrapped__), "__code__", None)
        if code is None:
            return ""
        return location.shown(code.co_filename, code.co_firstlineno)

    @property
    def title(self) -> str:
        """How messages to whoever runs a worker name it."""
        return f"step {self.slug!r} of flow {self.flow.slug!r}"

    @property
    def found_as(self) -> tuple[Flow[Any, Any] | Handlers, str]:
        """What other processes find it in, and under which name there."""
        return self.flow, self.slug

    @property
    def retry(self) -> Retry:
        """What is said of its retries: by the step itself, else by the flow."""
        return self.options.retry.over(self.flow.retry)

    @property
    def dependencies(self) -> tuple[str, ...]:
        """The slugs of the steps that this one waits for, as its signature and options name them."""
        return self.flow.plan.dependencies[self.slug]

    @property
    def binding(self) -> Binding:
        """How a claimed task becomes the handler's arguments, and its result the task's output."""
        return self.flow.plan.bindings[self.slug]


class NamedStep(Step[P, T]):
    """A step of a flow that is data: its function was found by name and may serve many steps, so a parameter `input`
    takes whatever the step works on: a map's element, the run's input (a step without dependencies), or
    `{step: output}` of its dependencies."""

    reserved = (*RESERVED, "input")
    #: The function as it was found.
    origin: Handler

    @property
    def found_as(self) -> tuple[Flow[Any, Any] | Handlers, str]:
        """Where its function is at home, `type:name` there; without a home in its flow."""
        if self.origin.home is None:
            return super().found_as
        return self.origin.home, f"{self.step_type}:{self.origin.name}"


def plain_function(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind a partial, a wrapper or a callable object: where its code and annotations are."""
    fn = inspect.unwrap(unwrapped_partial(fn))
    return fn if inspect.isroutine(fn) else type(fn).__call__


def unwrapped_partial(fn: Callable[..., Any]) -> Callable[..., Any]:
    """What a partial calls in the end."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


@dataclass(frozen=True, slots=True)
class Needed:
    """The default value that `needs` leaves on a parameter."""

    step: Step[Any, Any]
    default: Any

    MISSING = inspect.Parameter.empty


@overload
def needs(step: Step[Any, D]) -> D: ...
@overload
def needs(step: Step[Any, D], *, default: E) -> D | E: ...
def needs(step: Step[Any, Any], *, default: Any = inspect.Parameter.empty) -> Any:
    """Names a dependency by the step itself, under any parameter name and typed.

        @flow.step
        def rank(pages: list[Page] = needs(scrape)) -> list[str]: ...

    `default` is what the parameter gets when that step was skipped.
    """
    if not isinstance(step, Step):
        raise TypeError(f"needs() takes a step (a function decorated by @flow.step or @flow.map), not {step!r}")
    return Needed(step, default)  # the worker puts the output in its place
