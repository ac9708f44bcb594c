"""The Django app: runs start in the request's transaction, and `manage.py pgflow worker` works on them.

    INSTALLED_APPS = [..., "pgflow.contrib.django"]

    from pgflow.contrib.django import client

    with transaction.atomic():
        order.save()
        client().start(shipping, {"order": order.pk})       # exists if and only if the order does

See docs/how-to/django.md.
"""

from pgflow.contrib.django.address import dsn
from pgflow.contrib.django.clients import client

__all__ = ["client", "dsn"]
