"""Pictures: nothing overlaps, lines go downwards, and what is too large is not drawn."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from pgflow.web.graph import Drawing, draw


@st.composite
def dags(make: st.DrawFn) -> dict[str, list[str]]:
    """Steps in an order that has dependencies first."""
    slugs = [f"step_{n}" for n in range(make(st.integers(1, 12)))]
    return {
        slug: make(st.lists(st.sampled_from(slugs[:n]), unique=True, max_size=4) if n else st.just([]))
        for n, slug in enumerate(slugs)
    }


@settings(max_examples=50)
@given(dags())
def test_boxes_are_apart_and_within_the_picture(dependencies: dict[str, list[str]]) -> None:
    drawing = draw(dependencies, {})
    assert isinstance(drawing, Drawing)
    width, height = drawing.box
    for node in drawing.nodes:
        assert 0 <= node.x <= drawing.width - width
        assert 0 <= node.y <= drawing.height - height
    for one, other in combinations(drawing.nodes, 2):
        assert abs(one.x - other.x) >= width or abs(one.y - other.y) >= height


@settings(max_examples=50)
@given(dags())
def test_a_step_stands_below_all_that_it_waits_for_and_each_has_a_line(dependencies: dict[str, list[str]]) -> None:
    drawing = draw(dependencies, {})
    assert drawing is not None
    nodes = {node.slug: node for node in drawing.nodes}
    assert set(nodes) == set(dependencies)
    assert all(nodes[dep].y < nodes[slug].y for slug, before in dependencies.items() for dep in before)
    assert len(drawing.lines) == sum(map(len, dependencies.values()))


def test_a_line_that_passes_a_layer_goes_around_its_boxes() -> None:
    drawing = draw({"a": [], "b": ["a"], "c": ["a", "b"]}, {})
    assert drawing is not None
    passing = next(line for line in drawing.lines if line.count("C") == 2)
    middle = float(passing.split("V")[0].split()[-2])
    (b,) = (node for node in drawing.nodes if node.slug == "b")
    assert not b.x <= middle <= b.x + drawing.box[0]


def test_statuses_and_notes_are_those_given_and_long_slugs_are_cut() -> None:
    drawing = draw({"s" * 128: []}, {"s" * 128: ("failed", "3/10")})
    assert drawing is not None
    (node,) = drawing.nodes
    assert (node.status, node.note, node.label) == ("failed", "3/10", "s" * 19 + "…")


def test_what_has_no_steps_or_too_many_has_no_picture() -> None:
    assert draw({}, {}) is None
    assert draw({f"step_{n}": [] for n in range(201)}, {}) is None
