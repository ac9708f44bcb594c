"""Where the steps of a DAG and the lines between them stand in a picture: layer by layer, downwards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TypeAlias

from pgflow.flow.drawing import depths

#: More than this is no picture any more.
_MOST_STEPS, _MOST_LINES = 200, 1000

_WIDTH, _HEIGHT = 184, 46
_GAP, _LAYER = 20, 82
_MARGIN = 6
#: What a line takes on its way past a layer.
_LANE = 12
_LONGEST_LABEL = 20

#: A step, or where the line between two of them passes a layer.
_Place: TypeAlias = str | tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Node:
    """A step: the upper left corner of its box, its status (a class of the stylesheet) and a note."""

    slug: str
    label: str
    x: float
    y: float
    status: str
    note: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture in pixels: boxes, and lines as SVG has them."""

    width: float
    height: float
    nodes: list[Node]
    lines: list[str]
    box: tuple[int, int] = (_WIDTH, _HEIGHT)


def draw(dependencies: Mapping[str, Collection[str]], looks: Mapping[str, tuple[str, str]]) -> Drawing | None:
    """The picture of steps, each with its status and a note; they are given in an order that has dependencies first.

    draw({"fetch": [], "rank": ["fetch"]}, {"fetch": ("completed", "1/1"), "rank": ("started", "0/1")})

    None where there are none, or too many.
    """
    if not 0 < len(dependencies) <= _MOST_STEPS or sum(map(len, dependencies.values())) > _MOST_LINES:
        return None
    layers, chains = _layered(dependencies)
    middles, width = _placed(layers, chains)
    tops = {place: _MARGIN + row * _LAYER for row, layer in enumerate(layers) for place in layer}
    nodes = [
        Node(slug, _label(slug), middles[slug] - _WIDTH / 2, tops[slug], *looks.get(slug, ("", "")))
        for slug in dependencies
    ]
    lines = [_line([(middles[place], tops[place]) for place in chain]) for chain in chains]
    return Drawing(width, 2 * _MARGIN + (len(layers) - 1) * _LAYER + _HEIGHT, nodes, lines)


def _layered(dependencies: Mapping[str, Collection[str]]) -> tuple[list[list[_Place]], list[list[_Place]]]:
    """What stands in each layer, and what each line goes through from one step to the other."""
    depth = depths(dependencies)
    layers: list[list[_Place]] = [[] for _ in range(max(depth.values()) + 1)]
    for slug in dependencies:
        layers[depth[slug]].append(slug)
    chains: list[list[_Place]] = []
    for slug, before in dependencies.items():
        for dep in before:
            passed: list[_Place] = [(dep, slug, row) for row in range(depth[dep] + 1, depth[slug])]
            for row, place in enumerate(passed, start=depth[dep] + 1):
                layers[row].append(place)
            chains.append([dep, *passed, slug])
    return layers, chains


def _placed(layers: list[list[_Place]], chains: list[list[_Place]]) -> tuple[dict[_Place, float], float]:
    """The middle of each place, near the middle of those above that it hangs on; and the width of all."""
    above: defaultdict[_Place, list[_Place]] = defaultdict(list)
    for chain in chains:
        for upper, lower in pairwise(chain):
            above[lower].append(upper)
    middles: dict[_Place, float] = {}
    widest = max(sum(map(_breadth, layer)) for layer in layers)
    for layer in layers:
        layer.sort(key=lambda place: fmean(middles[upper] for upper in above[place]) if above[place] else 0.0)
        left = _MARGIN + (widest - sum(map(_breadth, layer))) / 2
        for place in layer:
            middles[place] = left + _breadth(place) / 2
            left += _breadth(place)
    return middles, widest + 2 * _MARGIN


def _breadth(place: _Place) -> int:
    return (_WIDTH if isinstance(place, str) else _LANE) + _GAP


def _line(points: list[tuple[float, float]]) -> str:
    """From below the first box to above the last, straight down past the layers between."""
    parts = [f"M{points[0][0]:g} {points[0][1] + _HEIGHT:g}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        bend = (to_y + y + _HEIGHT) / 2
        parts.append(f"C{x:g} {bend:g} {to_x:g} {bend:g} {to_x:g} {to_y:g}")
        parts.append(f"V{to_y + _HEIGHT:g}")
    return " ".join(parts[:-1])


def _label(slug: str) -> str:
    return slug if len(slug) <= _LONGEST_LABEL else f"{slug[: _LONGEST_LABEL - 1]}…"
