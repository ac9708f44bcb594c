"""Order and cycles of a dependency graph."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgflow.flow.graph import find_cycles, topological_order

NAMES = "abcdefg"
graphs = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=4)).map(
    lambda graph: {node: [dep for dep in deps if dep in graph] for node, deps in graph.items()}
)


@pytest.mark.parametrize(
    ("graph", "order"),
    [
        ({}, ""),
        ({"b": "a", "a": ""}, "ab"),
        ({"b": "", "a": ""}, "ba"),
        ({"d": "bc", "c": "a", "b": "a", "a": ""}, "acbd"),
        ({"a": "", "b": "aaa"}, "ab"),
        ({"a": "b", "b": "a", "c": "", "d": "a"}, "c"),
        ({"z": "c", "a": "", "b": "", "c": ""}, "abcz"),
    ],
)
def test_order_is_topological_and_else_as_defined(graph: dict[str, str], order: str):
    assert "".join(topological_order(graph)) == order


@given(graphs)
def test_a_node_comes_behind_all_it_depends_on(graph: dict[str, list[str]]):
    order = topological_order(graph)
    for node in order:
        assert all(order.index(dep) < order.index(node) for dep in graph[node])


@given(graphs)
def test_a_graph_has_a_cycle_exactly_if_some_node_has_no_place(graph: dict[str, list[str]]):
    assert bool(list(find_cycles(graph))) == (len(topological_order(graph)) < len(graph))


@given(graphs)
def test_cycles_follow_edges_come_back_and_share_no_node(graph: dict[str, list[str]]):
    seen: set[str] = set()
    for cycle in find_cycles(graph):
        assert cycle[0] == cycle[-1]
        assert all(dep in graph[node] for dep, node in pairwise(cycle))
        assert len(set(cycle)) == len(cycle) - 1
        assert not seen & set(cycle)
        seen |= set(cycle)


def test_a_long_chain_is_ordered():
    graph = {str(n): [str(n - 1)] if n else [] for n in reversed(range(5000))}
    assert topological_order(graph) == [str(n) for n in range(5000)]
    assert list(find_cycles(graph)) == []
