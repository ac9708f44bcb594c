"""scripts/unasync.py: the generated twins are what the async sources say."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "unasync.py"


@pytest.fixture(scope="module")
def unasync() -> ModuleType:
    spec = importlib.util.spec_from_file_location("unasync", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_twins_are_up_to_date():
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_stale_twin_is_named_but_not_written_by_check(
    unasync: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    source, twin = tmp_path / "_async.py", tmp_path / "_sync.py"
    source.write_text("async def f():\n    await g()\n")
    twin.write_text("old\n")
    monkeypatch.setattr(unasync, "ROOT", tmp_path)
    monkeypatch.setattr(unasync, "TWINS", {source: twin})
    monkeypatch.setattr(sys, "argv", ["unasync.py", "--check"])
    assert unasync.main() == 1
    assert "stale, run `make fix`: _sync.py" in capsys.readouterr().out
    assert twin.read_text() == "old\n"
    monkeypatch.setattr(sys, "argv", ["unasync.py"])
    assert unasync.main() == 0
    assert twin.read_text() == "def f():\n    g()\n"


@pytest.mark.parametrize(
    ("source", "twin"),
    [
        ("async with a as b:", "with a as b:"),
        ("async for x in y:", "for x in y:"),
        ("await asyncio.to_thread(f.g, 1)", "f.g(1)"),
        ("await asyncio.sleep(1)", "time.sleep(1)"),
        ("AsyncClient(AsyncDatabase())", "Client(Database())"),
        ("def __aenter__(self): ...", "def __enter__(self): ..."),
        ("from pgflow.db._async import x", "from pgflow.db._sync import x"),
        ("awaited = asynchronous", "awaited = asynchronous"),
    ],
)
def test_async_words_become_blocking_ones(unasync: ModuleType, source: str, twin: str):
    assert unasync.translate(source) == twin
