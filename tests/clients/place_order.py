"""Places an order from another system: plain nats-py, proto3 JSON, nothing of Holdfast's.

Usage: place_order.py [NATS_URL]    The product MUG-01 must be in stock.
"""

import asyncio
import json
import sys
import uuid

import nats


async def main(url: str) -> None:
    connection = await nats.connect(url)
    broker = connection.jetstream()
    order_id = str(uuid.uuid4())
    paid = asyncio.get_running_loop().create_future()

    async def on_paid(message):
        if message.headers["ce-subject"] == f"order-{order_id}" and not paid.done():
            paid.set_result(message.headers["ce-type"])

    await connection.subscribe("evt.orders.OrderPaid", cb=on_paid)
    inbox = connection.new_inbox()
    answers = await connection.subscribe(inbox)

    order = {
        "orderId": order_id,
        "customerId": "customer-42",
        "lines": [{"sku": "MUG-01", "quantity": 2, "unitPrice": {"minorUnits": 1250, "currency": "EUR"}}],
        "paymentMethod": "sandbox:succeed",
    }
    headers = {"ce-id": str(uuid.uuid4()), "content-type": "application/json", "reply-to": inbox}
    await broker.publish("cmd.orders.PlaceOrder", json.dumps(order).encode(), headers=headers)

    answer = json.loads((await answers.next_msg(timeout=30)).data)
    print("answer:", json.dumps(answer))
    assert "accepted" in answer, answer
    print("seen:", await asyncio.wait_for(paid, timeout=30))
    await connection.close()


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))
