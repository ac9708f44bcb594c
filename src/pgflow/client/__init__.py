"""Clients: start runs, look at them, wait for them.

`AsyncClient` is written by hand, `Client` is generated from it by `scripts/unasync.py`.
"""

from pgflow.client._async import AsyncClient
from pgflow.client._sync import Client

__all__ = ["AsyncClient", "Client"]
