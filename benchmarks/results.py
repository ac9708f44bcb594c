"""What was measured, kept in a folder: a file per workload that grows by a line per measurement, and who took part."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Where `make bench` and `make bench-quick` keep theirs; git ignores it.
FOLDER = Path(__file__).parent / "results"
#: What makes two measurements incomparable if it differs.
_SOURCES = ("src/pgflow/**/*.py", "src/pgflow/**/*.sql", "benchmarks/peers/*.*", "benchmarks/workloads.py")
_KEY = ("workload", "engine", "size", "workers", "history", "round")


class Part:
    """The measurements of one workload. Those of an earlier state of the sources are put aside, or all of them."""

    def __init__(self, folder: Path, workload: str, source: str, *, is_fresh: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{workload}.jsonl"
        self.measurements: list[dict[str, Any]] = []
        if self._file.exists():
            began, *known = map(json.loads, self._file.read_text().splitlines())
            if began == {"source": source} and not is_fresh:
                self.measurements = known
                return
            self._file.rename(self._file.with_suffix(".previous"))
        self._write({"source": source})

    def settles(self, one: dict[str, Any]) -> bool:
        """Whether this has been measured, or has failed in whatever round: then it is not tried again."""
        return any(_same(one, known, _KEY if "failed" not in known else _KEY[:-1]) for known in self.measurements)

    def add(self, one: dict[str, Any]) -> None:
        self._write(one)
        self.measurements.append(one)

    def _write(self, line: dict[str, Any]) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _same(one: dict[str, Any], other: dict[str, Any], names: tuple[str, ...]) -> bool:
    return all(one[name] == other[name] for name in names)


def read(folder: Path, source: str) -> list[dict[str, Any]]:
    """All measurements of a folder that were made with these sources."""
    files = [[json.loads(line) for line in file.read_text().splitlines()] for file in sorted(folder.glob("*.jsonl"))]
    return [one for began, *measured in files if began == {"source": source} for one in measured]


def remember(folder: Path, about: dict[str, Any]) -> None:
    """Keeps where and with what was measured, and who took part or why not; engines of earlier calls too."""
    about = about | {"engines": recall(folder).get("engines", {}) | about["engines"]}
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")


def recall(folder: Path) -> dict[str, Any]:
    """What `remember` kept; empty if nothing was measured yet."""
    file = folder / "about.json"
    about: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return about


def source() -> str:
    """A name for the sources that decide what is measured."""
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for file in sorted(ROOT.glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
