"""Durable workflows in Python that need nothing but PostgreSQL."""
