"""The faults that `make mutate` plants, of which a few are planted here."""

from __future__ import annotations

import psycopg
import pytest

from tests.testing.faults import FAULTS, hunt
from tests.testing.real import Real


def test_there_are_enough_faults() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20


def test_every_fault_still_applies(conn: psycopg.Connection) -> None:
    for fault in FAULTS:
        assert fault.source.count(fault.old) == 1, f"{fault.name}: no longer one such place in {fault.function}"
        fault.plant(conn)


def test_an_error_in_a_fault_is_not_taken_for_a_find(real: Real) -> None:
    real.connection.execute("drop function pgflow._skip_steps, pgflow._release_dependents, pgflow._start_steps")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        hunt(real, histories=50)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fence does not grow", "chain of empty maps stops", "run not counted down"])
def test_a_fault_is_found(real: Real, name: str) -> None:
    [fault] = [fault for fault in FAULTS if fault.name == name]
    fault.plant(real.connection)
    found, _ = hunt(real, histories=300)
    assert found


@pytest.mark.slow
def test_without_a_fault_nothing_is_found(real: Real) -> None:
    assert hunt(real, histories=30) == (0, 30)
