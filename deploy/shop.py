"""Buyers who place orders through the gateway while a fleet is harmed, and whether each order ends as it has to.

run.py and failover.py harm a fleet each in its own way; this is what both do besides.
"""

import http.client
import json
import subprocess
import threading
import time
import uuid

# How a buyer pays, and what becomes of the order. Each in its turn.
SCRIPTS = [
    ("sandbox:succeed", "paid"),
    ("sandbox:succeed,after=300ms", "paid"),
    ("sandbox:succeed", "refunded"),
    ("sandbox:decline", "cancelled"),
    ("sandbox:never", "expired"),
]


# One in so many orders buys a share besides.
SHARE_OF = 4
ROUND = str(uuid.uuid5(uuid.NAMESPACE_OID, "the round"))


def euros(cents):
    return {"minor_units": cents, "currency": "EUR"}


def run(*command, **more):
    """Runs a command; its output, if it went well."""
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **more)
    if ran.returncode != 0:
        raise SystemExit(f"deploy: {' '.join(map(str, command))}: exit code {ran.returncode}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}")
    return ran.stdout


def until(what, seconds, probe):
    """Waits until a probe answers something."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"deploy: {what}: not within {seconds} s")
        time.sleep(0.05)


class Caller:
    """Asks the gateway, each time in the same connection while that stands."""

    def __init__(self, token, port):
        self.token, self.port, self.connection, self.bought = token, port, None, 0

    def ask(self, path, key=None, body=None):
        """What the gateway answers, or None if it does not yet."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self.connection.request("POST" if key else "GET", f"/v1/{path}", json.dumps(body or {}) if key else None, headers)
            answer = self.connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection = None
            return None
        if answer.status in (200, 201):
            return json.loads(said)
        # What is under way, or cannot be done now, is asked for again.
        if answer.status in (202, 409) or answer.status >= 500:
            time.sleep(0.05)
            return None
        raise SystemExit(f"deploy: {path}: {answer.status} {said.decode()}")

    def insist(self, what, path, key=None, body=None, is_so=lambda answer: True):
        """Asks until the answer is as it must be."""
        def probe():
            answer = self.ask(path, key, body)
            return answer if answer is not None and is_so(answer) else None
        return until(what, 120, probe)

    def stock(self):
        """Something to buy, and enough of it."""
        self.insist("a product", "products", "product-1", {"sku": "MUG-01", "name": "Mug"})
        self.insist("stock", "products/MUG-01/receive", "delivery-1", {"quantity": 1_000_000})
        closes = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400))
        self.insist("a round", "rounds", "round-1", {"round_id": ROUND, "prize": "Machine", "total_shares": 100_000, "share_price": euros(500), "closes_at": closes})

    def buys(self):
        """How long it takes until an order is placed and paid from now on."""
        began = time.monotonic()
        self.bought += 1
        order_id, body = order(f"probe {self.bought}", "sandbox:succeed")
        self.insist("an order", "orders", f"probe-{self.bought}", body)
        self.insist("its money", f"orders/{order_id}", is_so=lambda order: order["status"] == "paid")
        return time.monotonic() - began


def order(number, script):
    line = {"sku": "MUG-01", "quantity": 1, "unit_price": euros(1250)}
    order_id = str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))
    body = {"order_id": order_id, "customer_id": f"customer-{order_id[:2]}", "payment_method": script, "lines": [line]}
    body |= {"time_to_pay": "5s"} if script == "sandbox:never" else {}
    has_share = isinstance(number, int) and number % SHARE_OF == 0
    return order_id, body | ({"shares": {"round_id": ROUND, "count": 1, "unit_price": euros(500)}} if has_share else {})


class Shop:
    """Buyers who place orders until they are told to stop, and what is to become of each order."""

    def __init__(self, token, port, buyers):
        self.token, self.port, self.lock, self.placed, self.told, self.failed = token, port, threading.Lock(), {}, False, None
        self.buyers = [threading.Thread(target=self.buy) for _ in range(buyers)]
        self.number = 0
        for buyer in self.buyers:
            buyer.start()

    def buy(self):
        caller = Caller(self.token, self.port)
        try:
            while not self.told:
                with self.lock:
                    number, self.number = self.number, self.number + 1
                script, ends = SCRIPTS[number % len(SCRIPTS)]
                order_id, body = order(number, script)
                caller.insist("an order", "orders", f"order-{number}", body)
                if ends == "refunded":
                    caller.insist("its money", f"orders/{order_id}", is_so=lambda order: order["status"] == "paid")
                    caller.insist("a refund", f"orders/{order_id}/refunds", f"refund-{number}", {"note": "changed his mind"})
                with self.lock:
                    self.placed[order_id] = ends
        except BaseException as error:
            self.failed = error
            raise

    def stop(self):
        self.told = True
        for buyer in self.buyers:
            buyer.join()
        if self.failed:
            raise SystemExit(f"deploy: a buyer could not buy: {self.failed}")


def not_as_told(caller, shop):
    """Orders that have not become what they had to, after as long as anything may take."""
    left, deadline = dict(shop.placed), time.monotonic() + 120
    while left and time.monotonic() < deadline:
        statuses = {order_id: caller.insist("an order", f"orders/{order_id}")["status"] for order_id in left}
        left = {order_id: (ends, statuses[order_id]) for order_id, ends in shop.placed.items() if statuses.get(order_id, ends) != ends}
    return list(left.items())
