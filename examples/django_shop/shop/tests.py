from django.test import TestCase, TransactionTestCase

from pgflow.contrib.django import client
from pgflow.contrib.django.test import work_off
from pgflow.testing import assert_completed, run_inline
from shop.flows import shipping
from shop.models import Order


class WithinTheTestsTransaction(TestCase):
    def test_an_order_starts_a_run_that_ships_it(self) -> None:
        self.client.post("/orders", {"item": "cup"})
        (run,) = client().list_runs(shipping)
        assert_completed(run_inline(shipping, run.input))
        assert Order.objects.get().shipped


class WithAWorker(TransactionTestCase):
    def test_an_order_is_shipped(self) -> None:
        run_id = self.client.post("/orders", {"item": "cup"}).json()["run"]
        work_off()
        assert_completed(client().get_run(run_id))
        assert Order.objects.get().shipped
