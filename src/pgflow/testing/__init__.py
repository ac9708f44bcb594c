"""Flows in tests: `run_inline` runs one in memory, without a database and without waiting.

from pgflow.testing import assert_completed, run_inline

def test_report():
    run = run_inline(campaign, {"campaign_id": 123})
    assert_completed(run)
    assert run.output["report"] == {"sent": 3}

With a database, see the fixtures of the pytest plugin: docs/how-to/test-your-flows.md.
"""

from pgflow.testing.assertions import assert_completed, assert_steps
from pgflow.testing.inline import InlineRun, run_inline

__all__ = ["InlineRun", "assert_completed", "assert_steps", "run_inline"]
