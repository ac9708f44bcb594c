"""FlowSpec: flows as data, checked strictly, with every error at its path."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from pgflow import Flow, FlowSpec, StepSpec
from pgflow.errors import FlowDefinitionError, InvalidInputError
from tests.unit.test_shape import plain, rich

YAML = """
slug: report
timeout: 30
steps:
  - slug: fetch
  - {slug: summarize, step_type: map, depends_on: [fetch], handler: llm, max_attempts: 5}
  - slug: join
    depends_on: [summarize, fetch]
    run_if: {fetch: ["a"]}
"""
JSON = """
{"slug": "report", "timeout": 30, "steps": [
  {"slug": "fetch"},
  {"slug": "summarize", "step_type": "map", "depends_on": ["fetch"], "handler": "llm", "max_attempts": 5},
  {"slug": "join", "depends_on": ["summarize", "fetch"], "run_if": {"fetch": ["a"]}}]}
"""


def steps(*given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"slug": "f", "steps": list(given), **more}


def test_json_and_yaml_say_the_same():
    spec = FlowSpec.read(YAML)
    assert spec == FlowSpec.read(JSON) == FlowSpec.load(json.loads(JSON))
    assert [step.slug for step in spec.steps] == ["fetch", "summarize", "join"]
    fetch, summarize, join = spec.steps
    assert (fetch.handled_by, summarize.handled_by, summarize.max_attempts) == ("fetch", "llm", 5)
    assert (join.depends_on, join.run_if, join.when_unmet) == (("summarize", "fetch"), {"fetch": ["a"]}, "skip")


a, b = {"slug": "a"}, {"slug": "b", "depends_on": ["a"]}
FAULTS = [
    ({"slug": "f"}, "steps: is missing"),
    (steps(), "steps: at least one is needed"),
    ([], "Input should be an object (got [])"),
    (steps(a, slug="a-b"), "slug: flow slug 'a-b' is not valid"),
    (steps(a, slug="run"), "slug: flow slug 'run' is not valid: the word is reserved"),
    (steps(a, slug="x" * 48), "is too long: 48 characters, at most 47 are allowed"),
    (steps({"slug": "x" * 129}), "steps[0].slug: step slug 'xxx"),
    (steps({"slug": "deps"}), "steps[0].slug: step slug 'deps' is not valid: parameters of this name"),
    (steps({"slug": 5}), "steps[0].slug: Input should be a valid string (got 5)"),
    (steps(a, stpes=[]), "stpes: there is no such key; did you mean 'steps'?"),
    (
        steps({**a, "retry_on": "OSError"}),
        "steps[0].retry_on: this option belongs to the handler, not to the flow's spec",
    ),
    (steps(a, max_delay=5), "max_delay: this option belongs to the handler, not to the flow's spec: @handlers(…, max"),
    (steps({**a, "type": "map"}), "steps[0].type: there is no such key; did you mean 'step_type'?"),
    (steps({**a, "step_type": "many"}), "steps[0].step_type: Input should be 'single' or 'map' (got 'many')"),
    (steps({**a, "timeout": 0}), "steps[0].timeout: Input should be greater than or equal to 1 (got 0)"),
    (steps({**a, "timeout": "5"}), "steps[0].timeout: Input should be a valid integer (got '5')"),
    (steps({**a, "timeout": True}), "steps[0].timeout: Input should be a valid integer (got True)"),
    (steps({**a, "max_attempts": 2**31}), "steps[0].max_attempts: Input should be less than"),
    (steps({**a, "initial_tasks": 1}), "steps[0].initial_tasks: initial_tasks is for maps"),
    (steps({**a, "step_type": "map", "initial_tasks": 10**6 + 1}), "steps[0].initial_tasks: Input should be less than"),
    (steps({**a, "when_unmet": "ignore"}), "steps[0].when_unmet: Input should be 'fail', 'skip' or 'skip-cascade'"),
    (steps({**a, "run_if": [1]}), "steps[0].run_if: Input should be an object (got [1])"),
    (steps({**a, "run_if": {"x": {1}}}), "steps[0].run_if: not JSON: a value of type set is no JSON, at $.x"),
    (steps({**a, "run_if": {"x": "y" * 65536}}), "steps[0].run_if: 65,544 bytes of JSON: at most 65,536 are allowed"),
    (steps({**a, "handler": ""}), "steps[0].handler: String should have at least 1 character"),
    (steps(a, b, {**b, "depends_on": []}), "steps[2].slug: steps[1] has the slug 'b' already"),
    (steps(a, {**b, "depends_on": ["c"]}), "steps[1].depends_on[0]: no step 'c'"),
    (steps({"slug": "fetch"}, {**b, "depends_on": ["fech"]}), "[0]: no step 'fech'; did you mean 'fetch'?"),
    (steps({**b, "depends_on": ["b"]}), "steps[0].depends_on[0]: a step cannot depend on itself"),
    (steps(a, {**b, "depends_on": ["a", "a"]}), "steps[1].depends_on[1]: 'a' is named twice"),
    (steps(a, {**b, "depends_on": "a"}), "steps[1].depends_on: Input should be a list (got 'a')"),
    (
        steps(a, b, {"slug": "m", "step_type": "map", "depends_on": ["a", "b"]}),
        "steps[2].depends_on: a map has at most one dependency, the step whose list it maps, but 2 are given",
    ),
    (steps({**a, "depends_on": ["b"]}, b), "steps[0].depends_on: the steps wait for each other: a → b → a"),
    (steps(a, {**b, "run_if": {"aa": 1}}), "steps[1].run_if.aa: no dependency of this step; did you mean 'a'?"),
]


@pytest.mark.parametrize(("data", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_each_fault_is_said_at_its_path(data: Any, fault: str):
    (said,) = FlowSpec.faults(data)
    assert fault in said
    with pytest.raises(FlowDefinitionError) as raised:
        FlowSpec.load(data)
    assert raised.value.faults == (said,)


def test_all_faults_are_said_at_once_those_within_steps_and_those_between():
    data = steps(
        {"slug": "fetch", "timeout": "x"}, {"slug": "rank", "depnds_on": []}, {**b, "depends_on": ["rnk"]}, m=1
    )
    assert [fault.split(":")[0] for fault in FlowSpec.faults(data)] == [
        "steps[0].timeout", "steps[1].depnds_on", "m", "steps[2].depends_on[0]",
    ]  # fmt: skip


def test_pydantic_callers_get_the_same_with_locations():
    with pytest.raises(ValidationError) as raised:
        FlowSpec(slug="f", steps=[StepSpec(slug="a"), StepSpec(slug="b", depends_on=["c"], timeout=3)])
    assert [(error["loc"], error["msg"]) for error in raised.value.errors()] == [
        (("steps", 1, "depends_on", 0), "no step 'c'")
    ]


def test_what_is_well_formed_has_no_faults_and_cannot_change():
    spec = FlowSpec(slug="f", steps=[StepSpec(slug="b", depends_on=["a"]), StepSpec(slug="a")])
    assert FlowSpec.faults(spec) == []
    assert [step.slug for step in spec.steps_in_order] == ["a", "b"]
    with pytest.raises(ValidationError, match="frozen"):
        spec.slug = "g"


@pytest.mark.parametrize("given", [None, b"slug: report", {"slug": "report"}])
def test_what_is_no_text_at_all(given: Any):
    with pytest.raises(InvalidInputError, match=f"expected a JSON or YAML text, not {type(given).__name__}"):
        FlowSpec.read(given)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Input should be an object (got None)"),
        ("just words", "Input should be an object (got 'just words')"),
        ('{"slug": "f", "steps": [{"slug": "no"}]', "no JSON: Expecting"),
        ('{"slug": "f", "slug": "g"}', "the key 'slug' is given twice in one object"),
        ('{"slug": NaN}', "NaN is no JSON number"),
        ("[" * 100_000, "nested too deeply"),
        ("a: [1", "no YAML: while parsing a flow sequence"),
        ("slug: f\nslug: g", "line 2: the key 'slug' is given twice"),
        ("1: f", "line 1: a key must be a text"),
        ("slug: &x f\nsteps: *x", "line 2: aliases are not allowed"),
        ("slug: !!python/name:os.system", "no YAML: could not determine a constructor"),
        ("x: " + "[" * 400, "nested too deeply"),
        ("slug: " + "x" * 1_000_000, "1,000,006 characters of YAML: at most 1,000,000 are read"),
        ('{"slug": "' + "x" * 10_000_000, "10,000,010 characters of JSON: at most 10,000,000 are read"),
    ],
)
def test_texts_that_are_no_document(text: str, fault: str):
    with pytest.raises((InvalidInputError, FlowDefinitionError)) as raised:
        FlowSpec.read(text)
    assert fault in str(raised.value)
    assert "\n" not in str(raised.value)


def test_words_of_yaml_stay_words():
    (step,) = FlowSpec.read("""
slug: f
steps:
- slug: no
  run_if: {country: NO, on: yes, day: 2026-01-02, at: 12:30, mode: 010, n: 10, x: 1.5, e: -2e3, y: true, z: null, w: ~}
""").steps
    assert step.slug == "no"
    assert step.run_if == {
        "country": "NO", "on": "yes", "day": "2026-01-02", "at": "12:30", "mode": "010",
        "n": 10, "x": 1.5, "e": -2000.0, "y": True, "z": None, "w": None,
    }  # fmt: skip


def test_without_pyyaml_json_is_read_and_yaml_says_what_it_needs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert FlowSpec.read(JSON).slug == "report"
    with pytest.raises(InvalidInputError, match=r"pip install 'py-pgflow\[yaml\]'"):
        FlowSpec.read(YAML)


def test_limits_on_size():
    chain = [{"slug": "s0"}, *({"slug": f"s{n}", "depends_on": [f"s{n - 1}"]} for n in range(1, 10_000))]
    assert FlowSpec.faults(steps(*chain)) == []
    assert FlowSpec.faults(steps(*chain, {"slug": "more"})) == ["steps: at most 10,000 are allowed"]
    many = [{"slug": f"s{n}", "depends_on": [f"t{m}" for m in range(101)]} for n in range(1_000)]
    assert FlowSpec.faults(steps(*many)) == ["steps: 101,000 dependencies in all: at most 100,000 are allowed"]
    deep: dict[str, Any] = {}
    for _ in range(32):
        deep = {"x": deep}
    (fault,) = FlowSpec.faults(steps({"slug": "a", "run_if": deep}))
    assert fault == "steps[0].run_if: nested 33 levels deep: at most 32 are allowed"


def test_whoever_means_harm_gets_few_words_and_soon():
    many = range(3_000)
    ring = [{"slug": f"s{n}", "depends_on": [f"s{(n + 1) % len(many)}"]} for n in many]
    pairs = [{"slug": f"s{n}", "depends_on": [f"s{n ^ 1}"]} for n in many]
    strangers = [{"slug": f"s{n}", "depends_on": [f"t{n}"]} for n in many]
    keys = [{f"x{n}": 1} for n in many]
    started = time.process_time()
    (ringed,) = FlowSpec.faults(steps(*ring))
    assert len(ringed) < 200
    assert len(FlowSpec.faults(steps(*pairs))) == 10
    assert len(FlowSpec.faults(steps(*strangers))) == len(FlowSpec.faults(steps(*keys))) == 100
    assert time.process_time() - started < 30  # of the processor's: one, on a quiet machine


# ------------------------------------------------------------------------------------ conversions


@pytest.mark.parametrize("make", [plain, rich])
def test_a_flow_of_functions_has_a_spec_of_the_same_shape(make: Any):
    flow = make()
    spec = FlowSpec.of(flow)
    assert spec.shape() == flow.shape()
    assert (str(spec), spec.mermaid()) == (str(flow), flow.mermaid())
    assert FlowSpec.of_shape(flow.slug, flow.shape()).shape() == flow.shape()


def test_a_spec_survives_as_json():
    spec = FlowSpec.read(YAML)
    assert FlowSpec.read(json.dumps(spec.model_dump(mode="json", exclude_defaults=True))) == spec


def test_the_handler_is_in_the_shape_only_where_one_is_named():
    first, second, _ = FlowSpec.read(YAML).shape()["steps"]
    assert "handler" not in first
    assert second["handler"] == "llm"
    assert FlowSpec.of_shape("report", FlowSpec.read(YAML).shape()).steps[1].handler == "llm"


def test_a_spec_is_drawn_as_a_flow_is():
    assert str(FlowSpec.read(YAML)) == (
        "report\n└─ fetch\n   └─ summarize (map) ← fetch\n      └─ join ← summarize, fetch"
    )


# ------------------------------------------------------------------------------------ for whoever writes specs


def test_the_json_schema_explains_every_field():
    schema = FlowSpec.model_json_schema()
    step = schema["$defs"]["StepSpec"]
    for model in (schema, step):
        assert model["additionalProperties"] is False
        assert len(model["description"]) > 50
        assert ">>>" not in model["description"]
        assert model["examples"]
        for name, field in model["properties"].items():
            assert len(field["description"]) > 20, name
    assert step["properties"]["step_type"]["enum"] == ["single", "map"]
    assert step["properties"]["when_exhausted"]["enum"] == ["fail", "skip", "skip-cascade"]
    assert schema["properties"]["steps"]["maxItems"] == 10_000
    assert (schema["properties"]["slug"]["maxLength"], step["properties"]["slug"]["maxLength"]) == (47, 128)
    assert step["properties"]["slug"]["pattern"] == "^[a-zA-Z_][a-zA-Z0-9_]*$"
    assert (schema["required"], step["required"]) == (["slug", "steps"], ["slug"])


def test_the_examples_of_the_json_schema_are_well_formed():
    schema = FlowSpec.model_json_schema()
    for example in schema["examples"]:
        assert FlowSpec.faults(example) == []
    for example in schema["$defs"]["StepSpec"]["examples"]:
        assert StepSpec.model_validate(example).slug == "summarize"


def by_the_schema(data: Any) -> list[str]:
    """What the JSON schema alone, which is all that a language model sees, says against a spec."""
    schema = FlowSpec.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(data)]


@pytest.mark.parametrize("text", [YAML, JSON, json.dumps(FlowSpec.model_json_schema()["examples"][0])])
def test_the_json_schema_accepts_what_is_well_formed(text: str):
    assert by_the_schema(FlowSpec.read(text).model_dump(mode="json")) == []
    assert by_the_schema(FlowSpec.read(text).model_dump(mode="json", exclude_defaults=True)) == []


#: What no schema can say: what holds between steps, reserved words, whether Python has it as JSON, sizes in bytes.
BETWEEN = (
    "reserved", "parameters of this name", "for maps", "not JSON", "bytes of JSON", "has the slug", "no step", "itself",
    "twice", "at most one dependency", "wait for each other", "no dependency of this step",
)  # fmt: skip


@pytest.mark.parametrize(("data", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_the_json_schema_refuses_what_a_schema_can(data: Any, fault: str):
    (said,) = FlowSpec.faults(data)
    assert bool(by_the_schema(data)) is not any(words in said for words in BETWEEN), said


def test_an_empty_flow_of_functions_has_no_spec():
    with pytest.raises(FlowDefinitionError, match="it has no steps"):
        FlowSpec.of(Flow("empty"))
