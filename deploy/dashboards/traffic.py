"""What keeps the fleet of the check busy: a shop whose buyers order over HTTP, pay at a fake of Stripe and get mails, as many of each kind as it takes
for every figure of a dashboard to move."""

import concurrent.futures
import itertools
import json
import pathlib
import re
import socketserver
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid

KEY = "sk_test_of_the_dashboards"
SECRET = "whsec_of_the_dashboards_0123456789abcdef"
# A buyer comes as often, and looks as often, and so often, whether the page where he can pay is there.
COMES_EVERY_S, LOOKS_EVERY_S, LOOKS = 0.5, 0.25, 40
# What goes wrong at the provider, of a hundred calls or events.
FAULTS = {"busy": 5, "lost_answer": 3, "event_lost": 5, "event_twice": 5}


class Mailbox(socketserver.StreamRequestHandler):
    """A mail server, which puts some mails off and refuses some."""

    taken = itertools.count(1)

    def say(self, line):
        self.wfile.write(line + b"\r\n")

    def handle(self):
        self.say(b"220 here")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"QUIT":
                self.say(b"221 gone")
                return
            if verb == b"DATA":
                self.say(b"354 go on")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                number = next(self.taken)
                self.say(b"451 later" if number % 5 == 0 else b"550 no" if number % 17 == 0 else b"250 taken")
            else:
                self.say(b"250 yes")


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


def asked(url, method="GET", body=None, headers=None):
    """The status of an answer and what it says."""
    own = {"Content-Type": "application/json"} | (headers or {})
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, own, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, said = answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        status, said = refused.code, refused.read()
    try:
        return status, json.loads(said or b"null")
    except ValueError:
        return status, None


class Outside:
    """Whom the fleet calls: a fake of Stripe, which lies beside the command, and a mail server. Leaving it ends both."""

    def __init__(self, holdfast, work):
        self.work = work
        self.mails = MailServer(("127.0.0.1", 0), Mailbox)
        threading.Thread(target=self.mails.serve_forever, daemon=True).start()
        program = [str(pathlib.Path(holdfast).with_name("fake-stripe")), "--port", "0", "--key", KEY]
        self.stripe = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = re.search(r"http\S+", self.stripe.stdout.readline())[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stripe.terminate()
        self.stripe.wait()
        self.mails.shutdown()
        self.mails.server_close()

    def settings(self):
        """What the fleet must know to find them."""
        key, secret = self.work / "stripe-key", self.work / "stripe-secret"
        key.write_text(KEY)
        secret.write_text(SECRET)
        return {
            "HOLDFAST_PAYMENTS_PROVIDERS": "sandbox,stripe,wallet",
            "HOLDFAST_STRIPE_URL": self.url,
            "HOLDFAST_STRIPE_SECRET_KEY": str(key),
            "HOLDFAST_STRIPE_WEBHOOK_SECRETS": str(secret),
            "HOLDFAST_STRIPE_MISSED_MS": "5000",
            "HOLDFAST_MAIL_SERVER": "127.0.0.1",
            "HOLDFAST_MAIL_PORT": str(self.mails.server_address[1]),
            "HOLDFAST_MAIL_TLS": "none",
            "HOLDFAST_MAIL_FROM": "shop@example.com",
            "HOLDFAST_MAIL_BACKOFF_MS": "5000",
        }

    def control(self, act, **body):
        return asked(f"{self.url}/_fake/{act}", "POST", body)[1]

    def tell(self, gateway):
        """From now on the fake reports to this gateway, and is not always well."""
        self.control("webhook", url=f"{gateway}/webhooks/stripe", secrets=[SECRET])
        asked(f"{self.url}/_fake/faults", "POST", FAULTS)


class Shop:
    """Buyers of one fleet. While it is entered, they come."""

    def __init__(self, outside, gateway, token):
        self.outside, self.gateway, self.bearer = outside, gateway, {"Authorization": f"Bearer {token}"}
        self.closed = threading.Event()
        self.buyers = concurrent.futures.ThreadPoolExecutor(16)
        self.door = threading.Thread(target=self.let_in)

    def __enter__(self):
        self.outside.tell(self.gateway)
        self.post("products", {"sku": "MUG", "name": "Mug"})
        self.post("products/MUG/receive", {"quantity": 100_000})
        self.door.start()
        return self

    def __exit__(self, *_):
        self.closed.set()
        self.door.join()
        self.buyers.shutdown(cancel_futures=True)

    def get(self, path):
        return asked(f"{self.gateway}/v1/{path}", headers=self.bearer)

    def post(self, path, body, key=None):
        return asked(f"{self.gateway}/v1/{path}", "POST", body, self.bearer | {"Idempotency-Key": key or str(uuid.uuid4())})

    def let_in(self):
        stories = [
            self.pays, self.pays, self.is_declined, self.pays, self.walks_away, self.pays, self.wants_it_back, self.pays, self.disputes,
            self.slips, self.pays, self.is_not_answered, self.has_money_set_aside, self.pays, self.looks_around,
        ]
        for story in itertools.cycle(stories):
            if self.closed.wait(COMES_EVERY_S):
                return
            self.buyers.submit(story)

    # What buyers do.

    def orders(self, method="stripe", **more):
        order = str(uuid.uuid4())
        lines = [{"sku": "MUG", "quantity": 1, "unit_price": {"minor_units": 1250, "currency": "EUR"}}]
        body = {"order_id": order, "customer_id": "ann", "payment_method": method, "lines": lines, "contact_email": "ann@shop.example"}
        self.post("orders", body | more)
        return order

    def until(self, order, found):
        """What is found in an order, once it is there; nothing, if that takes too long."""
        for _ in range(LOOKS):
            if answer := found(self.get(f"orders/{order}")[1] or {}):
                return answer
            time.sleep(LOOKS_EVERY_S)
        return None

    def page(self, order):
        """The page of an order at the provider."""
        return self.until(order, lambda found: next((one["checkout_url"] for one in found.get("payments", []) if one.get("checkout_url")), None))

    def pays(self):
        order = self.orders()
        session = (self.page(order) or "").rpartition("/")[2]
        return order, (self.outside.control("pay", session=session) or {}).get("payment_intent")

    def is_declined(self):
        if page := self.page(self.orders()):
            asked(f"{page}?card=decline", "POST")

    def walks_away(self):
        self.orders("sandbox:never", time_to_pay="5s")

    def wants_it_back(self):
        order, _ = self.pays()
        if self.until(order, lambda found: found.get("status") == "paid"):
            self.post(f"orders/{order}/refunds", {"note": "changed his mind"})

    def disputes(self):
        _, paid = self.pays()
        self.closed.wait(2)
        dispute = (self.outside.control("dispute", payment_intent=paid, amount=1250) or {}).get("dispute")
        # The bank takes its time.
        self.closed.wait(40)
        self.outside.control("close_dispute", dispute=dispute, won=True)

    def is_not_answered(self):
        """Wants money back of which the provider never says what became of it."""
        order = self.orders("sandbox:succeed,refund=time_out")
        if self.until(order, lambda found: found.get("status") == "paid"):
            self.post(f"orders/{order}/refunds", {"note": "never came"})

    def has_money_set_aside(self):
        self.orders("sandbox:succeed,hold=capture")

    def slips(self):
        """Sends another command under a key that is taken, which nobody keeps and everybody counts; and one of a shop that is not this one."""
        self.post("products", {"sku": "CUP", "name": f"Cup {time.monotonic_ns()}"}, key="taken")
        self.outside.control("foreign", kind="other_shop")

    def looks_around(self):
        for path in ["orders", "products", "search?text=MUG", f"orders/{uuid.uuid4()}"]:
            self.get(path)
