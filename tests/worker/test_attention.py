"""Which flows a poll asks for."""

from __future__ import annotations

from uuid import uuid4

import pytest

from pgflow.records import Polled, Task
from pgflow.worker.attention import Attention

MANY = [f"flow_{n}" for n in range(25)]
NOTHING = Polled((), None)


def ask(attention: Attention, polled: Polled = NOTHING, *first: str, is_full: bool = False) -> list[str]:
    with attention.asking(first) as flows:
        attention.learn(flows, polled, is_full=is_full)
    return list(flows)


def settled(attention: Attention) -> Attention:
    """Once each flow was asked for, as after the start."""
    while attention.pause(60) == 0:
        ask(attention)
    return attention


def task(flow_slug: str) -> Task:
    return Task(flow_slug, uuid4(), "step", 0, 1, b"1", None, 1, 1, 3, 60, 5)


def test_few_flows_are_always_asked_for_together():
    attention = Attention(["b", "a"])
    assert ask(attention) == ask(attention) == ["b", "a"]
    assert attention.pause(60) == 60


def test_at_the_start_each_flow_is_asked_for_once_and_then_in_turn():
    attention = Attention(MANY)
    asked = []
    while attention.pause(60) == 0:
        asked += ask(attention)
    assert sorted(asked) == sorted(MANY)
    turns = [flow for _ in range(5) for flow in ask(attention)]
    assert set(turns) == set(MANY)


def test_what_was_heard_of_comes_next_and_once():
    attention = settled(Attention(MANY))
    attention.notice(["flow_20", "flow_3", "flow_20"])
    assert attention.pause(60) == 0
    assert ask(attention) == ["flow_20", "flow_3"]
    assert attention.pause(60) == 60


def test_flows_whose_results_are_settled_are_asked_for_first():
    attention = settled(Attention(MANY))
    attention.notice(MANY[:15])
    assert ask(attention, NOTHING, "flow_22")[0] == "flow_22"


def test_a_full_poll_leaves_its_flows_noticed():
    attention = settled(Attention(MANY))
    attention.notice(["flow_5"])
    ask(attention, Polled((task("flow_5"),), None), is_full=True)
    assert ask(attention) == ["flow_5"]


def test_a_poll_that_fails_forgets_nothing():
    attention = settled(Attention(MANY))
    attention.notice(["flow_5"])
    with pytest.raises(ConnectionError), attention.asking():
        raise ConnectionError
    assert ask(attention) == ["flow_5"]


def test_the_next_message_is_waited_for_but_no_longer_than_was_said():
    attention = settled(Attention(MANY))
    attention.notice(["flow_5"])
    ask(attention, Polled((), 30.0))
    assert 29 < attention.pause(60) <= 30
    assert attention.pause(10) == 10


def test_a_message_that_is_due_makes_its_flow_the_next_one():
    attention = settled(Attention(MANY))
    attention.notice(["flow_5"])
    ask(attention, Polled((), 0.0))
    assert ask(attention) == ["flow_5"]
    assert attention.pause(60) == 60


def test_flows_that_come_are_asked_for_soon_and_those_that_go_no_more():
    attention = settled(Attention(MANY))
    attention.notice(["flow_3", "flow_4"])
    ask(attention, Polled((), 0.0), "flow_7")
    attention.serve(["new", *MANY[4:]])
    assert attention.pause(60) == 0
    assert sorted(ask(attention)) == ["flow_4", "flow_7", "new"]
    attention.notice(["flow_3", "unheard_of"])
    assert "flow_3" not in ask(attention, NOTHING, "flow_3", "unheard_of")


def test_a_few_flows_become_many_and_few_again():
    attention = Attention([])
    assert ask(attention) == []
    attention.serve(["a"])
    assert ask(attention) == ["a"]
    attention.serve(["a", *MANY])
    asked = []
    while attention.pause(60) == 0:
        asked += ask(attention)
    assert sorted(asked) == sorted(["a", *MANY])
    attention.serve(["b"])
    assert ask(attention, NOTHING, "a") == ["b"]
    assert attention.pause(60) == 60
