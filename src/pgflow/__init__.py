"""Durable workflows in Python that need nothing but PostgreSQL.

from pgflow import Flow, execute

hello = Flow("hello")

@hello.step
def greet(flow_input: dict) -> str:
    return f"Hello, {flow_input['name']}!"

execute(hello, {"name": "Ada"})           # {'greet': 'Hello, Ada!'}
"""

from importlib.metadata import version

from pgflow.client import AsyncClient, Client
from pgflow.errors import Permanent, PgflowError, RetryAfter, RunFailed, RunTimeout
from pgflow.execute import aexecute, aexecute_dynamic, execute, execute_dynamic
from pgflow.flow import Context, Flow, FlowBuilder, FlowSpec, Handlers, Step, StepSpec, needs
from pgflow.jobs import Job, job
from pgflow.records import Event, Run, StoredFlow
from pgflow.worker import Worker

__version__ = version("py-pgflow")

__all__ = [
    "AsyncClient",
    "Client",
    "Context",
    "Event",
    "Flow",
    "FlowBuilder",
    "FlowSpec",
    "Handlers",
    "Job",
    "Permanent",
    "PgflowError",
    "RetryAfter",
    "Run",
    "RunFailed",
    "RunTimeout",
    "Step",
    "StepSpec",
    "StoredFlow",
    "Worker",
    "__version__",
    "aexecute",
    "aexecute_dynamic",
    "execute",
    "execute_dynamic",
    "job",
    "needs",
]
