"""Steps on real clusters, Dask's and Ray's, on this machine."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Worker
from pgflow.errors import ExecutorError
from pgflow.executors import RayExecutor
from tests.executors import flows
from tests.executors.clusters import ROOT
from tests.support import aeventually, eventually
from tests.worker.support import tasks, work

#: Their processes are slow to start on a busy machine.
slow = [pytest.mark.slow, pytest.mark.timeout(300)]
PATIENCE = 120


@pytest.fixture(scope="module")
def dask() -> Iterator[Executor]:
    """Two processes of one thread each; one that dies is replaced, what it did is not tried again."""
    import dask.config
    from distributed import LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, env={"PYTHONPATH": ROOT}) as cluster,
        cluster.get_client() as client,
    ):
        yield client.get_executor()


@pytest.fixture(scope="module")
def ray(ray_cluster: dict[str, str]) -> Iterator[Executor]:
    """Two processes."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        for name, setting in ray_cluster.items():
            patch.setenv(name, setting)
        import ray  # which reads them

        ray.init(log_to_driver=False)
        yield RayExecutor()
        ray.shutdown()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(params=[pytest.param("dask", marks=slow), pytest.param("ray", marks=slow)])
def cluster(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


async def on(cluster: Executor, dsn: str, flow: Any, input: Any) -> Any:
    return await work(dsn, flow, input, timeout=PATIENCE, executors={"pool": cluster})


async def test_values_and_the_context_cross_to_another_process_and_back(dsn: str, cluster: Executor) -> None:
    run = await on(cluster, dsn, flows.pooled, {"x": 1, "y": 2})
    assert flows.where_it_ran(run) != os.getpid()


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("odd", "completed", "Odd: 1 and 2"),
        ("retry after", "completed", "RetryAfter: later"),
        ("permanent", "failed", "Permanent: never"),
        ("exit 3", "completed", "ExecutorFailed: executor 'pool' lost a task ("),
    ],
)
async def test_how_a_handler_ends_is_how_its_task_goes_on(
    dsn: str, conn: psycopg.Connection, cluster: Executor, how: str, status: str, message: str
) -> None:
    run = await on(cluster, dsn, flows.pool_ends, how)
    (task,) = tasks(conn, "end")
    assert task["error_message"].startswith(message)
    assert run.status == status, run.error


async def test_what_overruns_its_timeout_fails_on_time_and_dask_lets_it_end_while_ray_ends_it(
    dsn: str, cluster: Any, tmp_path: Path
) -> None:
    if not isinstance(cluster, RayExecutor):  # or both may be sent to the one that is there
        cluster._client.wait_for_workers(2, timeout=PATIENCE)
    hung, short = [{"directory": str(tmp_path), "name": name} for name in ("hung", "short")]
    (tmp_path / "go-short").touch()
    serving = Worker([flows.pool_hurried, flows.pool_watched], dsn=dsn, concurrency=3, executors={"pool": cluster})
    async with serving as worker, AsyncClient(dsn) as client:
        late = await client.wait(await client.start(flows.pool_hurried, [hung]), timeout=PATIENCE)
        assert late.error is not None
        assert late.error.startswith("HandlerTimeout: ")
        run = await client.wait(await client.start(flows.pool_watched, [short]), timeout=PATIENCE)
        assert run.status == "completed", run.error
        if not isinstance(cluster, RayExecutor):
            assert worker._held._lingering == 1
            (tmp_path / "go-hung").touch()
        await aeventually(lambda: worker._held._lingering == 0, within=PATIENCE)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_client_that_was_closed_fails_its_tasks(dsn: str, dask: Any) -> None:
    from distributed import Client

    with Client(dask._client.scheduler.address) as client:
        executor = client.get_executor()
    run = await on(executor, dsn, flows.pool_ends, "odd")
    assert run.error is not None
    assert run.error.startswith("ExecutorFailed: executor 'pool' took no task (")


def hang(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cancelling_a_task_of_rays_kills_its_process(ray: RayExecutor, tmp_path: Path) -> None:
    running = ray.submit(hang, str(tmp_path / "pid"))
    eventually((tmp_path / "pid").exists, within=PATIENCE)
    assert not running.running()
    assert running.cancel()
    with pytest.raises(CancelledError):
        running.result(timeout=PATIENCE)
    assert not running.cancel()
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_ray_executor_is_as_others_of_its_kind(ray: RayExecutor) -> None:
    assert ray.submit(int, "ff", base=16).result(timeout=PATIENCE) == 255
    assert list(ray.map(len, ["a", "bb"], timeout=PATIENCE)) == [1, 2]
    assert len(ray.submit(bytes, 3_000_000).result(timeout=PATIENCE)) == 3_000_000
    with pytest.raises(ValueError, match="invalid literal"):
        ray.submit(int, "x").result(timeout=PATIENCE)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"pip install 'py-pgflow\[ray\]'"):
        RayExecutor()


def test_without_a_connection_no_cluster_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    with pytest.raises(ExecutorError, match=r"call ray.init\(\) first"):
        RayExecutor()
