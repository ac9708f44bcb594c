"""The program whose commands these are: pgflow's own, or another that took them in (manage.py of Django)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pgflow.worker import Middleware


@dataclass(frozen=True, slots=True)
class Program:
    """How a program differs from `pgflow`."""

    #: What people type.
    name: str = "pgflow"
    #: What starts it as a process of its own.
    command: tuple[str, ...] = (sys.executable, "-m", "pgflow")
    #: Values of options and arguments that were left out, by command, as click's `default_map`. Those that `--help`
    #: shall not show, or that are dear, are functions.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    #: Put around the handlers of `worker`.
    middleware: Middleware | None = None
