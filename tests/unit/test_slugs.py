"""Slugs: the same rule here and in the database."""

from __future__ import annotations

import psycopg
import pytest

from pgflow.flow.slugs import did_you_mean, slug_fault
from tests.support import rows

SLUGS = [
    "a",
    "_",
    "A_1",
    "Run",
    "runs",
    "s" * 128,
    "s" * 129,
    "",
    "1a",
    "a-b",
    "a b",
    "a.b",
    "a\n",
    "é",
    "٣a",
    "a٣",
    "run",
]


def test_the_rule_for_steps_is_the_databases(conn: psycopg.Connection):
    theirs = rows(conn, "select slug, pgflow.is_valid_slug(slug) from unnest(%s::text[]) as slug", SLUGS)
    assert [(slug, slug_fault(slug, "step") is None) for slug in SLUGS] == theirs


@pytest.mark.parametrize("length", [47, 48])
def test_the_rule_for_flows_is_the_databases(conn: psycopg.Connection, length: int):
    slug = "f" * length
    try:
        conn.execute("select pgflow.create_flow(%s)", [slug])
        accepted = True
    except psycopg.errors.CheckViolation:
        accepted = False
    assert (slug_fault(slug, "flow") is None) == accepted == (length == 47)


@pytest.mark.parametrize("slug", ["flow_input", "ctx", "deps"])
def test_names_with_a_meaning_are_no_step_slugs_but_may_be_flow_slugs(slug: str):
    assert slug_fault(slug, "step") is not None
    assert slug_fault(slug, "flow") is None


def test_a_fault_says_how_long_a_slug_may_be():
    assert slug_fault("f" * 48, "flow") == f"flow slug '{'f' * 48}' is too long: 48 characters, at most 47 are allowed"
    assert (slug_fault("s" * 129, "step") or "").endswith("129 characters, at most 128 are allowed")


@pytest.mark.parametrize(
    ("name", "suffix"), [("scrap", "; did you mean 'scrape'?"), ("rnak", "; did you mean 'rank'?"), ("zzz", "")]
)
def test_the_nearest_known_name_is_offered(name: str, suffix: str):
    assert did_you_mean(name, ["scrape", "rank"]) == suffix
