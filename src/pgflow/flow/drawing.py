"""Drawings of a DAG: as text, by layers, and as a Mermaid diagram."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgflow.flow.spec import FlowSpec, StepSpec

#: A node of such a name would break the diagram; the label stays.
_WORDS_OF_MERMAID = {"class", "click", "default", "end", "flowchart", "graph", "style", "subgraph"}


def text(spec: FlowSpec) -> str:
    """One line per step, indented by how many steps come before it at the least, with what it waits for.

    email_campaign
    └─ fetch_subscribers
       └─ send_email (map) ← fetch_subscribers
          └─ track_results ← send_email
    """
    steps = {step.slug: step for step in spec.steps_in_order}
    lines = [spec.slug]
    for slug, indent in indented({slug: step.depends_on for slug, step in steps.items()}).items():
        step = steps[slug]
        waits = f" ← {', '.join(step.depends_on)}" if step.depends_on else ""
        lines.append(f"{indent}{_label(step)}{waits}")
    return "\n".join(lines)


def indented(dependencies: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Steps by layers, each with what stands before it; they are given in an order that has dependencies first."""
    depth = depths(dependencies)
    return {slug: f"{'   ' * depth[slug]}└─ " for slug in sorted(depth, key=depth.__getitem__)}


def depths(dependencies: Mapping[str, Collection[str]]) -> dict[str, int]:
    """How many steps come before each at the least; they are given in an order that has dependencies first."""
    depth: dict[str, int] = {}
    for slug, before in dependencies.items():
        depth[slug] = max((depth[dep] + 1 for dep in before), default=0)
    return depth


def mermaid(spec: FlowSpec) -> str:
    """A `flowchart TD`; maps are drawn as stacks, conditional steps as hexagons."""
    lines = ["flowchart TD"]
    steps = spec.steps_in_order
    for step in steps:
        conditional = step.run_if is not None or step.run_unless is not None
        opening, closing = ("{{", "}}") if conditional else ("[[", "]]") if step.step_type == "map" else ("[", "]")
        lines.append(f'    {_node(step.slug)}{opening}"{_label(step)}"{closing}')
    for step in steps:
        lines += (f"    {_node(dep)} --> {_node(step.slug)}" for dep in step.depends_on)
    return "\n".join(lines) + "\n"


def _node(slug: str) -> str:
    return f"{slug}_" if slug.lower() in _WORDS_OF_MERMAID else slug


def _label(step: StepSpec) -> str:
    if step.step_type == "single":
        return step.slug
    return f"{step.slug} (map)" if step.initial_tasks is None else f"{step.slug} (map of {step.initial_tasks})"
