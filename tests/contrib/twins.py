"""Two flows of one slug."""

from pgflow import Flow

first, second = Flow("twin"), Flow("twin")
for _flow in (first, second):
    _flow.step(slug="step")(lambda flow_input: flow_input)
