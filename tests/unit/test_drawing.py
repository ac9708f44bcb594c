"""Drawings of small flows, exactly."""

from __future__ import annotations

from typing import Any

from pgflow import Flow


def campaign() -> Flow[Any, Any]:
    flow = Flow("campaign")

    @flow.step
    def fetch() -> list[str]: ...

    @flow.map(over=fetch)
    def send(address: str) -> bool: ...

    @flow.step(run_if={"send": [True]})
    def track(send: list[bool], fetch: list[str]): ...

    @flow.map(initial_tasks=3)
    def ping(): ...

    return flow


def test_one_step_as_text():
    flow = Flow("hello")
    flow.step(slug="greet")(lambda: 1)
    assert str(flow) == "hello\n└─ greet"


def test_a_dag_as_text_by_depth():
    assert str(campaign()) == (
        "campaign\n└─ fetch\n└─ ping (map of 3)\n   └─ send (map) ← fetch\n      └─ track ← send, fetch"
    )


def test_one_step_as_mermaid():
    flow = Flow("hello")
    flow.step(slug="greet")(lambda: 1)
    assert flow.mermaid() == 'flowchart TD\n    greet["greet"]\n'


def test_a_dag_as_mermaid():
    assert campaign().mermaid() == (
        "flowchart TD\n"
        '    fetch["fetch"]\n'
        '    send[["send (map)"]]\n'
        '    track{{"track"}}\n'
        '    ping[["ping (map of 3)"]]\n'
        "    fetch --> send\n"
        "    send --> track\n"
        "    fetch --> track\n"
    )


def test_mermaids_own_words_are_no_node_names():
    flow = Flow("words")

    @flow.step
    def end(flow_input: Any) -> int: ...

    @flow.step
    def after(end: int) -> int: ...

    assert flow.mermaid() == 'flowchart TD\n    end_["end"]\n    after["after"]\n    end_ --> after\n'
