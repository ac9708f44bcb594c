from pgflow import Flow
from shop.models import Order

shipping = Flow("shipping", max_attempts=5)


@shipping.step
def pack(flow_input: int) -> str:
    order = Order.objects.get(pk=flow_input)
    order.box = f"box of {order.item}"
    order.save()
    return order.box


@shipping.step
def ship(flow_input: int, pack: str) -> str:
    Order.objects.filter(pk=flow_input).update(shipped=True)
    return f"{pack}: on its way"
