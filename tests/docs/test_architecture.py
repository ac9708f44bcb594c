"""docs/explanation/architecture.md names every module, in the layers that import-linter checks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_its_layers_are_those_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = (c["layers"] for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    checked = [set(re.findall(r"\w+", layer)) for layer in layers]
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", page, re.MULTILINE)
    shown = [set(re.findall(r"\w+", row)) for row in rows]
    # Neighbouring layers may share a row, never change places.
    assert [name for layer in checked for name in sorted(layer)] == [
        name for row in shown for name in _in_order(row, checked)
    ]


def _in_order(row: set[str], layers: list[set[str]]) -> list[str]:
    return [name for layer in layers for name in sorted(layer & row)] + sorted(row - set().union(*layers))
