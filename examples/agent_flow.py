"""A flow that a language model writes: it is checked, sent back with its errors, and run on tools of ours.

    python examples/agent_flow.py

The model here is a recording, so that the example needs no account; put a call to yours in place of `ask`. What it
writes is data, never code: it can only name the functions in `tools`.
"""

from __future__ import annotations

import json
from typing import Any

import pgflow
from pgflow.errors import FlowDefinitionError, InvalidInputError

LIBRARY = {
    "bees": "Bees dance to tell each other where nectar is. A hive of bees keeps its brood at 35 °C.",
    "wasps": "Wasps chew wood into paper. Most wasps live alone.",
    "ants": "Ants farm aphids for honeydew.",
}

# ------------------------------------------------------------------------------------- what a flow may be made of

tools = pgflow.Handlers()


@tools
def search(flow_input: dict[str, Any]) -> list[str]:
    """The titles that a question mentions."""
    return [title for title in LIBRARY if title in flow_input["question"].lower()]


@tools
def read(input: str) -> dict[str, str]:
    """One title -> its text (for a map)."""
    return {"title": input, "text": LIBRARY[input]}


@tools
def shorten(input: dict[str, str]) -> str:
    """One text -> its first sentence (for a map)."""
    return input["text"].split(". ")[0].rstrip(".") + "."


@tools
def collect(deps: dict[str, Any]) -> str:
    """Whatever lists came before -> one text."""
    return " ".join(line for lines in deps.values() for line in lines)


# ------------------------------------------------------------------------------------- the model, recorded

ANSWERS = [
    """{"slug": "answer_question", "steps": [
        {"slug": "search"},
        {"slug": "read", "type": "map", "depends_on": ["search"]},
        {"slug": "facts", "step_type": "map", "depends_on": ["reed"], "handler": "shorten"},
        {"slug": "answer", "depends_on": ["facts"], "handler": "collect"}]}""",
    """{"slug": "answer_question", "max_attempts": 2, "steps": [
        {"slug": "search"},
        {"slug": "read", "step_type": "map", "depends_on": ["search"]},
        {"slug": "facts", "step_type": "map", "depends_on": ["read"], "handler": "shorten", "timeout": 30},
        {"slug": "answer", "depends_on": ["facts"], "handler": "collect"}]}""",
]


def ask(messages: list[str]) -> str:
    """What the model answers to a conversation: question, answer, correction, answer …"""
    return ANSWERS[len(messages) // 2]


# ------------------------------------------------------------------------------------- from a question to its answer


def plan(question: str, tries: int = 3) -> pgflow.FlowSpec:
    """Asks for a flow until it is well formed, and made of our tools."""
    messages = [
        f"Write a flow that answers: {question}\n"
        f"It is JSON of this schema: {json.dumps(pgflow.FlowSpec.model_json_schema())}\n"
        "Handlers there are: " + "; ".join(f"{name}: {tool.__doc__}" for name, tool in tools.items())
    ]
    for _ in range(tries):
        answer = ask(messages)
        try:
            spec = pgflow.FlowSpec.read(answer)
            faults = tools.faults(spec)
        except FlowDefinitionError as error:
            faults = list(error.faults)
        except InvalidInputError as error:  # neither JSON nor YAML
            faults = [str(error)]
        if not faults:
            return spec
        print("sent back:", *faults, sep="\n- ")
        messages += [answer, "Correct it: " + "; ".join(faults)]
    raise RuntimeError(f"no flow after {tries} tries")


def answer(question: str, dsn: str | None = None) -> str:
    """Has a flow written, stores it, runs it here, and returns what its step `answer` says."""
    spec = plan(question)
    print(spec)
    with pgflow.Client(dsn) as client:
        client.compile(spec, replace=True)
    output = pgflow.execute_dynamic(spec.slug, {"question": question}, tools, dsn=dsn)
    return str(output["answer"])


if __name__ == "__main__":
    print(answer("What do bees and wasps do?"))
