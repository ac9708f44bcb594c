"""The DSL: flows are functions, or data. Pure: nothing here does I/O."""

from pgflow.flow.builder import FlowBuilder
from pgflow.flow.context import Context
from pgflow.flow.flow import Flow
from pgflow.flow.handlers import Handlers
from pgflow.flow.spec import FlowSpec, StepSpec
from pgflow.flow.step import Step, needs

__all__ = ["Context", "Flow", "FlowBuilder", "FlowSpec", "Handlers", "Step", "StepSpec", "needs"]
