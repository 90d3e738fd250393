// Sends orders from another system, with nats.js, in JSON, and nothing of Holdfast's: one that is taken, the same once more, and one that is
// refused.
//
// Usage: place_order.js [NATS_URL] [KEY]    KEY is the file of the user's key, where the broker has users. MUG-01 must be in stock.
"use strict";

const { randomUUID } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { jetstream } = require("@nats-io/jetstream");
const { connect, createInbox, deadline, delay, headers, nkeyAuthenticator } = require("@nats-io/transport-node");

// The broker's user: nobody else may listen below its inbox.
const USER = "shop";
const AGAIN_AFTER_MS = 5_000;
const TRIES = 12;

// Sends a command until it is answered: the answer, and whether it was given before.
async function send(connection, subject, command, commandId) {
  const inbox = createInbox(`_INBOX.${USER}`);
  const answers = connection.subscribe(inbox, { max: 1 });
  const answered = answers[Symbol.asyncIterator]().next();
  const sent = headers();
  for (const [name, value] of [["ce-id", commandId], ["content-type", "application/json"], ["reply-to", inbox]]) {
    sent.set(name, value);
  }
  for (let tried = 0; tried < TRIES; tried++) {
    try {
      // The broker says that it has the command; only the answer says that it is done.
      await jetstream(connection).publish(subject, JSON.stringify(command), { headers: sent });
      const { value: answer } = await deadline(answered, AGAIN_AFTER_MS);
      return { ...answer.json(), isRepeated: answer.headers.has("ce-repeated") };
    } catch (error) {
      console.error(`no answer yet (${error.message}): the same again`);
      await delay(1_000);
    }
  }
  throw new Error(`no answer to ${commandId}: send it again later, under the same id`);
}

function order(quantity) {
  return {
    orderId: randomUUID(),
    customerId: "customer-42",
    lines: [{ sku: "MUG-01", quantity: String(quantity), unitPrice: { minorUnits: "1250", currency: "EUR" } }],
    paymentMethod: "sandbox:succeed",
  };
}

async function main(url = "nats://127.0.0.1:4222", key) {
  const authenticator = key ? nkeyAuthenticator(Buffer.from(readFileSync(key, "utf8").trim())) : undefined;
  const connection = await connect({ servers: url, authenticator, inboxPrefix: `_INBOX.${USER}` });

  // Keep both together before you send: after a crash the same command goes out under the same id.
  const [placed, commandId] = [order(2), randomUUID()];
  console.log("placed:", JSON.stringify(await send(connection, "cmd.orders.PlaceOrder", placed, commandId)));

  // Whoever does not know whether it was done sends it again. It is answered again, and done once.
  console.log("the same again:", JSON.stringify(await send(connection, "cmd.orders.PlaceOrder", placed, commandId)));

  // A refusal has a code and a remedy for programs, and a reason for people. It stands: what is corrected needs another id.
  console.log("refused:", JSON.stringify(await send(connection, "cmd.orders.PlaceOrder", order(0), randomUUID())));
  await connection.close();
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
