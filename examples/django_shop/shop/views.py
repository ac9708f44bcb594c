from django.db import transaction
from django.http import Http404, HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404

from pgflow.contrib.django import client
from shop.flows import shipping
from shop.models import Order


@transaction.atomic
def place_order(request: HttpRequest) -> JsonResponse:
    order = Order.objects.create(item=request.POST["item"])
    run = client().start(shipping, order.pk, key=f"order-{order.pk}")
    if order.item == "moon":
        raise Http404("we do not sell it")  # neither the order nor the run exists then
    return JsonResponse({"order": order.pk, "run": run.run_id}, status=202)


def show_order(request: HttpRequest, pk: int) -> JsonResponse:
    order = get_object_or_404(Order, pk=pk)
    return JsonResponse({"item": order.item, "box": order.box, "shipped": order.shipped})
