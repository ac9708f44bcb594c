"""Drawings of a DAG: as text, by layers, and as a Mermaid diagram."""

from __future__ import annotations

from typing import Any

from pgflow.flow.plan import Plan
from pgflow.flow.step import Step

#: A node of such a name would break the diagram; the label stays.
_WORDS_OF_MERMAID = {"class", "click", "default", "end", "flowchart", "graph", "style", "subgraph"}


def text(flow_slug: str, plan: Plan) -> str:
    """One line per step, indented by how many steps come before it at the least, with what it waits for.

    email_campaign
    └─ fetch_subscribers
       └─ send_email (map) ← fetch_subscribers
          └─ track_results ← send_email
    """
    depth: dict[str, int] = {}
    lines = [flow_slug]
    for slug in plan.steps:
        dependencies = plan.dependencies[slug]
        depth[slug] = 1 + max((depth[dep] for dep in dependencies), default=0)
    for slug, step in sorted(plan.steps.items(), key=lambda item: depth[item[0]]):
        dependencies = plan.dependencies[slug]
        waits = f" ← {', '.join(dependencies)}" if dependencies else ""
        lines.append(f"{'   ' * (depth[slug] - 1)}└─ {_label(step)}{waits}")
    return "\n".join(lines)


def mermaid(plan: Plan) -> str:
    """A `flowchart TD`; maps are drawn as stacks, conditional steps as hexagons."""
    lines = ["flowchart TD"]
    for slug, step in plan.steps.items():
        label = f'"{_label(step)}"'
        conditional = step.options.run_if is not None or step.options.run_unless is not None
        opening, closing = ("{{", "}}") if conditional else ("[[", "]]") if step.step_type == "map" else ("[", "]")
        lines.append(f"    {_node(slug)}{opening}{label}{closing}")
    for slug in plan.steps:
        lines += (f"    {_node(dep)} --> {_node(slug)}" for dep in plan.dependencies[slug])
    return "\n".join(lines) + "\n"


def _node(slug: str) -> str:
    return f"{slug}_" if slug.lower() in _WORDS_OF_MERMAID else slug


def _label(step: Step[Any, Any]) -> str:
    if step.step_type == "single":
        return step.slug
    count = step.options.initial_tasks
    return f"{step.slug} (map)" if count is None else f"{step.slug} (map of {count})"
