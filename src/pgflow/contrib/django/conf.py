"""The setting PGFLOW, all of whose keys may be left out.

PGFLOW = {"DATABASE": "default", "FLOWS": ["shop.nightly"], "CONCURRENCY": 50}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from pgflow.config import SettingsError, load
from pgflow.flow.slugs import did_you_mean

#: Options of `pgflow worker` that the setting may have; by their names there, and checked as there.
_NUMBERS = ("concurrency", "grace", "lease", "handler_processes", "max_tasks_per_child")
_WORKER = (*_NUMBERS, "lifespan")
_KEYS = ("DATABASE", "FLOWS", "MIGRATE", *(name.upper() for name in _WORKER))


@dataclass(frozen=True, slots=True)
class Conf:
    """The setting, read and checked."""

    #: The alias of the database that runs are in.
    database: str
    #: What is served beside the `flows` modules of the installed apps.
    flows: tuple[str, ...]
    #: Whether Django's `migrate` brings pgflow's schema up to date, too.
    migrate: bool
    #: Options of `pgflow worker`.
    worker: Mapping[str, Any]


def read() -> Conf:
    """The setting as it is now (tests override it); raises ImproperlyConfigured."""
    given = getattr(settings, "PGFLOW", {})
    if not isinstance(given, Mapping):
        raise _fault(f"must be a dict, not {given!r}")
    for key in given:
        if key not in _KEYS:
            raise _fault(f"has no key {key!r}{did_you_mean(str(key), _KEYS)}; it has {', '.join(_KEYS)}")
    return Conf(
        _checked(given, "DATABASE", "default", str, "an alias of DATABASES"),
        tuple(_flows(given.get("FLOWS", []))),
        _checked(given, "MIGRATE", False, bool, "True or False"),
        _worker({name: given[name.upper()] for name in _WORKER if name.upper() in given}),
    )


def _flows(given: Any) -> Any:
    if isinstance(given, list | tuple) and all(isinstance(reference, str) for reference in given):
        return given
    raise _fault(f'FLOWS must be a list of modules ("shop.flows", "shop.flows:shipping"), not {given!r}')


def _worker(given: dict[str, Any]) -> dict[str, Any]:
    _checked(given, "lifespan", None, str | None, "MODULE:FUNCTION")
    try:
        load({}, **{name: given[name] for name in _NUMBERS if name in given})
    except SettingsError as error:
        name, _, fault = str(error).partition(" ")
        raise _fault(f"{name.upper()} {fault}") from error
    return given


def _checked(given: Mapping[str, Any], key: str, default: Any, kind: Any, expected: str) -> Any:
    value = given.get(key, default)
    if not isinstance(value, kind):
        raise _fault(f"{key.upper()} must be {expected}, not {value!r}")
    return value


def _fault(text: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"PGFLOW {text}")
