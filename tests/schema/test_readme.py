"""The page that explains the SQL names nothing that is not there."""

from __future__ import annotations

import re
from importlib.resources import files

from pgflow import schema

_README = (files("pgflow") / "sql" / "README.md").read_text(encoding="utf-8")


def test_every_function_that_the_page_names_exists() -> None:
    calls = _README.split("## Who calls whom")[1].split("```")[1]
    named = set(re.findall(r"`(_[a-z_]+)`", _README)) | set(re.findall(r"\b(_?[a-z]+_[a-z_]+)\b", calls))
    assert len(named) > 30
    assert named <= {function.name for function in schema._functions(supabase=False)}


def test_every_function_says_what_it_locks_or_who_holds_its_locks() -> None:
    silent = [
        function.name
        for function in schema._functions(supabase=True)
        if not re.search(r"\blocks?\b|\bholds?\b", function.text.split("\ncreate ")[0], re.IGNORECASE)
    ]
    assert silent == []
