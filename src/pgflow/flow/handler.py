"""A function that is called by name, with those options that are its worker's business and not the database's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from pgflow.flow.options import value_faults
from pgflow.flow.retry import OPTIONS_OF_RETRIES, Retry
from pgflow.flow.slugs import no_option
from pgflow.flow.step import Step, StepOptions

if TYPE_CHECKING:
    from pgflow.flow.flow import Flow
    from pgflow.flow.handlers import Handlers

#: What a handler may say of itself; all else of a flow that is data stands in its spec.
OPTIONS_OF_HANDLERS = ("executor", "transactional", *OPTIONS_OF_RETRIES)
_PLAIN = StepOptions()


@dataclass(frozen=True, slots=True)
class Handler:
    """Calls like its function. `home` is what other processes find it in, under its name; None if there is nothing."""

    fn: Callable[..., Any]
    options: StepOptions = _PLAIN
    home: Flow[Any, Any] | Handlers | None = field(default=None, compare=False)
    name: str = field(default="", compare=False)

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> Self:
        """What there is to know of a function: a decorated step brings its options, with those of its flow."""
        if isinstance(fn, cls):
            return fn
        if not isinstance(fn, Step):
            return cls(fn)
        options = StepOptions(executor=fn.options.executor, transactional=fn.options.transactional, retry=fn.retry)
        return cls(fn.fn, options, fn.flow, fn.slug)

    def with_options(self, given: dict[str, Any]) -> Handler:
        """These options before its own; raises TypeError for what is no option of a handler, ValueError for a value
        that none can have; what is wrong about retries is a fault of the step."""
        for name in given:
            if name not in OPTIONS_OF_HANDLERS:
                raise TypeError(_no_option(name))
        own = {name: value for name, value in given.items() if name not in OPTIONS_OF_RETRIES}
        if faults := list(value_faults(**own)):
            raise ValueError("; ".join(faults))
        retry = Retry(**{name: value for name, value in given.items() if name in OPTIONS_OF_RETRIES})
        return replace(self, options=replace(self.options, **own, retry=retry.over(self.options.retry)))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    @property
    def has_options(self) -> bool:
        """Whether it is more than its function."""
        return self.options != _PLAIN


def _no_option(name: str) -> str:
    if name in (f.name for f in fields(StepOptions)):
        return f"{name} is no option of a handler: it stands in the flow's spec, with the steps that name the handler"
    return no_option("a handler", name, OPTIONS_OF_HANDLERS)
