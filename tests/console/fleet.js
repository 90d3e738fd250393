// A private fleet with something to show on every page of the console: orders in every state, among them those of customers with names that
// break pages; a round; a refund and a charge that wait for somebody; dead letters.

import { spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";

export const HOSTILE = "<script>alert(1)</script>";
export const RIGHT_TO_LEFT = "\u0645\u0631\u064a\u0645 \u202e\u0646\u0648\u0631\u0627\u202c \u{1f6d2} \u05e9\u05dc\u05d5\u05dd";
export const LONG = "customer-".concat("0123456789".repeat(12)).slice(0, 120);

const PATIENCE_MS = 30_000;
// A fleet is not told what is for this check alone.
const { HOLDFAST_CHROMIUM: _, ...ENVIRONMENT } = process.env;

// Something with the form of a UUID that is the same for the same name, so that pictures differ only where pages do.
function idOf(name) {
  const hex = createHash("sha256").update(name).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

export class Fleet {
  // Starts `holdfast up` in a directory of its own.
  constructor(holdfast) {
    this.holdfast = holdfast;
    this.scratch = mkdtempSync(join(tmpdir(), "holdfast-console-"));
    // Postgres runs as another user where this is run by root.
    chmodSync(this.scratch, 0o755);
    this.directory = join(this.scratch, "fleet");
    this.process = spawn(holdfast, ["up", "--dir", this.directory], { stdio: ["ignore", "pipe", "inherit"], env: ENVIRONMENT });
    this.ended = once(this.process, "exit").catch((error) => console.error(error.message));
  }

  // Waits until it is up.
  async up() {
    for await (const line of createInterface({ input: this.process.stdout })) {
      const [, url, token] = line.match(/^HTTP +export HOLDFAST=(\S+) TOKEN=(\S+)$/) ?? [];
      if (url) Object.assign(this, { url, token });
      const [, nats] = line.match(/^NATS +(\S+)$/) ?? [];
      if (nats) this.nats = new URL(nats);
      if (line.startsWith("The fleet is up")) break;
    }
    this.process.stdout.resume();
    if (!this.url || !this.nats) throw new Error("the fleet did not come up");
  }

  // Stops it, and removes what it stored.
  async stop() {
    this.loading?.kill();
    this.process.kill("SIGINT");
    await this.ended;
    rmSync(this.scratch, { recursive: true, force: true });
  }

  async ask(path, body) {
    const headers = { authorization: `Bearer ${this.token}`, "content-type": "application/json", "idempotency-key": randomUUID() };
    const asked = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
    const response = await fetch(`${this.url}/v1/${path}`, asked);
    const answer = await response.json();
    if (!response.ok) throw new Error(`${path}: ${response.status} ${JSON.stringify(answer)}`);
    return answer;
  }

  // Messages as they are, for what the gateway does not let through.
  async publish(messages) {
    const socket = net.connect(Number(this.nats.port), this.nats.hostname);
    await once(socket, "data");
    const parts = ['CONNECT {"verbose":false,"headers":true}\r\n'];
    for (const { subject, headers, body } of messages) {
      const lines = Object.entries({ "ce-id": randomUUID(), ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
      const head = `NATS/1.0\r\n${lines.join("")}\r\n`;
      parts.push(`HPUB ${subject} ${Buffer.byteLength(head)} ${Buffer.byteLength(head + body)}\r\n${head}${body}\r\n`);
    }
    let answered = "";
    socket.on("data", (data) => (answered += data));
    socket.write(`${parts.join("")}PING\r\n`);
    while (!answered.includes("PONG")) await once(socket, "data");
    socket.end();
  }

  // Asks again until it is so. A fixed pause would be too short on one machine and too long on another.
  async until(what, path, isSo) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const answer = await this.ask(path);
      if (isSo(answer)) return answer;
      if (Date.now() > deadline) throw new Error(`waited in vain for ${what}: ${JSON.stringify(answer).slice(0, 2_000)}`);
      await pause(50);
    }
  }

  untilStatus(orderId, ...statuses) {
    return this.until(`${orderId} ${statuses}`, `orders/${orderId}`, (order) => statuses.includes(order.status));
  }

  async place(name, customerId, more) {
    const lines = [{ sku: "MUG-01", quantity: 2, unit_price: { minor_units: 1250, currency: "EUR" } }];
    const order = { order_id: idOf(name), customer_id: customerId, payment_method: "sandbox:succeed", lines, ...more };
    await this.ask("orders", order);
    return order.order_id;
  }

  // A mix of orders of many customers, more than a page shows.
  async load() {
    const asked = ["load", "--orders", "150", "--products", "30", "--rounds", "4", "--seed", "7", "--dir", this.directory, "--json"];
    const load = spawn(this.holdfast, asked, { stdio: ["ignore", "ignore", "pipe"], env: ENVIRONMENT });
    this.loading = load;
    let said = "";
    load.stderr.on("data", (data) => (said += data));
    const [code] = await once(load, "close");
    if (code !== 0) throw new Error(`load ended with ${code}: ${said}`);
  }

  // Answers the ids of what there is to see.
  async seed() {
    const loaded = this.load();
    loaded.catch(() => {}); // it is looked at below
    await this.ask("products", { sku: "MUG-01", name: "Mug, white, 0.3 l" });
    await this.ask("products", { sku: "HOSTILE-01", name: HOSTILE });
    for (const sku of ["MUG-01", "HOSTILE-01"]) await this.ask(`products/${sku}/receive`, { quantity: 1000 });
    const round = idOf("round");
    const price = { minor_units: 500, currency: "EUR" };
    const closes = new Date(Date.now() + 86_400_000).toISOString();
    await this.ask("rounds", { round_id: round, prize: "A bicycle", share_price: price, total_shares: 100, closes_at: closes });
    const drawn = idOf("round that is drawn");
    await this.ask("rounds", { round_id: drawn, prize: "An espresso machine", share_price: price, total_shares: 2, closes_at: closes });

    const hostileRound = idOf("hostile round");
    await this.ask("rounds", { round_id: hostileRound, prize: `A mug ${HOSTILE}`, share_price: price, total_shares: 2, closes_at: closes });

    const reference = "R-1001";
    const orders = {
      paid: await this.place("paid", "customer-42", { reference, shares: { round_id: round, count: 3, unit_price: price } }),
      winner: await this.place("winner", "customer-48", { shares: { round_id: drawn, count: 2, unit_price: price } }),
      pending: await this.place("pending", "customer-42", { payment_method: "sandbox:never" }),
      cancelled: await this.place("cancelled", "customer-43", { payment_method: "sandbox:never" }),
      refunded: await this.place("refunded", "customer-44"),
      failed: await this.place("failed", "customer-45", { payment_method: "sandbox:succeed,refund=fail_later,refund_after=1s" }),
      charged: await this.place("charged", "customer-46", { payment_method: "sandbox:never" }),
      hostile: await this.place("hostile", HOSTILE, {
        reference: '"><img src=x onerror=alert(1)>',
        lines: [{ sku: "HOSTILE-01", quantity: 1, unit_price: { minor_units: 1, currency: "EUR" } }],
      }),
      rightToLeft: await this.place("right to left", RIGHT_TO_LEFT),
      long: await this.place("long", LONG, { payment_method: "sandbox:decline" }),
    };
    await this.ask(`orders/${orders.cancelled}/cancel`, { note: `changed his mind ${HOSTILE}` });
    for (const name of ["paid", "refunded", "failed", "hostile", "rightToLeft"]) await this.untilStatus(orders[name], "paid");
    await this.ask(`orders/${orders.refunded}/refunds`, { note: "one was broken" });
    await this.ask(`orders/${orders.failed}/refunds`, { note: "never arrived" });

    // Two charges, of which the second fits nothing; and events without a type, which nobody can handle.
    const { payments } = await this.until("its payment", `orders/${orders.charged}`, (order) => order.payments.length > 0);
    const charge = (id, cents) => ({
      subject: "cmd.payments.RecordProviderEvent",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        kind: "PROVIDER_EVENT_KIND_PAYMENT_SUCCEEDED",
        paymentId: payments[0].payment_id,
        amount: { minorUnits: String(cents), currency: "EUR" },
        providerEventId: id,
        providerReference: id,
        occurredAt: new Date().toISOString(),
      }),
    });
    const letter = { subject: "evt.orders.OrderPaid", headers: {}, body: "\u0001 what nobody can read" };
    await this.publish([charge("ch_1", 2500)]);
    await this.untilStatus(orders.charged, "paid");
    await this.publish([charge("ch_2", 999), letter]);

    await this.untilStatus(orders.cancelled, "cancelled");
    await this.untilStatus(orders.refunded, "refunded");
    await this.untilStatus(orders.long, "cancelled");
    await loaded;
    const wanted = ["DEAD_LETTERS", "MONEY_UNMATCHED", "REFUND_UNDECIDED"];
    const areFound = ({ findings }) => wanted.every((code) => findings.some((finding) => finding.code === code));
    await this.until(wanted.join(" and "), "admin/diagnosis", areFound);
    await this.until("a winner", `rounds/${drawn}`, ({ draw }) => draw?.status === "drawn");
    return { orders, round, drawn, hostileRound, reference, sku: "MUG-01", hostileSku: "HOSTILE-01" };
  }
}
