"""Handlers in processes: what crosses, how they end, and that nothing is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from pgflow import Flow
from pgflow.errors import ExecutorError, InvalidInputError, Permanent, RetryAfter
from pgflow.executors import FromProcess, Job, NoFreeProcess, ProcessExecutor, Result
from pgflow.flow import Step
from tests.executors import flows
from tests.support import aeventually

CONTEXT = {"flow_slug": "f", "step_slug": "s", "task_index": 0, "attempt": 1, "max_attempts": 2}


async def opened(stack: AsyncExitStack, flow: Flow[Any, Any], **options: Any) -> ProcessExecutor:
    executor = ProcessExecutor(flow.steps.values(), **{"count": 1, **options})
    stack.push_async_callback(executor.close)
    await executor.start()
    return executor


@pytest.fixture
async def ends() -> AsyncIterator[ProcessExecutor]:
    """One process for the flow of many ends."""
    async with AsyncExitStack() as stack:
        yield await opened(stack, flows.ends)


def job(executor: ProcessExecutor, step: Step[Any, Any], given: str, **context: Any) -> Job:
    fields = CONTEXT | {"run_id": "a run"} | context
    return Job(executor.name(step), b"{}", given.encode(), fields)


async def run(executor: ProcessExecutor, job: Job) -> Result:
    """Runs a job as soon as there is a process: they are slow to start on a busy machine."""
    while True:
        with suppress(NoFreeProcess):
            async with executor.child() as child:
                return await child.submit(job)


async def end(executor: ProcessExecutor, how: str, **context: Any) -> Result:
    return await run(executor, job(executor, flows.end, f'"{how}"', **context))


async def pid_of(executor: ProcessExecutor) -> int:
    return int((await run(executor, job(executor, flows.pid, "null"))).value)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("how", "exit_status"),
    [
        ("segfault", "SIGSEGV"),
        ("killed", "SIGKILL; out of memory?"),
        ("exit 0", "exit code 0"),
        ("exit 3", "exit code 3"),
    ],
)
async def test_a_process_that_ends_is_said_to_have_died_and_replaced(
    ends: ProcessExecutor, how: str, exit_status: str
) -> None:
    died = await end(ends, how)
    assert type(died.error).__name__ == "ProcessDied"
    assert str(died.error) == f"the process that ran the handler died ({exit_status})"
    assert (await end(ends, how, attempt=2)).value == b'"second"'


async def test_exceptions_come_back_by_name_and_in_words(ends: ProcessExecutor) -> None:
    odd = (await end(ends, "odd")).error
    assert (type(odd).__name__, str(odd)) == ("Odd", "1 and 2")
    assert "flows.py" in str(odd.__cause__)
    assert str((await end(ends, "unprintable")).error) == "(its message cannot be printed)"
    assert str((await end(ends, "sys.exit")).error) == "5"


async def test_signals_of_handlers_keep_their_meaning(ends: ProcessExecutor) -> None:
    permanent, later = (await end(ends, "permanent")).error, (await end(ends, "retry after")).error
    assert isinstance(permanent, Permanent)
    assert isinstance(later, RetryAfter)
    assert (str(later), later.seconds) == ("later", 0.0)


async def test_retry_on_is_heeded_where_the_exceptions_class_is_known() -> None:
    async with AsyncExitStack() as stack:
        executor = await opened(stack, flows.picky)
        raised = {
            how: (await run(executor, job(executor, flows.pick, f'"{how}"'))).error
            for how in ("busy", "wrong", "later")
        }
    assert {how: type(error).__name__ for how, error in raised.items()} == {
        "busy": "Busy",
        "wrong": "KeyError",
        "later": "RetryAfter",
    }
    assert [how for how, error in raised.items() if isinstance(error, Permanent)] == ["wrong"]
    assert all(isinstance(error, FromProcess) for error in raised.values())


async def test_what_is_no_json_is_invalid_but_what_a_handler_raises_is_its_own(ends: ProcessExecutor) -> None:
    with pytest.raises(InvalidInputError, match="the handler's result: not JSON: "):
        await end(ends, "no json")
    own = (await end(ends, "invalid")).error
    assert type(own).__name__ == "InvalidInputError"
    assert not isinstance(own, InvalidInputError)


async def test_a_process_is_used_again_until_it_had_its_number_of_tasks() -> None:
    async with AsyncExitStack() as stack:
        executor = await opened(stack, flows.plain, max_tasks=2)
        pids = [await pid_of(executor) for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    assert all(is_gone(pid) for pid in pids)


async def test_a_process_that_was_killed_while_idle_is_replaced_and_fails_nothing() -> None:
    async with AsyncExitStack() as stack:
        executor = await opened(stack, flows.plain)
        first = await pid_of(executor)
        os.kill(first, signal.SIGKILL)
        await aeventually(lambda: is_gone(first))
        assert await pid_of(executor) != first


async def test_signals_to_the_whole_unit_do_not_end_a_process() -> None:
    async with AsyncExitStack() as stack:
        executor = await opened(stack, flows.plain)
        first = await pid_of(executor)
        os.kill(first, signal.SIGINT)
        os.kill(first, signal.SIGTERM)
        assert await pid_of(executor) == first


async def test_cancelling_kills_a_process_that_hears_nothing(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        executor = await opened(stack, flows.deaf)
        async with executor.child() as child:
            running = child.submit(job(executor, flows.hang, f'"{tmp_path / "pid"}"'))
            await aeventually((tmp_path / "pid").exists)
            running.cancel()
            await asyncio.wait({running})
        pid = int((tmp_path / "pid").read_text())
        await aeventually(lambda: is_gone(pid))
        assert running.cancelled()


async def test_nobody_waits_long_for_a_free_process() -> None:
    async with AsyncExitStack() as stack:
        executor = await opened(stack, flows.plain)
        async with executor.child():
            with pytest.raises(NoFreeProcess):
                async with executor.child():
                    pass
        assert await pid_of(executor)


async def test_closing_kills_what_runs(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        executor = await opened(stack, flows.deaf)
        async with executor.child() as child:
            running = child.submit(job(executor, flows.hang, f'"{tmp_path / "pid"}"'))
            await aeventually((tmp_path / "pid").exists)
            await executor.close()
            assert is_gone(int((tmp_path / "pid").read_text()))
            assert type((await running).error).__name__ == "ProcessDied"


def test_a_flow_that_no_process_could_find_is_refused() -> None:
    flow: Flow[Any, Any] = Flow("nameless")
    flow.step(slug="only", executor="process")(lambda: 1)
    with pytest.raises(ExecutorError, match="assign it to a global name of a module"):
        ProcessExecutor(flow.steps.values(), count=1)


def test_without_pebble_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExecutorError, match=r"pip install 'py-pgflow\[processes\]'"):
        ProcessExecutor(flows.plain.steps.values(), count=1)


SCRIPT = """
import asyncio, os
from pgflow import Flow
from pgflow.executors import FromProcess, Job, ProcessExecutor

flow = Flow("scripted")

@flow.step(executor="process")
def double(flow_input: int) -> int:
    return flow_input * 2

async def main():
    executor = ProcessExecutor(flow.steps.values(), count=1)
    try:
        await executor.start()
        async with executor.child() as child:
            fields = {"flow_slug": "f", "run_id": "r", "step_slug": "s", "task_index": 0}
            print((await child.submit(Job(executor.name(double), b"{}", b"21", fields))).value)
    finally:
        await executor.close()

"""


def python(*arguments: str, cwd: Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, input=given, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_flow_of_a_script_works_if_its_start_is_guarded(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT + "if __name__ == '__main__':\n    asyncio.run(main())\n")
    done = python("script.py", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("b'42'\n", "")


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT + "asyncio.run(main())\n")
    done = python("script.py", cwd=tmp_path)
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("pgflow.errors.ExecutorError: no process for handlers can be started (")
    assert "under `if __name__ == '__main__':`" in last


def test_what_was_typed_at_a_prompt_is_refused(tmp_path: Path) -> None:
    done = python("-", cwd=tmp_path, given=SCRIPT + "asyncio.run(main())\n")
    assert "put it into a module or a script" in done.stderr.splitlines()[-1]
