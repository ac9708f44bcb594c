"""Order and cycles of a dependency graph."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence


def topological_order(dependencies: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes, each behind all it depends on; among those that could come next, the first defined comes first.

        topological_order({"b": ["a"], "a": []})      # ['a', 'b']

    Nodes on a cycle, and those behind one, are left out. Kahn's algorithm.
    """
    position = {node: i for i, node in enumerate(dependencies)}
    waiting = {node: len(set(deps)) for node, deps in dependencies.items()}
    dependents: dict[str, list[str]] = {node: [] for node in dependencies}
    for node, deps in dependencies.items():
        for dep in set(deps):
            dependents[dep].append(node)
    ready = [(position[node], node) for node, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        _, node = heapq.heappop(ready)
        order.append(node)
        for dependent in dependents[node]:
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                heapq.heappush(ready, (position[dependent], dependent))
    return order


def find_cycle(dependencies: Mapping[str, Sequence[str]]) -> list[str] | None:
    """One cycle, as the nodes along the edges and back to the first; None if there is none.

    find_cycle({"a": ["b"], "b": ["a"]})          # ['a', 'b', 'a']
    """
    ordered = set(topological_order(dependencies))
    left = [node for node in dependencies if node not in ordered]
    if not left:
        return None
    # Every node that is left depends on another one that is left: walking must come back.
    path = [left[0]]
    while True:
        following = next(dep for dep in dependencies[path[-1]] if dep not in ordered)
        if following in path:
            return [*path[path.index(following) :], following][::-1]
        path.append(following)
