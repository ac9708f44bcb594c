"""Where handlers run: on the event loop, in threads or in processes. How one ended is a Result, not an exception."""

from pgflow.executors.base import Executor, HandlerRaised, Result
from pgflow.executors.child import Job
from pgflow.executors.loop import LoopExecutor, call_async
from pgflow.executors.processes import FromProcess, NoFreeProcess, ProcessExecutor
from pgflow.executors.threads import ThreadExecutor, call

__all__ = [
    "Executor",
    "FromProcess",
    "HandlerRaised",
    "Job",
    "LoopExecutor",
    "NoFreeProcess",
    "ProcessExecutor",
    "Result",
    "ThreadExecutor",
    "call",
    "call_async",
]
