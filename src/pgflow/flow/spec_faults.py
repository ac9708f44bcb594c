"""What is wrong with a spec, as text: one line per fault, with its path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails, PydanticCustomError

from pgflow.flow.handler import OPTIONS_OF_HANDLERS
from pgflow.flow.slugs import did_you_mean
from pgflow.flow.spec_graph import Sketch

_LONGEST_SHOWN = 60
#: What pydantic says in Python's words, in those of whoever writes JSON or YAML.
_IN_JSON = {
    "tuple_type": "Input should be a list",
    "dict_type": "Input should be an object",
    "model_type": "Input should be an object",
}


def refusal(reason: str) -> PydanticCustomError:
    """An error of ours, for pydantic to collect."""
    return PydanticCustomError("flow_spec", "{reason}", {"reason": reason})


def line(place: tuple[str | int, ...], reason: str) -> str:
    """`steps[3].depends_on[0]: no step 'fech'`; the reason alone, if it is about the whole."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return f"{path.removeprefix('.')}: {reason}" if place else reason


def reason(detail: ErrorDetails, known: Iterable[str]) -> str:
    """pydantic's message, with what was given; or ours where that helps more. `known` are the keys of that place."""
    match detail["type"]:
        case "flow_spec":
            return detail["msg"]
        case "extra_forbidden" if (option := detail["loc"][-1]) in OPTIONS_OF_HANDLERS:
            return f"this option belongs to the handler, not to the flow's spec: @handlers(…, {option}=…)"
        case "extra_forbidden":
            return f"there is no such key{did_you_mean(str(detail['loc'][-1]), known)}"
        case "missing":
            return "is missing"
        case "too_long":
            return f"at most {detail['ctx']['max_length']:,} are allowed"
    got = repr(detail["input"])
    got = got if len(got) <= _LONGEST_SHOWN else got[: _LONGEST_SHOWN - 3] + "..."
    return f"{_IN_JSON.get(detail['type'], detail['msg'])} (got {got})"


def sketches(steps: Any) -> Iterator[Sketch]:
    """What can be read of steps, whatever else is wrong with them."""
    for index, raw in enumerate(steps if isinstance(steps, list | tuple) else ()):
        given = vars(raw) if isinstance(raw, BaseModel) else raw
        if isinstance(given, Mapping):
            yield Sketch(
                index=index,
                slug=_text(given.get("slug")),
                depends_on=_texts(given.get("depends_on")),
                is_map=given.get("step_type") == "map",
                has_initial_tasks=given.get("initial_tasks") is not None,
                patterns={name: _keys(given.get(name)) for name in ("run_if", "run_unless")},
            )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(values: Any) -> tuple[str | None, ...]:
    return tuple(map(_text, values)) if isinstance(values, list | tuple) else ()


def _keys(pattern: Any) -> tuple[str | None, ...]:
    return tuple(map(_text, pattern)) if isinstance(pattern, Mapping) else ()
