"""examples/agent_flow.py: a flow written by a model is corrected by its errors, and runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from pgflow import AsyncClient, Worker

EXAMPLE = Path(__file__).parents[2] / "examples" / "agent_flow.py"


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("agent_flow", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_first_draft_is_sent_back_and_the_second_one_runs(dsn, example, capsys):
    said = "Bees dance to tell each other where nectar is. Wasps chew wood into paper."
    assert example.answer("What do bees and wasps do?", dsn) == said
    assert capsys.readouterr().out == (
        "sent back:\n"
        "- steps[1].type: there is no such key; did you mean 'step_type'?\n"
        "- steps[2].depends_on[0]: no step 'reed'; did you mean 'read'?\n"
        "answer_question\n└─ search\n   └─ read (map) ← search\n      └─ facts (map) ← read\n"
        "         └─ answer ← facts\n"
    )


def test_a_tool_that_is_not_there_is_sent_back_too(example, capsys, monkeypatch):
    draft = example.ANSWERS[1].replace("shorten", "sharten")
    monkeypatch.setattr(example, "ANSWERS", [draft, "no flow at all: [", draft])
    with pytest.raises(RuntimeError, match="no flow after 3 tries"):
        example.plan("anything")
    out = capsys.readouterr().out
    assert "- step 'facts' needs a handler 'sharten'; did you mean 'shorten'?" in out
    assert "- no YAML: " in out


async def test_a_worker_with_the_tools_serves_such_flows_as_well(dsn, example):
    async with Worker([example.tools], dsn=dsn), AsyncClient(dsn) as client:
        await client.compile(example.plan("ants"))
        run = await client.wait(await client.start("answer_question", {"question": "ants"}), timeout=60)
    assert run.output == {"answer": "Ants farm aphids for honeydew."}
