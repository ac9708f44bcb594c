"""From a handler's signature to edges, and from a task's JSON to the handler's arguments."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from pgflow.errors import InvalidInputError
from pgflow.flow import codec
from pgflow.flow.context import Context
from pgflow.flow.step import Needed, Step, plain_function

Role: TypeAlias = Literal["ctx", "flow_input", "deps", "input", "element", "output"]
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
    if is_generator(step.fn):
        faults.append("a generator cannot be a handler: return a list instead")
        hints.pop("return", None)  # of a generator's kind, and no second fault
    parameters = []
    needs_element = step.step_type == "map"
    for raw in _raw_parameters(step.fn, faults):
        if isinstance(raw.default, Needed) and raw.default.step.flow is not step.flow:
            faults.append(f"parameter {raw.name!r} needs {raw.default.step!r}, which belongs to another flow")
            continue
        if raw.kind not in (raw.POSITIONAL_OR_KEYWORD, raw.KEYWORD_ONLY):
            mark = "*" if raw.kind is raw.VAR_POSITIONAL else "**" if raw.kind is raw.VAR_KEYWORD else ""
            faults.append(
                f"parameter '{mark}{raw.name}' is not allowed: handlers get their arguments by name "
                "(no *args, **kwargs or positional-only parameters)"
            )
            continue
        parameter = _parameter(raw, hints.get(raw.name, Any), step.reserved, needs_element)
        needs_element = needs_element and parameter.role not in ("element", "input")
        if step.step_type == "map" and parameter.role in ("output", "deps"):
            faults.append(
                f"parameter {raw.name!r} is not allowed: a map's handler gets its element, flow_input and ctx "
                "(the step that is mapped is named by over=)"
            )
            continue
        parameters.append(parameter)
    if needs_element and step.options.initial_tasks is None:
        faults.append("a map handler needs a parameter for its element")
    return Signature(tuple(parameters), hints.get("return", Any), tuple(faults))


def _raw_parameters(fn: Callable[..., Any], faults: list[str]) -> list[inspect.Parameter]:
    """Those that are still to be filled: what a partial gives by name is not."""
    given = fn.keywords if isinstance(fn, functools.partial) else {}
    try:
        parameters = inspect.signature(fn).parameters.values()
        return [p for p in parameters if p.name not in given or isinstance(p.default, Needed)]
    except ValueError:  # some builtins have none
        faults.append("its parameters cannot be read: wrap it in a function")
        return []


def _parameter(raw: inspect.Parameter, annotation: Any, reserved: Sequence[str], needs_element: bool) -> Parameter:
    if isinstance(raw.default, Needed):
        has_default = raw.default.default is not _EMPTY
        return Parameter(raw.name, "output", annotation, raw.default.step.slug, has_default, raw.default.default)
    has_default = raw.default is not _EMPTY
    if raw.name == "ctx" or is_context(annotation):
        return Parameter(raw.name, "ctx", annotation)
    if raw.name in reserved:
        return Parameter(raw.name, typing.cast(Role, raw.name), annotation)
    if needs_element:
        return Parameter(raw.name, "element", annotation)
    return Parameter(raw.name, "output", annotation, raw.name, has_default)


def is_generator(fn: Callable[..., Any]) -> bool:
    """Whether calling it would run nothing yet."""
    return inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)


def is_context(annotation: Any) -> bool:
    """Whether this asks for the Context: `Context`, or `Context | None` of a function that others call, too."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return set(typing.get_args(annotation)) == {Context, types.NoneType}
    return annotation is Context


def _hints(fn: Callable[..., Any], faults: list[str]) -> dict[str, Any]:
    """The annotations, with names in them resolved; also those of a closure's surroundings."""
    fn = plain_function(fn)
    try:
        return typing.get_type_hints(fn, localns=_surroundings(fn), include_extras=True)
    except NameError as error:
        faults.append(f"an annotation names {error.name!r}, which is not defined where the handler is")
    except Exception as error:  # annotations are code: whatever it raises
        faults.append(f"an annotation cannot be read: {error}")
    return {}


def _surroundings(fn: Callable[..., Any]) -> dict[str, Any]:
    """What a function sees of those it is defined in, as far as it is defined yet."""
    found = {}
    cells = getattr(fn, "__closure__", None) or ()
    for name, cell in zip(fn.__code__.co_freevars if cells else (), cells, strict=True):
        with suppress(ValueError):  # an empty cell
            found[name] = cell.cell_contents
    return found


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

    @cached_property
    def _inputs(self) -> TypeAdapter[Any]:
        """One schema for all outputs, so that they are parsed and validated in a single pass. It is kept here: a cache
        would keep those of flows that are gone."""
        make: Any = TypedDict
        fields = {p.name: NotRequired[Annotated[p.annotation, Field(alias=p.source)]] for p in self._outputs}
        return codec.make_adapter(make("Inputs", fields))

    @property
    def needs_flow_input(self) -> bool:
        """Whether the handler asks for the run's input, which only a root single step's task carries along."""
        return "flow_input" in self._by_role

    @property
    def needs_context(self) -> bool:
        """Whether the handler asks for the Context: making one costs more than many a handler."""
        return "ctx" in self._by_role

    def arguments(
        self, raw: bytes, flow_input: bytes | None, ctx: Context | None, *, is_root: bool = False
    ) -> dict[str, Any]:
        """The keyword arguments for the handler; raises InvalidInputError if a value does not fit its annotation.

        `is_root`: the task is that of a single step without dependencies, which works on the run's input.
        """
        values: dict[str, Any] = {p.name: ctx for p in self._by_role.get("ctx", ())}
        for p in self._by_role.get("flow_input", ()):
            values[p.name] = self._decode(p, flow_input or b"null")
        for p in self._by_role.get("input", ()):
            values[p.name] = self._decode(p, flow_input or b"null" if is_root else raw)
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
            given: dict[str, Any] = self._inputs.validate_json(raw)
        except ValidationError as error:
            raise InvalidInputError(f"outputs of dependencies: {codec.explain(error)}") from error
        defaults = {p.name: p.default for p in self._outputs if p.default is not _EMPTY}
        return defaults | given
