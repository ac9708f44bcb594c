"""What docs/how-to/dynamic-flows.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgflow.cli.app import app
from pgflow.flow import document, spec, spec_graph

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "dynamic-flows.md").read_text()


def test_its_code_runs(dsn, tmp_path, monkeypatch: pytest.MonkeyPatch):
    (description,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "report.yaml").write_text(description)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGFLOW_DATABASE_URL", dsn)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "dynamic-flows.md", "exec"), {"__name__": "page"})  # noqa: S102


def test_its_commands_exist():
    known = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    shown = re.findall(r"^\$ pgflow (\w+)", PAGE, re.MULTILINE)
    assert len(shown) >= 5
    assert set(shown) <= known


def test_its_limits_are_those_of_the_code():
    limits = {
        "steps": spec_graph.MOST_STEPS,
        "dependencies, of all steps together": spec_graph.MOST_DEPENDENCIES,
        "`initial_tasks`": spec._MOST_TASKS,
    }
    for what, most in limits.items():
        assert f"| {what} | {most:,} |" in PAGE
    assert f"{spec._MOST_BYTES // 1024} KB of JSON, {spec._DEEPEST} levels" in PAGE
    most = document._MOST_CHARACTERS
    assert f"{most['JSON']:,} characters of JSON, {most['YAML']:,} of YAML" in PAGE
