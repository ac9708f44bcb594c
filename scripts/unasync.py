"""Generates the blocking twins from the async sources; `--check` only says whether they are up to date.

python scripts/unasync.py            # write
python scripts/unasync.py --check    # exit 1 if a twin is stale
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "src" / "pgflow"
TWINS = {
    source: source.with_name(source.name.replace("_async", "_sync"))
    for folder in ("db", "db/transactions", "client")
    for source in sorted((ROOT / folder).glob("_async*.py"))
}
#: Applied in order; whole words only where marked with \b.
RULES: list[tuple[str, str]] = [
    (r"await asyncio\.to_thread\((\w[\w.]*), ", r"\1("),
    (r"await asyncio\.sleep\(", "time.sleep("),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAwaitable\[(\w+\[[^\]]*\])\]", r"\1"),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\b__aiter__\b", "__iter__"),
    (r"\b__anext__\b", "__next__"),
    (
        r"\bAsync(Client|Flows|Schedules|Events|Watching|Database|Transactions|Connection|ConnectionPool|Iterator|Generator)\b",
        r"\1",
    ),
    (r"\barun\b", "run"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bimport asyncio\n", "import threading\nimport time\n"),
    (r"\baclose\b", "close"),
    (r"\basyncio\.Condition\b", "threading.Condition"),
    (r"\b_async(_\w+)?\b", r"_sync\1"),
    (
        r"`_sync(\w*)\.py` is generated from this file: edit here only\.",
        r"Generated from `_async\1.py` by scripts/unasync.py: do not edit.",
    ),
]


def translate(source: str) -> str:
    """The blocking form of an async module's text."""
    for pattern, replacement in RULES:
        source = re.sub(pattern, replacement, source)
    return source


def tidy(source: str, path: Path) -> str:
    """The text as ruff would leave it: imports sorted, unused ones gone, formatted."""
    for command in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run(  # our own linter, on our own text
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(path), "-"],
            input=source,
            text=True,
            capture_output=True,
            check=True,
        )
        source = done.stdout
    return source


def main() -> int:
    stale = []
    for source, twin in TWINS.items():
        wanted = tidy(translate(source.read_text()), twin)
        if twin.exists() and twin.read_text() == wanted:
            continue
        stale.append(str(twin.relative_to(ROOT)))
        if "--check" not in sys.argv:
            twin.write_text(wanted)
    if stale:
        print(("stale, run `make fix`: " if "--check" in sys.argv else "written: ") + ", ".join(stale))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
