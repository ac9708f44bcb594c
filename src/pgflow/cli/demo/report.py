"""The demo's report: one self-contained HTML file, its pictures inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgflow.cli.demo.flow import Function, Histogram

_WIDTH, _BAR, _GAP, _LABEL, _COUNT = 720, 26, 10, 70, 130


def render(*, root: str, top: Sequence[Function], totals: Histogram) -> str:
    """The report as HTML text."""
    template = Template((files("pgflow.cli.demo") / "report.html").read_text(encoding="utf-8"))
    return template.substitute(
        root=escape(root),
        figures="".join(f"<div><b>{number:,}</b><span>{name}</span></div>" for name, number in _figures(totals)),
        histogram=_bars(totals["bins"]),
        rows="".join(_row(rank, function) for rank, function in enumerate(top, start=1)),
        unparsed=_unparsed(totals["unparsed"]),
    )


def _figures(totals: Histogram) -> Iterable[tuple[str, int]]:
    return [
        ("files", totals["files"]),
        ("lines", totals["lines"]),
        ("functions", totals["functions"]),
        ("classes", totals["classes"]),
    ]


def _bars(bins: Sequence[tuple[str, int]]) -> str:
    """Horizontal bars, the longest as wide as there is room."""
    most = max((count for _, count in bins), default=0) or 1
    total = sum(count for _, count in bins) or 1
    room = _WIDTH - _LABEL - _COUNT
    height = len(bins) * (_BAR + _GAP)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Functions by complexity">',
    ]
    for index, (label, count) in enumerate(bins):
        y = index * (_BAR + _GAP)
        middle = y + _BAR / 2
        width = max(room * count / most, 1)
        parts.append(
            f'<text class="label" x="{_LABEL - 10}" y="{middle}">{escape(label)}</text>'
            f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="3">'
            f"<title>{count:,} functions of complexity {escape(label)}</title></rect>"
            f'<text x="{_LABEL + width + 8:.1f}" y="{middle}">{count:,} ({count / total:.1%})</text>'
        )
    return "".join([*parts, "</svg>"])


def _row(rank: int, function: Mapping[str, object]) -> str:
    place = f"{function['path']}:{function['line']}"
    return (
        f"<tr><td>{rank}</td><td><code>{escape(str(function['name']))}</code></td>"
        f"<td>{escape(place)}</td><td>{function['complexity']}</td></tr>"
    )


def _unparsed(paths: Sequence[str]) -> str:
    if not paths:
        return "Every file was parsed."
    listed = "".join(f"<li>{escape(path)}</li>" for path in paths)
    summary = f"{len(paths)} files do not parse (the library's tests have some on purpose)"
    return f"<details><summary>{summary}</summary><ul>{listed}</ul></details>"
