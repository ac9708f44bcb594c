"""Writes down what a fresh install looks like: `make schema`, after every migration and every new function."""

from __future__ import annotations

from pathlib import Path

import psycopg

from pgflow import embedded, schema
from pgflow.testing.databases import short_directory
from tests.schema.catalog import description

PATH = Path(__file__).with_name("schema.txt")


def main() -> None:
    """On a PostgreSQL of its own."""
    with short_directory() as directory, embedded.start(directory, durable=False) as server:
        dsn = server.dsn_for("postgres")
        schema.migrate(dsn)
        with psycopg.connect(dsn) as conn:
            PATH.write_text(description(conn), encoding="utf-8")


if __name__ == "__main__":
    main()
