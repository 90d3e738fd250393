"""Publishes rubbish of every kind as fast as it is told, and beside it good commands at every service, whose answers it times.

Plain nats-py, proto3 JSON, nothing of Holdfast's. The product MUG-01 must be in stock. Prints one JSON object at the end.
"""

import argparse
import asyncio
import datetime
import json
import random
import time
import uuid

import nats

SERVICES = {
    "orders": ["PlaceOrder", "CancelOrder", "RequestRefund"],
    "inventory": ["RegisterProduct", "ReceiveStock", "AdjustStock"],
    "rounds": ["OpenRound", "CloseRound"],
    "payments": ["RecordProviderEvent", "ResolveRefund"],
}
SUBJECTS = [f"cmd.{service}.{command}" for service, commands in SERVICES.items() for command in commands]
JSON = {"content-type": "application/json"}

# Huge bodies come seldom: the broker must not be busy with nothing else.
HUGE_ONE_IN = 20
# How long to wait for answers when all is sent.
PATIENCE = 60


class Rubbish:
    """Messages that nobody should send: (subject, headers, body), one or more at a time."""

    def __init__(self, seed, without):
        self.chance = random.Random(seed)
        self.used = [self.new_id()]
        self.kinds = {name: kind for name, kind in vars(Rubbish).items() if not name.startswith("_") and name not in HELPERS}
        unknown = set(without) - self.kinds.keys()
        if unknown:
            raise SystemExit(f"there is no such rubbish: {unknown}; there is {', '.join(self.kinds)}")
        self.kinds = [kind for name, kind in self.kinds.items() if name not in without]

    def some(self):
        return self.chance.choice(self.kinds)(self)

    def new_id(self):
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def headers(self, **more):
        used = self.new_id()
        if len(self.used) < 10_000:
            self.used.append(used)
        return {"ce-id": used, **JSON, **more}

    def random_bytes(self):
        headers = {"ce-id": self.new_id()}
        if self.chance.random() < 0.3:
            headers |= JSON
        yield self.chance.choice(SUBJECTS), headers, self.chance.randbytes(self.chance.randrange(2_000))

    def broken_json(self):
        bodies = [
            b"", b"{", b"[]", b"null", b"7", b'"', b'{"orderId"', b'{"lines": [{]}', b"{" * 500, b"[" * 5_000, b'{"quantity": NaN}',
            b'{"sku": "\\ud800"}', b'{"sku": "MUG-01", "sku": "MUG-01"}', b'\xff\xfe{\x00}\x00', b'{"quantity": 1e400}', b"<order/>",
        ]
        yield self.chance.choice(SUBJECTS), self.headers(), self.chance.choice(bodies)

    def headers_spelled_otherwise(self):
        spelled = self.chance.choice(["Ce-Id", "CE-ID", "ce_id", "ce-ID", "id", "Nats-Msg-Id"])
        kind = self.chance.choice(["Content-Type", "content-Type", "content_type", "datacontenttype"])
        order = {"orderId": self.new_id(), "customerId": "rubbish"}
        yield "cmd.orders.PlaceOrder", {spelled: self.new_id(), kind: "application/json"}, json.dumps(order).encode()

    def headers_of_no_sense(self):
        used = self.chance.choice(["", "nil", str(uuid.UUID(int=0)), "x" * 10_000, "urn:uuid:" + self.new_id(), "{" + self.new_id() + "}"])
        headers = {"ce-id": used, "content-type": self.chance.choice(["text/plain", "application/xml", "x" * 600, "application/json;"])}
        headers["ce-type"] = self.chance.choice(["x.Y", "holdfast.orders.v1.OrderPlaced", "y" * 1_000])
        headers["traceparent"] = "00-zz-zz-00"
        yield self.chance.choice(SUBJECTS), headers, b"{}"

    def wrong_types(self):
        values = [7, -1, 1e300, True, None, [], {}, "x", "x" * 1_000, {"a": {"a": {"a": 1}}}, [[[]]], 2**70, "1e3", "\u202e"]
        names = ["orderId", "customerId", "lines", "sku", "quantity", "name", "roundId", "kind", "paymentId", "amount", "lnes"]
        body = {name: self.chance.choice(values) for name in self.chance.sample(names, 4)}
        yield self.chance.choice(SUBJECTS), self.headers(), json.dumps(body).encode()

    def unknown_commands(self):
        service = self.chance.choice([*SERVICES])
        command = self.chance.choice(["Explode", "placeorder", "OrderPlaced", "x" * 200, "PlaceOrder2", "ReserveStock"])
        yield f"cmd.{service}.{command}", self.headers(), b"{}"

    def used_ids_with_other_bodies(self):
        used = self.chance.choice(self.used)
        order = {"orderId": self.new_id(), "customerId": str(self.chance.random())}
        yield "cmd.orders.PlaceOrder", {"ce-id": used, **JSON}, json.dumps(order).encode()

    def one_id_at_two_services(self):
        headers = {"ce-id": self.new_id(), **JSON}
        subjects = self.chance.sample(SUBJECTS, 2)
        for subject in subjects:
            yield subject, headers, b"{}"

    def huge_bodies(self):
        if self.chance.randrange(HUGE_ONE_IN) > 0:
            return
        size = self.chance.choice([262_145, 300_000, 900_000])
        headers = self.headers() if self.chance.random() < 0.5 else {"ce-id": self.new_id()}
        yield self.chance.choice(SUBJECTS), headers, b"[" * size

    def reports_about_nothing(self):
        report = {
            "kind": self.chance.randrange(1, 5),
            "paymentId": self.new_id(),
            "refundId": self.new_id(),
            "amount": {"minorUnits": 1250, "currency": "EUR"},
            "providerEventId": f"evt_{self.chance.getrandbits(64)}",
        }
        yield "cmd.payments.RecordProviderEvent", self.headers(), json.dumps(report).encode()

    def cancels_before_orders(self):
        cancel = {"orderId": self.new_id(), "actor": "rubbish", "note": "before its order"}
        yield "cmd.orders.CancelOrder", self.headers(), json.dumps(cancel).encode()

    def replies_to_nowhere(self):
        to = self.chance.choice(["", ".", "a..b", "a b", ">", "_INBOX.*", "x" * 5_000, "nobody.is.there", "$JS.API.STREAM.LIST", "cmd.orders.PlaceOrder"])
        yield self.chance.choice(SUBJECTS), self.headers(**{"reply-to": to}), b"{}"


HELPERS = {"some", "new_id", "headers"}


class Good:
    """Good commands, and how long each waited for its answer."""

    def __init__(self, connection, inbox):
        self.connection = connection
        self.inbox = inbox
        self.waiting = {}
        self.waited = {service: [] for service in SERVICES}
        self.refused = []
        self.asked = {}

    async def send(self, service, command, body):
        id = str(uuid.uuid4())
        headers = {"ce-id": id, "ce-correlationid": id, "reply-to": self.inbox, **JSON}
        self.waiting[id] = (service, time.monotonic())
        await self.connection.publish(f"cmd.{service}.{command}", json.dumps(body).encode(), headers=headers)
        return id

    async def on_answer(self, message):
        answer = json.loads(message.data)
        service, sent = self.waiting.pop(answer.get("commandId"), (None, None))
        if service is None:
            return
        self.waited[service].append(time.monotonic() - sent)
        if "accepted" not in answer and len(self.refused) < 10:
            self.refused.append(answer)

    async def on_asked_to_pay(self, message):
        """Whoever pays otherwise than through the sandbox: the provider's report is ours to make."""
        if self.asked.pop(message.headers.get("ce-correlationid"), None) is None:
            return
        report = {
            "kind": "PROVIDER_EVENT_KIND_PAYMENT_SUCCEEDED",
            "paymentId": message.headers["ce-subject"].removeprefix("payment-"),
            "amount": {"minorUnits": 1250, "currency": "EUR"},
            "providerEventId": str(uuid.uuid4()),
        }
        await self.send("payments", "RecordProviderEvent", report)

    async def one_of_each(self):
        def order(method):
            line = {"sku": "MUG-01", "quantity": 1, "unitPrice": {"minorUnits": 1250, "currency": "EUR"}}
            return {"orderId": str(uuid.uuid4()), "customerId": "good", "lines": [line], "paymentMethod": method}

        closes = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
        price = {"minorUnits": 500, "currency": "EUR"}
        asked = await self.send("orders", "PlaceOrder", order("sandbox:never"))
        self.asked[asked] = True
        await self.send("inventory", "ReceiveStock", {"sku": "MUG-01", "quantity": 1, "reference": asked})
        opened = {"roundId": str(uuid.uuid4()), "prize": "good", "totalShares": 10, "sharePrice": price}
        opened["closesAt"] = closes.isoformat()
        await self.send("rounds", "OpenRound", opened)


async def throw(connection, rubbish, rate, seconds, inbox, counts):
    """Publishes at this rate, whatever becomes of it."""
    begun = time.monotonic()
    while (elapsed := time.monotonic() - begun) < seconds:
        while counts["sent"] < rate * elapsed:
            for subject, headers, body in rubbish.some():
                await connection.publish(subject, body, headers={"reply-to": inbox, **headers})
                counts["sent"] += 1
        await asyncio.sleep(0.005)


async def behave(good, rate, seconds):
    begun = time.monotonic()
    for turn in range(int(rate * seconds)):
        await asyncio.sleep(max(0, begun + turn / rate - time.monotonic()))
        await good.one_of_each()


def figures(good, counts):
    services = {}
    for service, waited in good.waited.items():
        waited.sort()
        part = lambda share: round(waited[min(len(waited) - 1, int(share * len(waited)))] * 1_000) if waited else None
        missing = sum(1 for other, _ in good.waiting.values() if other == service)
        missing += len(good.asked) if service == "payments" else 0
        services[service] = {"answered": len(waited), "missing": missing, "p50_ms": part(0.5), "p99_ms": part(0.99), "max_ms": part(1)}
    return {"rubbish": counts, "good": services, "refused": good.refused}


async def main(options):
    # The one who throws must not slow down the clock of the other.
    throwing = await nats.connect(options.url, pending_size=64 * 1024 * 1024)
    behaving = await nats.connect(options.url)
    counts = {"sent": 0, "answered": 0}
    inbox, good_inbox = throwing.new_inbox(), behaving.new_inbox()
    good = Good(behaving, good_inbox)

    async def on_rubbish(_message):
        counts["answered"] += 1

    await throwing.subscribe(inbox, cb=on_rubbish, pending_msgs_limit=0, pending_bytes_limit=0)
    await behaving.subscribe(good_inbox, cb=good.on_answer)
    await behaving.subscribe("evt.payments.PaymentRequested", cb=good.on_asked_to_pay)
    rubbish = Rubbish(options.seed, options.without)
    await asyncio.gather(
        throw(throwing, rubbish, options.rate, options.seconds, inbox, counts),
        behave(good, options.good_rate, options.seconds),
    )
    deadline = time.monotonic() + options.patience
    while (good.waiting or good.asked) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    print(json.dumps(figures(good, counts)))
    await throwing.close()
    await behaving.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1_500, help="rubbish a second")
    parser.add_argument("--good-rate", type=float, default=10, help="good commands a second at each service")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds to wait for answers when all is sent")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", action="append", default=[], help="a kind of rubbish to leave out")
    asyncio.run(main(parser.parse_args()))
