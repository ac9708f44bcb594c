"""What docs/how-to/doctor.md says of the checks is what the doctor does."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

from pgflow import health
from pgflow.cli.app import run

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "doctor.md").read_text()


def test_every_check_is_on_the_page_in_its_order(dsn, capsys):
    assert run(["doctor", "--json", "--dsn", dsn]) == 0
    checks = [check["check"] for check in json.loads(capsys.readouterr().out)["checks"]]
    assert re.findall(r"^\| `([a-z ]+)` \|", PAGE, re.MULTILINE) == ["settings", *checks]


def test_the_limits_are_those_of_the_code():
    assert timedelta(seconds=2) == health._SKEW
    assert (health._OLDEST, health._NEWEST) == (14, 18)
    assert timedelta(hours=1) == health._LONG_TRANSACTION
    assert health._PROOF_TIMEOUT == 3
    assert timedelta(minutes=5) == health._WAITED
    assert (health._DEEP, health._DEAD_ROWS) == (100_000, 10_000)
