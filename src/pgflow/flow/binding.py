"""From a handler's signature to edges, and from a task's JSON to the handler's arguments."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypeAlias

from pydantic import ValidationError
from typing_extensions import TypedDict

from pgflow.errors import InvalidInputError
from pgflow.flow import codec
from pgflow.flow.context import Context
from pgflow.flow.slugs import RESERVED
from pgflow.flow.step import Needed, Step

Role: TypeAlias = Literal["ctx", "flow_input", "deps", "element", "output"]
_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a handler's parameter gets; `source` names the step whose output it is."""

    name: str
    role: Role
    annotation: Any
    source: str | None = None
    has_default: bool = False
    default: Any = _EMPTY


@dataclass(frozen=True, slots=True)
class Signature:
    """A handler's parameters and the annotation of its result, with what is wrong about them."""

    parameters: tuple[Parameter, ...]
    returns: Any
    faults: tuple[str, ...]


def read_signature(step: Step[Any, Any]) -> Signature:
    """What each parameter of a step's handler gets, by its name, annotation and default."""
    faults: list[str] = []
    hints = _hints(step.fn, faults)
    if inspect.isgeneratorfunction(step.fn) or inspect.isasyncgenfunction(step.fn):
        faults.append("a generator cannot be a handler: return a list instead")
    parameters = []
    needs_element = step.step_type == "map"
    for raw in inspect.signature(step.fn).parameters.values():
        if raw.kind not in (raw.POSITIONAL_OR_KEYWORD, raw.KEYWORD_ONLY):
            mark = "*" if raw.kind is raw.VAR_POSITIONAL else "**" if raw.kind is raw.VAR_KEYWORD else ""
            faults.append(
                f"parameter '{mark}{raw.name}' is not allowed: handlers get their arguments by name "
                "(no *args, **kwargs or positional-only parameters)"
            )
            continue
        parameter = _parameter(raw, hints.get(raw.name, Any), needs_element)
        needs_element = needs_element and parameter.role != "element"
        parameters.append(parameter)
    if needs_element and step.options.initial_tasks is None:
        faults.append("a map handler needs a parameter for its element")
    return Signature(tuple(parameters), hints.get("return", Any), tuple(faults))


def _parameter(raw: inspect.Parameter, annotation: Any, needs_element: bool) -> Parameter:
    if isinstance(raw.default, Needed):
        has_default = raw.default.default is not _EMPTY
        return Parameter(raw.name, "output", annotation, raw.default.step.slug, has_default, raw.default.default)
    has_default = raw.default is not _EMPTY
    if raw.name == "ctx" or annotation is Context:
        return Parameter(raw.name, "ctx", annotation)
    if raw.name in RESERVED:
        return Parameter(raw.name, typing.cast(Role, raw.name), annotation)
    if needs_element:
        return Parameter(raw.name, "element", annotation)
    return Parameter(raw.name, "output", annotation, raw.name, has_default)


def _hints(fn: Callable[..., Any], faults: list[str]) -> dict[str, Any]:
    """The annotations, with names in them resolved; also those of a closure's surroundings."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = inspect.unwrap(fn)
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    local = dict(inspect.getclosurevars(fn).nonlocals) if inspect.isfunction(fn) else {}
    try:
        return typing.get_type_hints(fn, localns=local, include_extras=True)
    except NameError as error:
        faults.append(f"an annotation names {error.name!r}, which is not defined where the handler is")
    except TypeError as error:
        faults.append(f"an annotation cannot be read: {error}")
    return {}


class Binding:
    """How one step's handler is called: made once, used for every task.

    arguments = binding.arguments(task.input, task.flow_input, ctx)
    output = binding.encode(handler(**arguments))
    """

    def __init__(self, step_type: str, parameters: tuple[Parameter, ...], returns: Any) -> None:
        self._is_map = step_type == "map"
        self._by_role: dict[str, list[Parameter]] = {}
        for parameter in parameters:
            self._by_role.setdefault(parameter.role, []).append(parameter)
        self._outputs = self._by_role.get("output", [])
        self._returns = returns
        # one schema for the whole object, so that it is parsed and validated in a single pass
        make: Any = TypedDict
        self._inputs = make("Inputs", {p.source: NotRequired[p.annotation] for p in self._outputs})

    @property
    def needs_flow_input(self) -> bool:
        """Whether the handler asks for the run's input, which only a root single step's task carries along."""
        return "flow_input" in self._by_role

    def arguments(self, raw: bytes, flow_input: bytes | None, ctx: Context) -> dict[str, Any]:
        """The keyword arguments for the handler; raises InvalidInputError if a value does not fit its annotation."""
        values: dict[str, Any] = {p.name: ctx for p in self._by_role.get("ctx", ())}
        for p in self._by_role.get("flow_input", ()):
            values[p.name] = self._decode(p, flow_input or b"null")
        for p in self._by_role.get("deps", ()):
            values[p.name] = codec.decode(raw)
        for p in self._by_role.get("element", ()):
            values[p.name] = self._decode(p, raw)
        if self._outputs:
            values |= self._outputs_of(raw)
        return values

    def encode(self, result: Any) -> bytes:
        """The handler's result as JSON text; raises InvalidInputError if it is none or does not fit."""
        try:
            return codec.encode(result, self._returns)
        except InvalidInputError as error:
            raise InvalidInputError(f"the handler's result: {error}") from error

    def _decode(self, parameter: Parameter, raw: bytes) -> Any:
        try:
            return codec.decode(raw, parameter.annotation)
        except InvalidInputError as error:
            raise InvalidInputError(f"parameter {parameter.name!r}: {error}") from error

    def _outputs_of(self, raw: bytes) -> dict[str, Any]:
        """The outputs of dependencies; one that was skipped is absent and leaves its parameter to its default."""
        try:
            given = codec.adapter(self._inputs).validate_json(raw)
        except ValidationError as error:
            raise InvalidInputError(f"outputs of dependencies: {codec.explain(error)}") from error
        values = {p.name: given[p.source] for p in self._outputs if p.source in given}
        for p in self._outputs:
            if p.source not in given and p.default is not _EMPTY:
                values[p.name] = p.default
        return values
