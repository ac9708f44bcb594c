"""flow.schedule: what it records, and what is wrong with it."""

from __future__ import annotations

from inspect import currentframe
from pathlib import Path
from typing import Any

import pytest

from pgflow import Flow
from pgflow.errors import FlowDefinitionError


def made(slug: str = "f") -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow(slug)
    flow.step(slug="a")(lambda: 1)
    return flow


def test_declaring_records_and_nothing_else() -> None:
    flow = made()
    shape = flow.shape()
    flow.schedule("*/5 * * * *")
    flow.schedule("0 3 * * *", tz="Europe/Berlin", input={"full": True}, name="nightly", catch_up="all")
    first, second = flow.schedules
    assert (first.name, first.cron, first.time_zone, first.input, first.catch_up) == (
        "f", "*/5 * * * *", "UTC", None, "last",
    )  # fmt: skip
    assert (second.name, second.time_zone, second.raw_input, second.catch_up) == (
        "nightly", "Europe/Berlin", b'{"full":true}', "all",
    )  # fmt: skip
    assert flow.shape() == shape


BAD = [
    ({"cron": "* * * *"}, "cron '* * * *' is not valid (it has not five fields)"),
    ({"cron": "0 0 31 2 *"}, "cron '0 0 31 2 *' is not valid"),
    ({"tz": "Berlin"}, "time zone 'Berlin' is not known here"),
    ({"catch_up": "some"}, "catch_up must be 'none', 'last' or 'all', not 'some'"),
    ({"input": {1, 2}}, "input: not JSON"),
    ({"name": "a b"}, "the name 'a b' is not valid"),
    ({"name": ""}, "the name '' is not valid"),
    ({"name": "x" * 101}, "is not valid"),
    ({"name": ["x"]}, "the name ['x'] is not valid"),
]


@pytest.mark.parametrize(("options", "fault"), BAD, ids=[fault for _, fault in BAD])
def test_bad_values_are_faults_with_file_and_line(options: dict[str, Any], fault: str) -> None:
    frame = currentframe()
    assert frame is not None
    flow = made()
    flow.schedule(**{"cron": "* * * * *", **options})
    with pytest.raises(FlowDefinitionError) as caught:
        flow.check()
    (found,) = caught.value.faults
    assert found.startswith(f"{Path(__file__).relative_to(Path.cwd())}:{frame.f_lineno - 4}: schedule ")
    assert fault in found


def test_two_of_one_name_and_all_other_faults_are_said_at_once() -> None:
    flow = made()
    flow.schedule("x")
    flow.schedule("* * * * *")
    with pytest.raises(FlowDefinitionError) as caught:
        flow.check()
    assert len(caught.value.faults) == 2
    assert "one of this name is declared at" in caught.value.faults[1]


def test_a_root_map_needs_a_list() -> None:
    flow: Flow[Any, Any] = Flow("f")
    flow.map(slug="each")(lambda n: n)
    flow.schedule("* * * * *", input=[1, 2])
    flow.check()
    flow.schedule("* * * * *", name="other", input={"no": "list"})
    with pytest.raises(FlowDefinitionError, match="input: it must be a list, for the root map step 'each'"):
        flow.check()
