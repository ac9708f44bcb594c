"""Settings: defaults < environment < arguments, each value with where it came from.

settings = load(concurrency=50)          # an argument wins over PGFLOW_CONCURRENCY
settings.concurrency                     # 50
settings.source("concurrency")           # 'argument'
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pgflow.errors import PgflowError


class SettingsError(PgflowError, ValueError):
    """A setting has a value that cannot be used; the message names it and where it came from."""


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """Everything that can be set, with its unit.

    Each field is set by the environment variable(s) of its metadata, the first one present winning.
    """

    #: Address of the database (libpq URL or key=value string); None means the embedded server.
    dsn: str | None = field(default=None, metadata={"env": ("PGFLOW_DATABASE_URL", "DATABASE_URL")})
    #: Address for LISTEN, where the first one leads through a pooler that swallows it.
    listen_dsn: str | None = field(default=None, metadata={"env": ("PGFLOW_LISTEN_URL",)})
    #: Directory of the embedded server; None means the user's data directory.
    embedded_dir: Path | None = field(default=None, metadata={"env": ("PGFLOW_EMBEDDED_DIR",)})
    #: How many tasks one worker process runs at once.
    concurrency: int = field(default=20, metadata={"env": ("PGFLOW_CONCURRENCY",), "min": 1})
    #: Seconds that a claimed task stays its worker's without a heartbeat.
    lease: int = field(default=15, metadata={"env": ("PGFLOW_LEASE",), "min": 1})
    #: Seconds that running tasks get to finish when the worker is asked to stop.
    grace: float = field(default=25.0, metadata={"env": ("PGFLOW_GRACE",), "min": 0})
    #: Longest wait between two polls while nothing wakes the worker, in seconds.
    poll_interval: float = field(default=2.0, metadata={"env": ("PGFLOW_POLL_INTERVAL",), "min": 0.01})
    #: How many processes one worker has for handlers with executor="process"; by default one per core.
    handler_processes: int = field(
        default_factory=lambda: os.cpu_count() or 1, metadata={"env": ("PGFLOW_HANDLER_PROCESSES",), "min": 1}
    )
    #: After how many tasks such a process is replaced by a new one; 0 means never.
    max_tasks_per_child: int = field(default=0, metadata={"env": ("PGFLOW_MAX_TASKS_PER_CHILD",), "min": 0})

    _sources: Mapping[str, str] = field(default_factory=dict, metadata={"env": ()}, compare=False)

    def source(self, name: str) -> str:
        """Where a setting's value came from: 'default', 'argument', or the environment variable's name."""
        return self._sources.get(name, "default")

    def __repr__(self) -> str:
        shown = (f"{f.name}={_shown(getattr(self, f.name))!r}" for f in fields(self) if f.name != "_sources")
        return f"Settings({', '.join(shown)})"


def load(environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
    """Settings from the environment and these arguments; None as an argument means "not given".

        load(dsn="postgresql:///mydb", lease=30)

    Raises SettingsError for a value that is no number or out of range, and TypeError for an unknown name.
    """
    environ = os.environ if environ is None else environ
    known = {f.name: f for f in fields(Settings) if f.name != "_sources"}
    if unknown := arguments.keys() - known.keys():
        raise TypeError(f"unknown setting(s): {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, spec in known.items():
        if arguments.get(name) is not None:
            raw, source = arguments[name], "argument"
        else:
            source = next((v for v in spec.metadata["env"] if environ.get(v)), "default")
            if source == "default":
                continue
            raw = environ[source]
        values[name] = _convert(name, str(spec.type), raw, source, spec.metadata.get("min"))
        sources[name] = source
    return Settings(**values, _sources=sources)


def _convert(name: str, annotation: str, raw: Any, source: str, minimum: float | None) -> Any:
    where = name if source == "argument" else source
    try:
        value = _whole(raw) if annotation == "int" else float(raw) if annotation == "float" else raw
    except (TypeError, ValueError, OverflowError):
        kind = "whole number" if annotation == "int" else "number"
        raise SettingsError(f"{where} must be a {kind}, not {raw!r}") from None
    if annotation.startswith("str") and not isinstance(raw, str):
        raise SettingsError(f"{where} must be a text, not of type {type(raw).__name__}")
    if annotation.startswith("Path"):
        value = Path(raw).expanduser()
    if minimum is not None and not value >= minimum:
        raise SettingsError(f"{where} must be at least {minimum}, not {raw!r}")
    return value


def _whole(raw: Any) -> int:
    value = int(raw)
    if isinstance(raw, float) and value != raw:
        raise ValueError(raw)
    return value


_PASSWORD = re.compile(
    r"""(?P<url>://[^:/@]*:)(?:[^/]*|[^@]*)(?=@)  # postgresql://me:SECRET@host; rather too much than too little
      | (?P<query>[?&](?:ssl)?password=)[^&]*     # …?password=SECRET&…
      | (?P<key>\b(?:ssl)?password\s*=\s*)       # password=SECRET or password='SE\'CRET'
        (?:'(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*)""",
    re.IGNORECASE | re.VERBOSE,
)


def mask_password(dsn: str) -> str:
    """The address without its password, for logs and messages.

    mask_password("postgresql://me:secret@host/db")     # 'postgresql://me:***@host/db'
    """
    return _PASSWORD.sub(lambda m: (m["url"] or m["query"] or m["key"]) + "***", dsn)


def _shown(value: Any) -> Any:
    return mask_password(value) if isinstance(value, str) else value
