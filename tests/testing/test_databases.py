"""Databases that are lent to one test after the other."""

from __future__ import annotations

import psycopg
import pytest

from pgflow.testing.databases import Databases


@pytest.mark.parametrize(("rows", "is_lent_again"), [(10, True), (10_001, False)])
def test_one_is_lent_again_unless_it_has_as_many_dead_rows_as_the_doctor_finds(
    server: str, rows: int, is_lent_again: bool
) -> None:
    databases = Databases(server)
    try:
        with databases.lend() as first, psycopg.connect(first) as conn:
            conn.execute(
                "insert into pgflow.worker_functions (function_name) select n::text from generate_series(1, %s) as n",
                [rows],
            )
        with databases.lend() as second, psycopg.connect(second) as conn:
            assert (first == second) == is_lent_again
            assert conn.execute("select count(*) from pgflow.worker_functions").fetchone() == (0,)
    finally:
        databases.drop()
