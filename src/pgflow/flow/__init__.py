"""The DSL: flows are functions. Pure: nothing here does I/O."""

from pgflow.flow.context import Context
from pgflow.flow.flow import Flow
from pgflow.flow.step import Step, needs

__all__ = ["Context", "Flow", "Step", "needs"]
