// Judges a fake-stripe that runs with Stripe's own Node SDK: every object must be read by it, every signature verified, every
// error be of the class that a shop would catch.
//
// Usage: node judge.js URL KEY     (it sets the fake's webhook and faults)
//
// Needs the package stripe. Exit 0 if nothing was found, else 1 and a list.
"use strict";

const http = require("node:http");
const { setTimeout: pause } = require("node:timers/promises");
const Stripe = require("stripe");

const SECRETS = ["whsec_judge_first", "whsec_judge_second"];
const KINDS = ["checkout.session", "payment_intent", "charge", "refund", "dispute", "coupon", "event", "balance_transaction"];
const WITH_CHARGE = { expand: ["latest_charge"] };

// Where the fake's webhooks come: a shop that takes everything, but the first one only at the second try.
class Endpoint {
  constructor() {
    this.came = [];
    this.refused = [];
    this.server = http.createServer(async (request, response) => {
      const parts = [];
      for await (const part of request) parts.push(part);
      const isFirst = this.refused.length === 0;
      const delivery = { body: Buffer.concat(parts), signature: request.headers["stripe-signature"] };
      (isFirst ? this.refused : this.came).push(delivery);
      response.writeHead(isFirst ? 503 : 200).end();
    });
  }

  async open() {
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    return `http://127.0.0.1:${this.server.address().port}/stripe`;
  }
}

class Judge {
  constructor(url, key) {
    this.url = url;
    this.found = [];
    this.checks = 0;
    this.number = 0;
    this.objects = 0;
    this.stripe = this.client(key, 0);
    this.patient = this.client(key, 5);
  }

  client(key, maxNetworkRetries) {
    const { hostname: host, port } = new URL(this.url);
    return new Stripe(key, { host, port, protocol: "http", maxNetworkRetries, timeout: 30_000, telemetry: false });
  }

  check(what, isSo, shown) {
    this.checks += 1;
    if (!isSo) this.found.push(shown === undefined ? what : `${what}: ${JSON.stringify(shown)}`);
  }

  // What a call was answered with, after a look at what the SDK has made of it.
  async read(call) {
    const made = await call;
    const { lastResponse } = made;
    this.check("an answer has an id", lastResponse?.requestId?.startsWith("req_"), lastResponse);
    this.check("an answer's version", lastResponse?.apiVersion === Stripe.API_VERSION, lastResponse?.apiVersion);
    for (const one of made.object === "list" ? made.data : [made]) this.object(one);
    return made;
  }

  object(one) {
    this.objects += 1;
    this.check("a kind of object", KINDS.includes(one.object), one.object);
    this.check("an object has an id", typeof one.id === "string" && one.id !== "", one);
    this.check("when it was made is a number of seconds", Number.isInteger(one.created), one.created);
    this.check("it is of the test mode", one.livemode === false || !("livemode" in one), one.livemode);
    for (const field of ["amount", "amount_total", "amount_received", "amount_refunded"]) {
      this.check(`${field} is whole`, !(field in one) || one[field] === null || Number.isInteger(one[field]), one[field]);
    }
    if (one.object === "event") this.object(one.data.object);
  }

  // The error that a call must end with.
  async refused(what, kind, call, { code, param, says = "" } = {}) {
    try {
      const answer = await call;
      this.check(what, false, answer);
    } catch (error) {
      const told = `${error.type} ${error.statusCode} ${error.code}: ${error.message}`;
      this.check(what, error instanceof Stripe.errors[kind] && error.message.includes(says), told);
      this.check(`${what}: code`, code === undefined || error.code === code, told);
      this.check(`${what}: param`, param === undefined || error.param === param, told);
      const isAnswered = kind !== "StripeConnectionError";
      this.check(`${what}: id of the request`, !isAnswered || error.requestId?.startsWith("req_"), told);
      return error;
    }
    return undefined;
  }

  async control(act, body) {
    const answer = await fetch(`${this.url}/_fake/${act}`, { method: "POST", body: JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${act}: ${text}`);
    return JSON.parse(text);
  }

  async journal() {
    const lines = (await (await fetch(`${this.url}/_fake/journal`)).text()).split("\n");
    return lines.filter((line) => line !== "").map((line) => JSON.parse(line));
  }

  // The status of the buyer's page.
  async pay(session, query = "") {
    return (await fetch(`${this.url}/pay/${session.id}${query}`, { method: "POST", redirect: "manual" })).status;
  }

  params(more) {
    this.number += 1;
    const payment = `node-judge-${Date.now()}-${this.number}`;
    const product = { name: "Tea, green & black [ä]" };
    return {
      mode: "payment",
      line_items: [{ quantity: 2, price_data: { currency: "eur", unit_amount: 1000, product_data: product } }],
      client_reference_id: payment,
      metadata: { payment_id: payment },
      payment_intent_data: { metadata: { payment_id: payment } },
      success_url: "https://shop.example/ok?session={CHECKOUT_SESSION_ID}",
      cancel_url: "https://shop.example/back",
      expires_at: Math.floor(Date.now() / 1000) + 31 * 60,
      ...more,
    };
  }

  session(more = {}) {
    return this.read(this.stripe.checkout.sessions.create(this.params(more)));
  }

  async paid(more = {}) {
    const session = await this.session(more);
    this.check("paying", (await this.pay(session)) < 400, session.id);
    return this.read(this.stripe.checkout.sessions.retrieve(session.id));
  }

  async sessions() {
    const { sessions } = this.stripe.checkout;
    const session = await this.session();
    this.check("a session is open", session.status === "open" && session.payment_intent === null, session);
    this.check("the total", session.amount_total === 2000 && session.currency === "eur", session);
    const shown = await this.read(sessions.retrieve(session.id, { expand: ["line_items"] }));
    this.check("lines in the session", shown.line_items.data[0].quantity === 2, shown.line_items);
    const lines = await sessions.listLineItems(session.id).autoPagingToArray({ limit: 10 });
    this.check("lines of their own", lines.length === 1 && lines[0].amount_total === 2000, lines);
    this.check("a declined card", (await this.pay(session, "?card=decline")) === 402);
    this.check("another card", (await this.pay(session)) < 400);
    const paid = await this.read(sessions.retrieve(session.id, { expand: ["payment_intent.latest_charge"] }));
    this.check("a paid session", paid.status === "complete" && paid.payment_status === "paid", paid);
    const { latest_charge: charge } = paid.payment_intent;
    this.check("its charge", charge.paid && charge.captured && charge.amount === 2000, charge);
    this.object(charge);
    await this.refused("expiring what is paid", "StripeInvalidRequestError", sessions.expire(session.id));
    const other = await this.session();
    this.check("expiring", (await this.read(sessions.expire(other.id))).status === "expired");
    this.check("paying what is expired", (await this.pay(other)) === 409);
  }

  async limits() {
    const { stripe } = this;
    const price = (unit_amount) => ({ currency: "eur", unit_amount, product_data: { name: "Tea" } });
    const now = Math.floor(Date.now() / 1000);
    for (const [what, more, expected] of [
      ["a session that ends too early", { expires_at: now + 29 * 60 }, { param: "expires_at" }],
      ["removed parameters", { payment_method_types: ["card"] }, { code: "parameter_unknown", param: "payment_method_types" }],
      ["long references", { client_reference_id: "r".repeat(201) }, { param: "client_reference_id" }],
      ["too little", { line_items: [{ quantity: 1, price_data: price(49) }] }, { code: "amount_too_small" }],
      ["unknown coupons", { discounts: [{ coupon: "no-such-coupon" }] }, { code: "resource_missing" }],
    ]) {
      const call = stripe.checkout.sessions.create(this.params(more));
      await this.refused(what, "StripeInvalidRequestError", call, expected);
    }
    const wrong = this.client("sk_test_wrong", 0);
    await this.refused("a wrong key", "StripeAuthenticationError", wrong.refunds.list());
    const none = stripe.paymentIntents.retrieve("pi_none");
    await this.refused("what is not there", "StripeInvalidRequestError", none, { code: "resource_missing" });
  }

  async refunds() {
    const { refunds, paymentIntents } = this.stripe;
    const { payment_intent } = await this.paid();
    const part = { payment_intent, amount: 500, metadata: { refund_id: "r1" } };
    const options = { idempotencyKey: `node:${payment_intent}:r1` };
    const first = await this.read(refunds.create(part, options));
    const again = await this.read(refunds.create(part, options));
    this.check("the same key", first.id === again.id, [first.id, again.id]);
    this.check("is said to be replayed", again.lastResponse.headers["idempotent-replayed"] === "true");
    this.check("and is known to the SDK", again.lastResponse.idempotencyKey === options.idempotencyKey);
    const changed = refunds.create({ ...part, amount: 501 }, options);
    await this.refused("the same key for something else", "StripeIdempotencyError", changed);
    const much = refunds.create({ payment_intent, amount: 1501 });
    await this.refused("more than is left", "StripeInvalidRequestError", much, { param: "amount" });
    const dashboard = (await this.control("refund", { payment_intent, amount: 100 })).refund;
    const rest = await this.read(refunds.create({ payment_intent, reason: "requested_by_customer" }));
    this.check("all that is left", rest.amount === 1400, rest);
    const nothing = refunds.create({ payment_intent });
    await this.refused("nothing is left", "StripeInvalidRequestError", nothing, { code: "charge_already_refunded" });
    const ids = [];
    for await (const refund of refunds.list({ payment_intent, limit: 1 })) {
      this.object(refund);
      ids.push(refund.id);
    }
    this.check("all refunds in pages", ids.join() === [rest.id, dashboard, first.id].join(), ids);
    const page = await this.read(refunds.list({ payment_intent, limit: 2, ending_before: first.id }));
    this.check("a page before another", page.data.map((refund) => refund.id).join() === [rest.id, dashboard].join(), page);
    const intent = await this.read(paymentIntents.retrieve(payment_intent, WITH_CHARGE));
    this.check("the charge is refunded", intent.latest_charge.refunded, intent.latest_charge);
    await this.control("refunds_begin", { status: "pending" });
    const pending = await this.read(refunds.create({ payment_intent: (await this.paid()).payment_intent }));
    await this.control("refunds_begin", { status: "succeeded" });
    for (const status of ["requires_action", "pending", "succeeded", "failed"]) {
      await this.control("settle_refund", { refund: pending.id, status });
      this.check("a refund goes on", (await this.read(refunds.retrieve(pending.id))).status === status, status);
    }
  }

  async holds() {
    const { charges, paymentIntents } = this.stripe;
    const manual = { payment_intent_data: { capture_method: "manual" } };
    const session = await this.paid(manual);
    const held = await this.read(paymentIntents.retrieve(session.payment_intent, WITH_CHARGE));
    this.check("an authorised intent", held.status === "requires_capture" && held.amount_capturable === 2000, held);
    const taken = await this.read(paymentIntents.capture(held.id, { amount_to_capture: 1500 }));
    this.check("captured", taken.status === "succeeded" && taken.amount_received === 1500, taken);
    const unexpected = { code: "payment_intent_unexpected_state" };
    const twice = paymentIntents.capture(held.id);
    const error = await this.refused("captured twice", "StripeInvalidRequestError", twice, unexpected);
    this.check("the error shows the intent", error?.payment_intent?.status === "succeeded", error);
    const other = (await this.paid(manual)).payment_intent;
    const gone = await this.read(paymentIntents.cancel(other, { cancellation_reason: "requested_by_customer" }));
    this.check("cancelled", gone.status === "canceled", gone);
    await this.read(charges.retrieve(gone.latest_charge));
  }

  async delayed() {
    const { sessions } = this.stripe.checkout;
    for (const [succeeded, status] of [[true, "succeeded"], [false, "requires_payment_method"]]) {
      const session = await this.session({ allowed_payment_method_types: ["card", "sepa_debit"] });
      this.check("a delayed payment", (await this.pay(session, "?method=sepa_debit")) < 400);
      const expand = ["payment_intent.latest_charge"];
      const before = await this.read(sessions.retrieve(session.id, { expand }));
      this.check("a payment that is under way", before.payment_intent.status === "processing", before);
      await this.control("settle_payment", { session: session.id, succeeded });
      const after = await this.read(sessions.retrieve(session.id, { expand }));
      this.check("a delayed payment that is settled", after.payment_intent.status === status, after);
    }
  }

  async disputesAndCoupons() {
    const { coupons, disputes, refunds } = this.stripe;
    const { payment_intent } = await this.paid();
    const { dispute } = await this.control("dispute", { payment_intent, amount: 2500 });
    this.check("a dispute", (await this.read(disputes.retrieve(dispute))).status === "needs_response");
    const disputed = refunds.create({ payment_intent });
    await this.refused("refunding what is disputed", "StripeInvalidRequestError", disputed, { code: "charge_disputed" });
    await this.control("close_dispute", { dispute, won: true });
    this.check("a dispute that is won", (await this.read(disputes.retrieve(dispute))).status === "won");
    const coupon = { id: `node-judge-${Date.now()}`, amount_off: 500, currency: "eur", duration: "once" };
    await this.read(coupons.create(coupon));
    const twice = coupons.create(coupon);
    await this.refused("a coupon twice", "StripeInvalidRequestError", twice, { code: "resource_already_exists" });
    const session = await this.session({ discounts: [{ coupon: coupon.id }] });
    this.check("a discount", session.amount_total === 1500 && session.total_details.amount_discount === 500, session);
  }

  async faults() {
    const { refunds } = this.stripe;
    for (const [fault, kind, code] of [
      ["busy", "StripeRateLimitError", "rate_limit"],
      ["lock_timeout", "StripeRateLimitError", "lock_timeout"],
      ["forbidden", "StripePermissionError", undefined],
      ["error_after", "StripeAPIError", undefined],
    ]) {
      await this.control("faults", { [fault]: 100 });
      await this.refused(fault, kind, this.stripe.checkout.sessions.create(this.params({})), { code });
    }
    await this.control("faults", {});
    const { payment_intent } = await this.paid();
    await this.control("faults", { lost_answer: 100 });
    await this.refused("lost answers", "StripeConnectionError", refunds.create({ payment_intent, amount: 700 }));
    // With retries the SDK makes a key of its own; its first try is lost, a later one is answered with what the first did.
    const calls = (await this.journal()).length;
    const tried = this.patient.refunds.create({ payment_intent, amount: 300 });
    while ((await this.journal()).length === calls) await pause(10);
    await this.control("faults", {});
    const answer = await this.read(tried);
    this.check("a lost answer is found again", answer.lastResponse.headers["idempotent-replayed"] === "true", answer);
    const done = await this.read(refunds.list({ payment_intent }));
    this.check("and was done once", done.data.map((refund) => refund.amount).join() === "300,700", done.data);
  }

  // All that was delivered, by all that the SDK can say of it. How many events came.
  async events(endpoint) {
    const { events, webhooks } = this.stripe;
    const deadline = Date.now() + 30_000;
    while ((await events.list({ delivery_success: false })).data.length > 0 && Date.now() < deadline) await pause(100);
    const listed = new Map();
    for await (const event of events.list({ limit: 50, delivery_success: true })) listed.set(event.id, event);
    const came = new Map();
    for (const { body, signature } of [...endpoint.refused, ...endpoint.came]) {
      for (const secret of SECRETS) {
        try {
          const event = webhooks.constructEvent(body, signature, secret);
          this.check("it can also be told later", (await webhooks.constructEventAsync(body, signature, secret)).id === event.id);
          this.check("an event's version", event.api_version === Stripe.API_VERSION, event.api_version);
          this.object(event);
          came.set(event.id, event);
        } catch (error) {
          this.check("a signature", false, error.message);
        }
      }
    }
    const [{ body, signature }] = endpoint.came;
    for (const [what, changed, header, secret] of [
      ["a changed body", Buffer.concat([body, Buffer.from(" ")]), signature, SECRETS[0]],
      ["another secret", body, signature, "whsec_of_somebody_else"],
      ["a time that was changed", body, signature.replace(/t=\d+/, `t=${Math.floor(Date.now() / 1000) + 1}`), SECRETS[0]],
    ]) {
      const read = Promise.resolve().then(() => webhooks.constructEvent(changed, header, secret));
      const error = await read.then(() => undefined, (error) => error);
      this.check(what, error instanceof Stripe.errors.StripeSignatureVerificationError, error?.message);
    }
    this.check("what was refused came again", endpoint.came.some((one) => one.body.equals(endpoint.refused[0].body)));
    const missing = [...came.values()].filter((event) => listed.get(event.id)?.type !== event.type);
    this.check("what came is listed", missing.length === 0, missing);
    const types = new Set([...came.values()].map((event) => event.type));
    for (const type of ["checkout.session.completed", "payment_intent.succeeded", "refund.created", "charge.dispute.closed"]) {
      this.check("all kinds of events", types.has(type), type);
    }
    await this.read(events.retrieve(came.keys().next().value));
    return came.size;
  }
}

async function main() {
  const [url, key] = process.argv.slice(2);
  if (key === undefined) throw new Error("judge.js: URL KEY");
  const judge = new Judge(url, key);
  const endpoint = new Endpoint();
  await judge.control("webhook", { url: await endpoint.open(), secrets: SECRETS });
  await judge.control("faults", {});
  for (const part of ["sessions", "limits", "refunds", "holds", "delayed", "disputesAndCoupons", "faults"]) {
    await judge[part]();
  }
  const events = await judge.events(endpoint);
  for (const line of new Set(judge.found)) console.log(line);
  const { checks, found, objects } = judge;
  const read = `${objects} objects and ${events} events`;
  console.log(`${checks} checks by stripe ${Stripe.PACKAGE_VERSION} for Node, ${read}: ${found.length} found`);
  process.exit(found.length === 0 ? 0 : 1);
}

main();
