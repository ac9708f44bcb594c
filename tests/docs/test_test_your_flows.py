"""What docs/how-to/test-your-flows.md shows is a file of tests that pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "test-your-flows.md").read_text()


def test_its_tests_pass(pytester: pytest.Pytester, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_TEST_DSN", server)
    pytester.makepyfile("".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)))
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:asyncio")
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=3)


def test_it_names_every_fixture() -> None:
    source = (Path(__file__).parents[2] / "src" / "pytest_pgflow.py").read_text()
    fixtures = re.findall(r"^def (pgflow_\w+)\(", source, re.MULTILINE)
    assert sorted(fixtures) == sorted(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
