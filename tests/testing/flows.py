"""Random flows, inputs and outputs for the model's tests: a small world, so that conditions are often met."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

#: What ends a run least often.
SKIP_MODES = ("skip", "skip-cascade", "skip", "skip-cascade", "fail")

#: What handlers return; lists for the steps that maps go over are made apart.
OUTPUTS: tuple[Any, ...] = (
    {"ok": True},
    {"ok": True, "of": "many"},
    {"ok": False},
    [],
    [1, 2],
    0,
    "",
    False,
    None,
    {"ok": True, "n": [1, {"x": 2}]},
)
#: What a dependency's output must (or must not) contain.
_PATTERNS: tuple[Any, ...] = ({"ok": True}, {"ok": False}, [], [1], 0, False, None, {"n": [{"x": 2}]}, {})
#: The same of a run's input.
_INPUT_PATTERNS: tuple[Any, ...] = ({"go": True}, {"go": False}, {"n": [1]}, {})
_INPUTS: tuple[Any, ...] = ({"go": True}, {"go": False, "n": [1, 2]}, {"go": True, "n": []}, {})

#: With 6, some are left when a task is given up.
_ATTEMPTS = st.sampled_from((2, 6, 1, 6, 0, 3, 6))


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, Any]:
    """A flow of up to 12 steps."""
    steps: list[dict[str, Any]] = []
    for index in range(draw(st.sampled_from((1, 2, 3, 4, 5, 6, 8, 10, 12)))):
        steps.append(draw(_steps(f"s{index}", [s["slug"] for s in steps])))
    shape: dict[str, Any] = {"steps": steps}
    if draw(st.booleans()):
        shape["options"] = {"maxAttempts": draw(_ATTEMPTS), "baseDelay": 100, "timeout": 140}
    else:
        shape["options"] = {"baseDelay": 100, "timeout": 40}
    return shape


@st.composite
def _steps(draw: st.DrawFn, slug: str, earlier: list[str]) -> dict[str, Any]:
    is_map = draw(st.integers(0, 2)) == 0
    most = min(len(earlier), 1 if is_map else 3)
    # near ancestors first, so that long chains come about as well as wide layers
    dependencies = draw(st.lists(st.sampled_from(earlier[::-1]), max_size=most, unique=True)) if earlier else []
    if earlier and not dependencies and draw(st.booleans()):
        dependencies = [earlier[-1]]
    step: dict[str, Any] = {
        "slug": slug,
        "stepType": "map" if is_map else "single",
        "dependencies": sorted(dependencies),
        "whenUnmet": draw(st.sampled_from(SKIP_MODES)),
        "whenExhausted": draw(st.sampled_from(SKIP_MODES)),
        "requiredInputPattern": draw(_patterns(dependencies)),
        "forbiddenInputPattern": draw(_patterns(dependencies)),
    }
    options = {"maxAttempts": _ATTEMPTS, "baseDelay": st.just(0), "timeout": st.sampled_from((40, 140)),
               "startDelay": st.just(100)}  # fmt: skip
    given = {name: draw(values) for name, values in options.items() if draw(st.integers(0, 5)) == 0}
    if given:
        step["options"] = given
    if is_map and draw(st.integers(0, 5)) == 0:
        step["initialTasks"] = draw(st.integers(0, 3))
    return step


@st.composite
def _patterns(draw: st.DrawFn, dependencies: list[str]) -> dict[str, Any]:
    if draw(st.integers(0, 6)) > 0:
        return {"defined": False}
    if not dependencies:
        return {"defined": True, "value": draw(st.sampled_from(_INPUT_PATTERNS))}
    dependency = draw(st.sampled_from(dependencies))
    return {"defined": True, "value": {dependency: draw(st.sampled_from(_PATTERNS))}}


def takes_a_list(shape: dict[str, Any]) -> bool:
    """Whether the flow's input must be a list."""
    return any(s["stepType"] == "map" and not s["dependencies"] and "initialTasks" not in s for s in shape["steps"])


def inputs(shape: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Inputs that a run of this flow can be started with."""
    if takes_a_list(shape):
        return st.lists(st.sampled_from((1, None, "x", {"ok": True})), max_size=5)
    return st.sampled_from(_INPUTS)


#: Lists for maps, of many lengths; what is no list at all violates the type.
LISTS: tuple[Any, ...] = (
    [1],
    [1, 2, 3],
    [],
    [None, {"a": [1]}],
    [0, 0, 0, 0, 0],
    [1, 2],
    [3, 1, 2, "x"],
    [False, ""],
    [[], {}, [1]],
    [5, 4],
    {"no": "list"},
    None,
)
