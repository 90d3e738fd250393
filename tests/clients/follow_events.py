"""Reads what becomes of orders from another system, with nats-py and nothing of Holdfast's, and prints each event as a CloudEvent in JSON. What
came while this program was away comes when it is back.

Usage: follow_events.py [NATS_URL] [KEY] [EVENT]    KEY is the file of the user's key, where the broker has users. Ends with the first EVENT,
                                                    OrderPaid, or with Ctrl-C.
"""

import asyncio
import json
import sys
import urllib.parse

import nats

# The broker's user, and its durable consumer: the broker remembers under this name what was handled.
USER = "shop"
STREAM, SUBJECT = "EVENTS_JSON", "json.orders.*"


def cloud_event(message):
    """Headers that begin with ce- are attributes, percent-encoded; content-type is datacontenttype."""
    attributes = {name[3:]: urllib.parse.unquote(value) for name, value in message.headers.items() if name.startswith("ce-")}
    return attributes | {"datacontenttype": message.headers["content-type"], "data": json.loads(message.data)}


async def main(url="nats://127.0.0.1:4222", key=None, last=None):
    connection = await nats.connect(url, nkeys_seed=key or None, inbox_prefix=f"_INBOX.{USER}".encode())
    consumer = await connection.jetstream().pull_subscribe(SUBJECT, durable=USER, stream=STREAM)
    handled = set()
    while True:
        try:
            for message in await consumer.fetch(100, timeout=5):
                event = cloud_event(message)
                # An event may come twice. Keep the ids with what you make of the events, in one transaction, and acknowledge after it.
                if event["id"] not in handled:
                    handled.add(event["id"])
                    print(json.dumps(event), flush=True)
                await message.ack_sync(timeout=5)
                if event["type"].rsplit(".", 1)[1] == last:
                    return await connection.close()
        except nats.errors.TimeoutError:
            # Nothing came, or the broker is busy: what it does not know to be acknowledged comes again.
            continue


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        pass
