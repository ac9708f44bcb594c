"""Flows in tests: `run_inline` runs one in memory, without a database and without waiting.

from pgflow.testing import run_inline

def test_report():
    run = run_inline(campaign, {"campaign_id": 123})
    assert run.status == "completed"
    assert run.output["report"] == {"sent": 3}
"""

from pgflow.testing.inline import InlineRun, run_inline

__all__ = ["InlineRun", "run_inline"]
