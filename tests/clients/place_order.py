"""Sends orders from another system, with nats-py, in JSON, and nothing of Holdfast's: one that is taken, the same once more, and one that
is refused.

Usage: place_order.py [NATS_URL] [KEY]    KEY is the file of the user's key, where the broker has users. MUG-01 must be in stock.
"""

import asyncio
import json
import sys
import uuid

import nats

# The broker's user: nobody else may listen below its inbox.
USER = "shop"
AGAIN_AFTER_SECONDS, TRIES = 5, 12


async def send(connection, subject, command, command_id):
    """Sends a command until it is answered: the answer, and whether it was given before."""
    inbox = connection.new_inbox()
    answers = await connection.subscribe(inbox)
    headers = {"ce-id": command_id, "content-type": "application/json", "reply-to": inbox}
    for _ in range(TRIES):
        try:
            # The broker says that it has the command; only the answer says that it is done.
            await connection.jetstream().publish(subject, json.dumps(command).encode(), headers=headers)
            answer = await answers.next_msg(timeout=AGAIN_AFTER_SECONDS)
        except nats.errors.Error as error:
            print(f"no answer yet ({error!r}): the same again", file=sys.stderr)
            await asyncio.sleep(1)
            continue
        await answers.unsubscribe()
        return json.loads(answer.data), "ce-repeated" in answer.headers
    raise SystemExit(f"no answer to {command_id}: send it again later, under the same id")


def order(quantity):
    price = {"minorUnits": "1250", "currency": "EUR"}
    return {
        "orderId": str(uuid.uuid4()),
        "customerId": "customer-42",
        "lines": [{"sku": "MUG-01", "quantity": str(quantity), "unitPrice": price}],
        "paymentMethod": "sandbox:succeed",
    }


async def main(url="nats://127.0.0.1:4222", key=None):
    connection = await nats.connect(url, nkeys_seed=key or None, inbox_prefix=f"_INBOX.{USER}".encode())

    # Keep both together before you send: after a crash the same command goes out under the same id.
    placed, command_id = order(2), str(uuid.uuid4())
    answer, _ = await send(connection, "cmd.orders.PlaceOrder", placed, command_id)
    print("placed:", json.dumps(answer))

    # Whoever does not know whether it was done sends it again. It is answered again, and done once.
    answer, is_repeated = await send(connection, "cmd.orders.PlaceOrder", placed, command_id)
    print("the same again:", json.dumps(answer), "which is an answer given before" if is_repeated else "")

    # A refusal has a code and a remedy for programs, and a reason for people. It stands: what is corrected needs another id.
    answer, _ = await send(connection, "cmd.orders.PlaceOrder", order(0), str(uuid.uuid4()))
    print("refused:", json.dumps(answer))
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
