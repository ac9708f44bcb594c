from tests.testing.test_foreign_core import foreign_core, migrations

__all__ = ["foreign_core", "migrations"]
