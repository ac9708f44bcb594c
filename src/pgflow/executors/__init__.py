"""Where handlers run: on the event loop, in threads, in processes, or in executors of the user's own.

How one ended is a Result, not an exception.
"""

from pgflow.executors.answers import FromProcess
from pgflow.executors.base import Executor, HandlerRaised, Result
from pgflow.executors.child import Job
from pgflow.executors.loop import LoopExecutor, call_async
from pgflow.executors.named import ExecutorFailed, NamedExecutor
from pgflow.executors.processes import NoFreeProcess, ProcessExecutor
from pgflow.executors.ray import RayExecutor
from pgflow.executors.threads import ThreadExecutor, call

__all__ = [
    "Executor",
    "ExecutorFailed",
    "FromProcess",
    "HandlerRaised",
    "Job",
    "LoopExecutor",
    "NamedExecutor",
    "NoFreeProcess",
    "ProcessExecutor",
    "RayExecutor",
    "Result",
    "ThreadExecutor",
    "call",
    "call_async",
]
