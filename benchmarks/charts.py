"""Bar charts as SVG, in a few lines of text."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

_WIDTH, _NAMES, _VALUES, _LINE, _BAR = 640, 120, 110, 26, 16
_STYLE = (
    "text{font:13px sans-serif;fill:#444}.title{font-weight:bold}"
    ".bar{fill:#9aa5b1}.ours{fill:#2563a8}.floor{fill:#cfd6dd}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}.bar{fill:#75808c}.ours{fill:#6aa5e3}.floor{fill:#4a525a}}"
)


class Bar(NamedTuple):
    """One line: its name, its length, and how that is written."""

    name: str
    value: float
    label: str


def bars(title: str, given: list[Bar]) -> str:
    """Horizontal bars from zero, as long as their values, in the given order."""
    longest = max(bar.value for bar in given)
    height = _LINE * (len(given) + 1) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="0" y="17">{escape(title)}</text>',
    ]
    for number, bar in enumerate(given, start=1):
        top = number * _LINE
        length = max((_WIDTH - _NAMES - _VALUES) * bar.value / longest, 1)
        kind = bar.name if bar.name in ("ours", "floor") else "bar"
        lines += [
            f'<text x="{_NAMES - 8}" y="{top + 17}" text-anchor="end">{escape(bar.name)}</text>',
            f'<rect class="{kind}" x="{_NAMES}" y="{top + 4}" width="{length:.1f}" height="{_BAR}"/>',
            f'<text x="{_NAMES + length + 6:.1f}" y="{top + 17}">{escape(bar.label)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
