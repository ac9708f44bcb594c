"""Where handlers run: on the event loop, in threads or in processes. How one ended is a Result, not an exception."""

from pgflow.executors.base import Executor, Result
from pgflow.executors.child import Job
from pgflow.executors.loop import LoopExecutor
from pgflow.executors.processes import NoFreeProcess, ProcessExecutor
from pgflow.executors.threads import ThreadExecutor

__all__ = ["Executor", "Job", "LoopExecutor", "NoFreeProcess", "ProcessExecutor", "Result", "ThreadExecutor"]
