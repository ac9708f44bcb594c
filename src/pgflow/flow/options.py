"""The options of flows and of their decorators, read: what is right of them, and what is wrong with the rest.

Nothing is raised where they are given: `Flow.check()` says all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeAlias, get_args

from pgflow.errors import InvalidInputError
from pgflow.flow import codec
from pgflow.flow.retry import OPTIONS_OF_RETRIES, Retry
from pgflow.flow.slugs import no_option
from pgflow.flow.step import SkipMode, Step, StepOptions
from pgflow.records import StepType

Target: TypeAlias = Step[Any, Any] | str

#: PostgreSQL's largest int.
LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Given:
    """What a decorator was given; an option that is wrong is as if it were not given, but for its fault."""

    slug: str | None
    over: Target | None
    depends_on: tuple[Target, ...]
    options: StepOptions
    faults: tuple[str, ...]


def read(given: Mapping[str, Any], step_type: StepType, decorator: str) -> Given:
    """The options of `@flow.step(…)` or `@flow.map(…)`; faults call the decorator by the name given here."""
    faults: list[str] = []
    right: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _READERS:
            known = [n for n in _READERS if step_type == "map" or n not in _FOR_MAPS]
            faults.append(no_option(decorator, name, known))
        elif name in _FOR_MAPS and step_type != "map" and value is not None:
            faults.append(f"{name} is for maps")
        elif value is not _DEFAULTS.get(name):
            try:
                right[name] = _READERS[name](value)
            except ValueError as error:
                faults.append(f"{name} {error}")
    retry = Retry(**{name: right.pop(name) for name in OPTIONS_OF_RETRIES if name in right})
    return Given(
        slug=right.pop("slug", None),
        over=right.pop("over", None),
        depends_on=right.pop("depends_on", ()),
        options=StepOptions(**right, retry=retry),
        faults=(*faults, *retry.faults()),
    )


def value_faults(**values: Any) -> Iterator[str]:
    """What is wrong with options that were given elsewhere than to a decorator of steps; None: not given."""
    for name, value in values.items():
        try:
            _ = value is None or _READERS[name](value)
        except ValueError as error:
            yield f"{name} {error}"


# ---------------------------------------------------------------------------------------- one by one


def _whole(value: Any, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"must be a whole number of at least {least}, not {value!r}")
    if value > LARGEST:
        raise ValueError(f"must be at most {LARGEST:,}, not {value:,}")
    return value


def _pattern(value: Any) -> dict[str, Any]:
    """As plain JSON types, so that the flow's shape is no business of the codec."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a dict (a JSON object to be contained), not {value!r}")  # noqa: TRY004
    try:
        plain: dict[str, Any] = codec.decode(codec.encode(value))
    except InvalidInputError as error:
        raise ValueError(f"must be a JSON object: {error}") from error
    return plain


def _mode(value: Any) -> Any:
    if value not in get_args(SkipMode):
        raise ValueError(f"must be 'fail', 'skip' or 'skip-cascade', not {value!r}")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be True or False, not {value!r}")  # noqa: TRY004
    return value


def _executor(value: Any) -> str:
    if not (isinstance(value, str) and value):
        raise ValueError(f"must be 'process' or the name of one of the worker's, not {value!r}")
    return value


def _slug(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {value!r}")  # noqa: TRY004
    return value


def _target(value: Any) -> Target:
    if not isinstance(value, Step | str):
        raise ValueError(f"takes steps or slugs, not {value!r}")  # noqa: TRY004
    return value


def _targets(value: Any) -> tuple[Target, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"must be a list of steps or slugs, not {value!r}")  # noqa: TRY004
    return tuple(map(_target, value))


def _as_it_is(value: Any) -> Any:
    return value


_FOR_MAPS = ("over", "initial_tasks")
_DEFAULTS = {field.name: field.default for field in fields(StepOptions)}
#: How each option is read; a ValueError says what is wrong with it. Retry knows its own faults.
_READERS: dict[str, Callable[[Any], Any]] = {
    "slug": _slug,
    "over": _target,
    "depends_on": _targets,
    "max_attempts": _whole,
    "base_delay": _whole,
    "timeout": partial(_whole, least=1),
    "start_delay": _whole,
    "initial_tasks": _whole,
    "run_if": _pattern,
    "run_unless": _pattern,
    "when_unmet": _mode,
    "when_exhausted": _mode,
    "executor": _executor,
    "transactional": _truth,
    **dict.fromkeys(OPTIONS_OF_RETRIES, _as_it_is),
}
