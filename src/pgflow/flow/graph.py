"""Order and cycles of a dependency graph."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence


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


def find_cycles(dependencies: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Cycles that share no node, as the nodes along the edges and back to the first; at least one if there is any.

    list(find_cycles({"a": ["b"], "b": ["a"]}))   # [['a', 'b', 'a']]
    """
    left: Mapping[str, Sequence[str]] = dependencies
    while True:
        done = set(topological_order(left))
        left = _without(done, left)
        if not left:
            return
        cycle = _a_cycle(left)
        yield cycle
        left = _without(set(cycle), left)


def _without(nodes: set[str], dependencies: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {node: [dep for dep in deps if dep not in nodes] for node, deps in dependencies.items() if node not in nodes}


def _a_cycle(left: Mapping[str, Sequence[str]]) -> list[str]:
    """Every node that is left depends on another one that is left: walking must come back."""
    node = next(iter(left))
    path: dict[str, int] = {}  # nodes by their position
    while node not in path:
        path[node] = len(path)
        node = left[node][0]
    return [*list(path)[path[node] :], node][::-1]
