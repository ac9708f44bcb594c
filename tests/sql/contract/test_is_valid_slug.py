"""pgflow.is_valid_slug."""

from __future__ import annotations

import psycopg
import pytest

from tests.support import value


@pytest.mark.parametrize("slug", ["a", "_", "A1", "_run", "runs", "Run", "snake_case", "camelCase2", "x" * 128])
def test_a_good_slug_is_valid(trial: psycopg.Connection, slug: str) -> None:
    assert value(trial, "select pgflow.is_valid_slug(%s)", slug) is True


@pytest.mark.parametrize(
    "slug", ["", "run", "1a", "a-b", "a b", " a", "a ", "a\n", "\na", "a.b", "a/b", "é", "aé", "x" * 129, None]
)
def test_a_bad_slug_is_not_valid(trial: psycopg.Connection, slug: str | None) -> None:
    assert value(trial, "select pgflow.is_valid_slug(%s::text)", slug) is False
