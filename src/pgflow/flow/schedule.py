"""A schedule as a flow's code declares it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from pgflow.errors import InvalidInputError
from pgflow.flow import codec
from pgflow.flow.cron import cron_fault

CatchUp: TypeAlias = Literal["none", "last", "all"]

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,100}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to start runs of a flow, and with what; `location` says where in the code it stands."""

    name: str
    cron: str
    time_zone: str
    input: Any
    catch_up: CatchUp
    location: str = ""

    def faults(self) -> Iterator[str]:
        """What is wrong with it."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            yield f"the name {self.name!r} is not valid: use letters, digits, '_', '.' and '-', at most 100 of them"
        if fault := cron_fault(self.cron, self.time_zone):
            yield fault
        if self.catch_up not in get_args(CatchUp):
            yield f"catch_up must be 'none', 'last' or 'all', not {self.catch_up!r}"
        try:
            codec.encode(self.input)
        except InvalidInputError as error:
            yield f"input: {error}"

    @property
    def raw_input(self) -> bytes:
        """Its input as JSON text."""
        return codec.encode(self.input)
