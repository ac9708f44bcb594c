"""Where handlers run: on the event loop or in threads. Each gives a future that never raises, but holds a Result."""

from pgflow.executors.base import Executor, Result
from pgflow.executors.loop import LoopExecutor
from pgflow.executors.threads import ThreadExecutor

__all__ = ["Executor", "LoopExecutor", "Result", "ThreadExecutor"]
