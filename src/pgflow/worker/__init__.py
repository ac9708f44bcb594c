"""Workers: they take tasks from the flows' queues, run the handlers, and settle what came of it."""

from pgflow.worker.plugged import Executors
from pgflow.worker.runner import Middleware
from pgflow.worker.supervisor import Supervisor
from pgflow.worker.worker import Worker

__all__ = ["Executors", "Middleware", "Supervisor", "Worker"]
