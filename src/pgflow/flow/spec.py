"""FlowSpec: a whole flow as data, checked as strictly as one in Python, with every error at its path.

    spec = FlowSpec.read('''
        slug: report
        steps:
          - slug: fetch
          - slug: summarize
            step_type: map
            depends_on: [fetch]
    ''')
    spec.shape()                          # what the database stores
    FlowSpec.model_json_schema()          # what to show to whoever writes such flows, a language model say

Nothing here does I/O. A flow of Python functions has a spec, too: `FlowSpec.of(flow)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails
from typing_extensions import TypedDict

from pgflow.errors import FlowDefinitionError, InvalidInputError
from pgflow.flow import codec, document, drawing, shape
from pgflow.flow.graph import topological_order
from pgflow.flow.options import LARGEST
from pgflow.flow.slugs import LONGEST_FLOW_SLUG, LONGEST_SLUG, SLUG_PATTERN, slug_fault
from pgflow.flow.spec_faults import line, reason, refusal, sketches
from pgflow.flow.spec_graph import MOST_DEPENDENCIES, MOST_STEPS, graph_faults
from pgflow.flow.step import SkipMode
from pgflow.records import StepType

if TYPE_CHECKING:
    from pgflow.flow.flow import Flow

#: Faults that are reported at most: whoever wrote more of them does not read on.
_MOST_FAULTS = 100
#: Limits of a pattern (`run_if`, `run_unless`): bytes of its JSON, and how deep it may be nested.
_MOST_BYTES = 64 * 1024
_DEEPEST = 32
_MOST_TASKS = 1_000_000

#: Options that a StepSpec and a decorated step's StepOptions share.
OPTIONS_OF_STEPS = (
    "initial_tasks",
    "max_attempts",
    "base_delay",
    "timeout",
    "start_delay",
    "run_if",
    "run_unless",
    "when_unmet",
    "when_exhausted",
)


def _flow_slug(slug: str) -> str:
    if fault := slug_fault(slug, "flow"):
        raise refusal(fault)
    return slug


def _step_slug(slug: str) -> str:
    if fault := slug_fault(slug, "step"):
        raise refusal(fault)
    return slug


def _plain_pattern(pattern: dict[str, Any]) -> dict[str, Any]:
    """The pattern as plain JSON types; refuses what is no JSON, or too much of it."""
    if (deep := _depth(pattern)) > _DEEPEST:
        raise refusal(f"nested {deep} levels deep: at most {_DEEPEST} are allowed")
    try:
        raw = codec.encode(pattern)
    except InvalidInputError as error:
        raise refusal(str(error)) from None
    if len(raw) > _MOST_BYTES:
        raise refusal(f"{len(raw):,} bytes of JSON: at most {_MOST_BYTES:,} are allowed")
    plain: dict[str, Any] = codec.decode(raw)
    return plain


def _depth(value: Any) -> int:
    """How many lists and dicts are around the innermost value, counted no further than needed."""
    depth, level = 0, [value]
    while level and depth <= _DEEPEST:
        level = [
            item
            for holder in level
            if isinstance(holder, list | dict)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        depth += 1
    return depth


_Count: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=LARGEST)]
_Timeout: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
_Pattern: TypeAlias = Annotated[dict[str, Any], AfterValidator(_plain_pattern)]
_SLUG_SCHEMA = {"pattern": SLUG_PATTERN, "minLength": 1}
_STRICT = ConfigDict(extra="forbid", frozen=True)


class StepFields(TypedDict, total=False):
    """What may be said of a step beside its slug; see StepSpec."""

    handler: str | None
    step_type: StepType
    depends_on: Sequence[str]
    initial_tasks: int | None
    max_attempts: int | None
    base_delay: int | None
    timeout: int | None
    start_delay: int | None
    run_if: dict[str, Any] | None
    run_unless: dict[str, Any] | None
    when_unmet: SkipMode
    when_exhausted: SkipMode


class StepSpec(BaseModel):
    """One step of a flow as data."""

    model_config = ConfigDict(
        **_STRICT,
        json_schema_extra={
            "description": "One step: a function that is run once its dependencies have completed, on their outputs.",
            "examples": [{"slug": "summarize", "step_type": "map", "depends_on": ["fetch"], "max_attempts": 5}],
        },
    )

    slug: Annotated[
        str,
        AfterValidator(_step_slug),
        Field(
            description="Names the step within its flow, and the function that does its work if `handler` names none. "
            "Letters, digits and _, not starting with a digit; unique in the flow; not `run`, `flow_input`, `ctx` or "
            "`deps`.",
            examples=["fetch", "summarize_page"],
            json_schema_extra={**_SLUG_SCHEMA, "maxLength": LONGEST_SLUG},
        ),
    ]
    handler: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="Name of the function that does the work, so that several steps can share one. Default: the slug.",
        examples=["summarize"],
    )
    step_type: StepType = Field(
        default="single",
        description="`single`: one task, whose input is {step: output} of the dependencies (the run's input if there "
        "are none). `map`: one task per element of the list that its only dependency returns (of the run's input if "
        "it has none); its output is the list of their results, in order.",
    )
    depends_on: Annotated[tuple[str, ...], Field(max_length=MOST_STEPS - 1)] = Field(
        default=(),
        description="Slugs of the steps that must have completed before this one starts, and whose outputs it gets. "
        "No cycles. A map has at most one: the step whose list it maps.",
        examples=[["fetch"]],
    )
    initial_tasks: Annotated[int, Field(strict=True, ge=0, le=_MOST_TASKS)] | None = Field(
        default=None,
        description="Only for maps. Without a dependency: so many tasks, whose elements are 0, 1, 2 …, whatever the "
        "run's input. With one: the length that its list must have; another length fails the step.",
        examples=[10],
    )
    max_attempts: _Count | None = Field(
        default=None, description="How often a task is tried in all. Default: the flow's.", examples=[5]
    )
    base_delay: _Count | None = Field(
        default=None,
        description="Seconds. After its n-th failed attempt a task waits for base_delay · 2ⁿ: twice base_delay before "
        "the first retry, then ever twice as long. Default: the flow's.",
        examples=[5],
    )
    timeout: _Timeout | None = Field(
        default=None, description="Seconds that one attempt may take. Default: the flow's.", examples=[120]
    )
    start_delay: _Count | None = Field(
        default=None, description="Seconds to wait before the step's tasks start. Default: none.", examples=[60]
    )
    run_if: _Pattern | None = Field(
        default=None,
        description="Run the step only if this JSON object is contained in the run's input (a step without "
        "dependencies) or in {step: output} of its dependencies. Contained: every key is there with the same value; "
        "objects within are compared likewise, lists by whether each given element occurs.",
        examples=[{"classify": {"language": "de"}}],
    )
    run_unless: _Pattern | None = Field(
        default=None,
        description="Do not run the step if this JSON object is contained there.",
        examples=[{"classify": {"spam": True}}],
    )
    when_unmet: SkipMode = Field(
        default="skip",
        description="What happens if `run_if` or `run_unless` keeps the step from running: `skip` it (what depends on "
        "it goes on without its output), `skip-cascade` (skip also all that depends on it), or `fail` the run.",
    )
    when_exhausted: SkipMode = Field(
        default="fail",
        description="What happens when a task has failed `max_attempts` times: `fail` the run, `skip` the step, or "
        "`skip-cascade` (skip also all that depends on it).",
    )

    @property
    def handled_by(self) -> str:
        """The name of the function that does the step's work."""
        return self.handler or self.slug


class FlowSpec(BaseModel):
    """A whole flow as data; see the module for an example. Equal to another one if it says the same.

    Raises pydantic's ValidationError, with all that is wrong; `load` and `read` say the same as FlowDefinitionError.
    Limits: 10,000 steps, 100,000 dependencies in all, patterns of 64 KB and 32 levels, 1,000,000 initial tasks.
    """

    model_config = ConfigDict(
        **_STRICT,
        json_schema_extra={
            "description": "A flow: steps that form a directed graph without cycles. A step starts when all steps it "
            "depends on have completed; steps that do not depend on each other run at the same time. The output of a "
            "run is {step: output} of the steps on which no other one depends.",
            "examples": [
                {
                    "slug": "research_report",
                    "max_attempts": 3,
                    "steps": [
                        {"slug": "search", "timeout": 30},
                        {"slug": "summarize", "step_type": "map", "depends_on": ["search"], "handler": "llm_summarize"},
                        {"slug": "report", "depends_on": ["search", "summarize"]},
                    ],
                }
            ],
        },
    )

    slug: Annotated[
        str,
        AfterValidator(_flow_slug),
        Field(
            description="Names the flow in the database. Letters, digits and _, not starting with a digit; not `run`.",
            examples=["research_report"],
            json_schema_extra={**_SLUG_SCHEMA, "maxLength": LONGEST_FLOW_SLUG},
        ),
    ]
    max_attempts: _Count | None = Field(
        default=None,
        description="How often a task is tried in all, where its step does not say. Default: 3.",
        examples=[3],
    )
    base_delay: _Count | None = Field(
        default=None,
        description="Seconds. After its n-th failed attempt a task waits for base_delay · 2ⁿ: twice base_delay before "
        "the first retry, then ever twice as long. Default: 5.",
        examples=[5],
    )
    timeout: _Timeout | None = Field(
        default=None, description="Seconds that one attempt may take. Default: 60.", examples=[60]
    )
    steps: Annotated[tuple[StepSpec, ...], Field(max_length=MOST_STEPS, json_schema_extra={"minItems": 1})] = Field(
        description=f"The steps, in any order; at most {MOST_STEPS:,}, with {MOST_DEPENDENCIES:,} dependencies in all."
    )

    # -- where it comes from

    @classmethod
    def read(cls, text: str) -> Self:
        """A spec from JSON or YAML text (YAML needs the extra `yaml`).

            FlowSpec.read('{"slug": "report", "steps": [{"slug": "fetch"}]}')

        Raises InvalidInputError where the text is neither, FlowDefinitionError with every fault and its path.
        """
        return cls.load(document.parse(text))

    @classmethod
    def load(cls, data: Any) -> Self:
        """A spec from plain data; raises FlowDefinitionError with every fault and its path.

        FlowSpec.load({"slug": "report", "steps": [{"slug": "fetch"}]})
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            slug = data.get("slug") if isinstance(data, Mapping) else None
            faults = [line(detail["loc"], detail["msg"]) for detail in error.errors(include_url=False)]
            raise FlowDefinitionError(str(slug or "?"), faults) from None

    @classmethod
    def faults(cls, data: Any) -> list[str]:
        """What is wrong with data that should be a spec, each with its path; empty if nothing is.

        FlowSpec.faults({"slug": "r", "steps": [{"slug": "fetch"}, {"slug": "rank", "depends_on": ["fech"]}]})
        # ["steps[1].depends_on[0]: no step 'fech'; did you mean 'fetch'?"]
        """
        try:
            cls.load(data)
        except FlowDefinitionError as error:
            return list(error.faults)
        return []

    @classmethod
    def of(cls, flow: Flow[Any, Any]) -> FlowSpec:
        """The spec of a flow of Python functions; raises FlowDefinitionError if that is not well formed."""
        return cls.model_construct(
            slug=flow.slug,
            max_attempts=flow.max_attempts,
            base_delay=flow.base_delay,
            timeout=flow.timeout,
            steps=tuple(
                StepSpec.model_construct(
                    slug=step.slug,
                    handler=step.handler,
                    step_type=step.step_type,
                    depends_on=step.dependencies,
                    **{name: getattr(step.options, name) for name in OPTIONS_OF_STEPS},
                )
                for step in flow.steps.values()
            ),
        )

    @classmethod
    def of_shape(cls, flow_slug: str, given: Mapping[str, Any]) -> FlowSpec:
        """The spec of a stored flow; not checked again, since it may have been stored by others and by other rules."""
        steps = tuple(StepSpec.model_construct(**shape.step_fields(step)) for step in given["steps"])
        return cls.model_construct(slug=flow_slug, steps=steps, **shape.options(given))

    # -- what it makes of itself

    @property
    def steps_in_order(self) -> tuple[StepSpec, ...]:
        """The steps, each behind those it depends on."""
        by_slug = {step.slug: step for step in self.steps}
        return tuple(by_slug[slug] for slug in topological_order({s.slug: s.depends_on for s in self.steps}))

    def shape(self) -> dict[str, Any]:
        """The flow's shape: what the database compares and stores (sql-core.md, 3)."""
        return shape.of(self)

    def sql(self) -> str:
        """The SQL statements that store the flow as one that is data, for psql or a migration."""
        return shape.sql(self) + shape.mark(self.slug)

    def mermaid(self) -> str:
        """The DAG as a Mermaid diagram."""
        return drawing.mermaid(self)

    def __str__(self) -> str:
        return drawing.text(self)

    # -- checks

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, handler: Any) -> Self:
        """Adds what is wrong between steps to what is wrong within them, so that all is said at once."""
        found: list[InitErrorDetails] = []
        try:
            spec: Self = handler(data)
        except ValidationError as error:
            found += (
                InitErrorDetails(type=refusal(reason(detail, _fields_at(detail))), loc=detail["loc"], input=None)
                for detail in islice(error.errors(include_url=False), _MOST_FAULTS)
            )
            steps = data.get("steps") if isinstance(data, Mapping) else None
        else:
            steps = spec.steps
        if isinstance(steps, list | tuple) and not steps:  # pydantic's own check would not count faulty steps
            found.append(InitErrorDetails(type=refusal("at least one is needed"), loc=("steps",), input=None))
        for place, fault in islice(graph_faults(sketches(steps)), _MOST_FAULTS):
            found.append(InitErrorDetails(type=refusal(fault), loc=place, input=None))
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found[:_MOST_FAULTS])
        return spec


def _fields_at(detail: ErrorDetails) -> Iterable[str]:
    """The keys that may stand where an error is."""
    return (StepSpec if len(detail["loc"]) > 1 else FlowSpec).model_fields


def check_head(slug: str, **options: int | None) -> FlowSpec:
    """A flow that has no steps yet; raises FlowDefinitionError."""
    placeholder = {"slug": "placeholder"}
    checked = FlowSpec.load({"slug": slug, **options, "steps": [placeholder]})
    return checked.model_copy(update={"steps": ()})


def make_step(flow_slug: str, slug: str, fields: Mapping[str, Any]) -> StepSpec:
    """One step, checked as if all it depends on were there; raises FlowDefinitionError."""
    try:
        step = StepSpec.model_validate({"slug": slug, **fields})
    except ValidationError as error:
        details = error.errors(include_url=False)
        faults = [f"step {slug!r}: {line(d['loc'], reason(d, StepSpec.model_fields))}" for d in details]
        raise FlowDefinitionError(flow_slug, faults) from None
    trusted = (StepSpec.model_construct(slug=dependency) for dependency in step.depends_on if dependency != slug)
    if faults := faults_of_last((*trusted, step)):
        raise FlowDefinitionError(flow_slug, faults)
    return step


def faults_of_last(steps: Sequence[StepSpec]) -> list[str]:
    """What is wrong between the last of these steps and the others."""
    last = len(steps) - 1
    return [
        f"step {steps[-1].slug!r}: {line(place[2:], fault)}"
        for place, fault in graph_faults(sketches(steps))
        if place[:2] == ("steps", last)
    ]
