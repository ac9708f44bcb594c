"""What can be wrong between the steps of a flow that is data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from pgflow.flow.graph import find_cycles
from pgflow.flow.slugs import did_you_mean

MOST_STEPS = 10_000
MOST_DEPENDENCIES = 100_000
#: Near misses are looked for among so many names at most: a look costs time per name.
_MOST_NAMES = 1_000
_MOST_CYCLES = 10

#: Where a fault is, and what it is.
Fault: TypeAlias = tuple[tuple[str | int, ...], str]


@dataclass(frozen=True, slots=True)
class Sketch:
    """What matters of a step here; a name that is no text is None, and passed over."""

    index: int
    slug: str | None
    depends_on: Sequence[str | None]
    is_map: bool
    has_initial_tasks: bool
    patterns: Mapping[str, Sequence[str | None]]

    def at(self, *more: str | int) -> tuple[str | int, ...]:
        return ("steps", self.index, *more)


def graph_faults(steps: Iterable[Sketch]) -> Iterator[Fault]:
    """Every fault with its place; found as they are asked for."""
    steps = list(steps)
    edges = sum(len(step.depends_on) for step in steps)
    if len(steps) > MOST_STEPS:
        return  # said already, as a fault of the field
    if edges > MOST_DEPENDENCIES:
        yield ("steps",), f"{edges:,} dependencies in all: at most {MOST_DEPENDENCIES:,} are allowed"
        return
    first: dict[str, Sketch] = {}
    for step in steps:
        if step.slug is not None and first.setdefault(step.slug, step) is not step:
            yield step.at("slug"), f"steps[{first[step.slug].index}] has the slug {step.slug!r} already"
    for step in steps:
        yield from _dependency_faults(step, first)
        for name, keys in step.patterns.items():
            yield from ((step.at(name, key), fault) for key, fault in pattern_faults(step.depends_on, keys))
        if step.has_initial_tasks and not step.is_map:
            yield step.at("initial_tasks"), "initial_tasks is for maps: set step_type to 'map', or leave it out"
    yield from _cycle_faults(first)


def _dependency_faults(step: Sketch, known: Mapping[str, Sketch]) -> Iterator[Fault]:
    seen: set[str] = set()
    for n, slug in enumerate(step.depends_on):
        if slug is None:
            continue
        if slug == step.slug:
            yield step.at("depends_on", n), "a step cannot depend on itself"
        elif slug not in known:
            near = did_you_mean(slug, [s for s in known if s != step.slug]) if len(known) <= _MOST_NAMES else ""
            yield step.at("depends_on", n), f"no step {slug!r}{near}"
        elif slug in seen:
            yield step.at("depends_on", n), f"{slug!r} is named twice"
        seen.add(slug)
    if step.is_map and len(step.depends_on) > 1:
        yield (
            step.at("depends_on"),
            f"a map has at most one dependency, the step whose list it maps, but {len(step.depends_on)} are given: "
            "collect their outputs in a single step before it",
        )


def pattern_faults(depends_on: Sequence[str | None], keys: Iterable[str | None]) -> Iterator[tuple[str, str]]:
    """Each key of a pattern that is wrong, and why: it is looked for in {step: output} of the dependencies, where no
    other key could ever be. Without dependencies it is looked for in the run's input, which may have any."""
    if not depends_on:
        return
    for key in keys:
        if key is not None and key not in depends_on:
            near = did_you_mean(key, [slug for slug in depends_on[:_MOST_NAMES] if slug is not None])
            yield key, f"no dependency of this step{near}"


def _cycle_faults(steps: Mapping[str, Sketch]) -> Iterator[Fault]:
    edges = {
        slug: [dep for dep in step.depends_on if dep is not None and dep in steps and dep != slug]
        for slug, step in steps.items()
    }
    for cycle in islice(find_cycles(edges), _MOST_CYCLES):
        shown = cycle if len(cycle) <= 12 else [*cycle[:6], "…", *cycle[-5:]]
        yield steps[cycle[0]].at("depends_on"), f"the steps wait for each other: {' → '.join(shown)}"
