"""Where Node is missing, its tests are skipped and say so; or fail, where it is required (.ci/run)."""

from __future__ import annotations

import pytest

from tests.foreign import npm


@pytest.mark.parametrize(
    ("is_required", "outcome", "message"),
    [
        (False, pytest.skip.Exception, "PGFLOW'S NPM PACKAGES WERE NOT TESTED: node is not there"),
        (True, pytest.fail.Exception, "PGFLOW_REQUIRE_NODE is set, but node is not there"),
    ],
)
def test_without_node(
    monkeypatch: pytest.MonkeyPatch, is_required: bool, outcome: type[BaseException], message: str
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(npm, "_IS_REQUIRED", is_required)
    with pytest.raises(outcome, match=message):
        npm._program("node")
