"""Transactions that belong to tasks: what a handler does on its connection is committed with its result, or not at all.

`Transactions`, for handlers in threads, is generated from `AsyncTransactions` by `scripts/unasync.py`.
"""

from pgflow.db.transactions._async import AsyncTransactions
from pgflow.db.transactions._sync import Transactions
from pgflow.db.transactions.guard import CommitUnknown, NotBegun, ResultRefused
from pgflow.db.transactions.leash import Leash

__all__ = ["AsyncTransactions", "CommitUnknown", "Leash", "NotBegun", "ResultRefused", "Transactions"]
