"""Ray as an executor."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from pgflow.errors import ExecutorError

T = TypeVar("T")


class RayExecutor(Executor):
    """A Ray cluster as a `concurrent.futures.Executor`: each call is a task of Ray's.

        ray.init()
        Worker([movies], executors={"ray": RayExecutor(num_cpus=2)}).run()

    Options are those of `ray.remote`: num_cpus, num_gpus, memory (bytes), resources, runtime_env …; `max_retries` is
    0 unless given, since pgflow retries. Cancelling a future ends its task, also one that runs: Ray kills the process
    that runs it. Raises ExecutorError where ray is not installed, or not connected.
    """

    def __init__(self, **options: Any) -> None:
        self._task = _connected().remote(_call).options(**{"max_retries": 0, **options})

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """A future of what the function returns; raises ExecutorError if Ray is not connected any more."""
        return _RayFuture(_connected(), self._task.remote(fn, args, kwargs))


def _connected() -> Any:
    """The module; a task submitted without a connection would start a cluster on this machine, unasked."""
    try:
        import ray  # an extra
    except ModuleNotFoundError as error:
        raise ExecutorError("RayExecutor needs ray: run `pip install 'py-pgflow[ray]'`") from error
    if not ray.is_initialized():
        raise ExecutorError("RayExecutor needs a connection: call ray.init() first")
    return ray


def _call(fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    return fn(*args, **kwargs)


class _RayFuture(Future[T]):
    """Done when the task has ended, also after `cancel`."""

    def __init__(self, ray: Any, task: Any) -> None:
        super().__init__()
        self._ray = ray
        self._ended = task
        task.future().add_done_callback(self._end)

    def cancel(self) -> bool:
        """Whether it is about to be ended."""
        if self.done():
            return False
        self._ray.cancel(self._ended, force=True)
        return True

    def _end(self, ended: Future[T]) -> None:
        error = ended.exception()
        if isinstance(error, self._ray.exceptions.TaskCancelledError):
            super().cancel()
            self.set_running_or_notify_cancel()
        elif error is not None:
            self.set_exception(error)
        else:
            self.set_result(ended.result())
