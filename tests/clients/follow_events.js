// Reads what becomes of orders from another system, with nats.js and nothing of Holdfast's, and prints each event as a CloudEvent in JSON. What
// came while this program was away comes when it is back.
//
// Usage: follow_events.js [NATS_URL] [KEY] [EVENT]    KEY is the file of the user's key, where the broker has users. Ends with the first EVENT,
//                                                     OrderPaid, or with Ctrl-C.
"use strict";

const { readFileSync } = require("node:fs");
const { AckPolicy, jetstream } = require("@nats-io/jetstream");
const { connect, nkeyAuthenticator } = require("@nats-io/transport-node");

// The broker's user, and its durable consumer: the broker remembers under this name what was handled.
const USER = "shop";
const STREAM = "EVENTS_JSON";
const SUBJECT = "json.orders.*";

// Headers that begin with ce- are attributes, percent-encoded; content-type is datacontenttype.
function cloudEvent(message) {
  const names = message.headers.keys().filter((name) => name.startsWith("ce-"));
  const attributes = names.map((name) => [name.slice(3), decodeURIComponent(message.headers.get(name))]);
  return { ...Object.fromEntries(attributes), datacontenttype: message.headers.get("content-type"), data: message.json() };
}

async function main(url = "nats://127.0.0.1:4222", key, last) {
  const authenticator = key ? nkeyAuthenticator(Buffer.from(readFileSync(key, "utf8").trim())) : undefined;
  const connection = await connect({ servers: url, authenticator, inboxPrefix: `_INBOX.${USER}` });
  const broker = jetstream(connection);
  // Without its look at the whole account, which this user may not have.
  const { consumers } = await broker.jetstreamManager(false);
  await consumers.add(STREAM, { durable_name: USER, filter_subject: SUBJECT, ack_policy: AckPolicy.Explicit });
  const messages = await (await broker.consumers.get(STREAM, USER)).consume();
  const handled = new Set();
  for await (const message of messages) {
    const event = cloudEvent(message);
    // An event may come twice. Keep the ids with what you make of the events, in one transaction, and acknowledge after it.
    if (!handled.has(event.id)) {
      handled.add(event.id);
      console.log(JSON.stringify(event));
    }
    await message.ackAck();
    if (event.type.split(".").at(-1) === last) break;
  }
  await connection.close();
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
