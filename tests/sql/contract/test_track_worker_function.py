"""pgflow.track_worker_function."""

from __future__ import annotations

import psycopg

from tests.support import rows, value


def test_a_new_function_is_stored_with_its_defaults(trial: psycopg.Connection) -> None:
    trial.execute("select pgflow.track_worker_function('any name')")
    assert rows(
        trial,
        """select function_name, enabled, debounce::text, last_invoked_at, created_at = now(), updated_at > now()
           from pgflow.worker_functions""",
    ) == [("any name", True, "00:00:06", None, True, True)]


def test_a_known_one_only_gets_a_new_updated_at(trial: psycopg.Connection) -> None:
    trial.execute(
        """insert into pgflow.worker_functions values
           ('f', false, '1 minute', '2020-01-01+00', '2020-01-02+00', '2020-01-03+00'),
           ('other', true, '1 minute', null, '2020-01-02+00', '2020-01-03+00')"""
    )
    trial.execute("select pgflow.track_worker_function('f')")
    assert rows(
        trial,
        """select function_name, enabled, debounce::text, last_invoked_at = '2020-01-01+00',
                  created_at = '2020-01-02+00', updated_at > now()
           from pgflow.worker_functions order by 1""",
    ) == [("f", False, "00:01:00", True, True, True), ("other", True, "00:01:00", None, True, False)]


def test_last_invoked_at_stays_null(trial: psycopg.Connection) -> None:
    for _ in range(2):
        trial.execute("select pgflow.track_worker_function('f')")
    assert value(trial, "select last_invoked_at from pgflow.worker_functions") is None
