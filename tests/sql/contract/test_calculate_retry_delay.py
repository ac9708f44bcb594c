"""pgflow.calculate_retry_delay."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest

from tests.support import value


@pytest.mark.parametrize(
    ("base_delay", "attempts", "seconds"),
    [
        (5, 1, 10),
        (5, 2, 20),
        (5, 3, 40),
        (1, 0, 1),
        (1, 10, 1024),
        (0, 1, 0),
        (0, 30, 0),
        (Decimal("0.3"), 1, 0),
        (Decimal("0.5"), 1, 1),
        (Decimal("2.7"), 1, 5),
        (Decimal("1.5"), 2, 6),
    ],
)
def test_the_base_doubles_with_each_attempt_and_is_rounded_down(
    trial: psycopg.Connection, base_delay: Decimal, attempts: int, seconds: int
) -> None:
    assert value(trial, "select pgflow.calculate_retry_delay(%s, %s)", base_delay, attempts) == seconds
