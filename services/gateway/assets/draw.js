// What makes the page of a round look: for one's own tickets, whether the draw is right, and whether there is news. Without it the page says how
// to do all of that.

const main = document.querySelector("main");
const round = main.dataset.round;
const AGAIN_MS = 10000;
// An order that was given another chance has its shares in a later attempt.
const ATTEMPTS_MAX = 9;

const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const bytesOf = (digits) => Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const textOf = (text) => new TextEncoder().encode(text);
const sha256 = async (bytes) => hex(await crypto.subtle.digest("SHA-256", bytes));

async function load(name) {
  const answer = await fetch(`${round}/${name}`);
  if (!answer.ok) throw new Error(`${name} is answered with ${answer.status}`);
  return answer.text();
}

// Its lines: first ticket, how many, code.
function lines(list) {
  return list.trimEnd().split("\n").map((line) => {
    const [first, count, code] = line.split(" ");
    return { first: Number(first), count: Number(count), code };
  });
}

async function mine(order) {
  const list = lines(await load("tickets.txt"));
  const told = [];
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
    const code = (await sha256(textOf(`holdfast ticket ${round} ${order}.${attempt}`))).slice(0, 32);
    const { first, count } = list.find((line) => line.code === code) ?? {};
    if (count) told.push(count === 1 ? `ticket ${first}` : `tickets ${first} to ${first + count - 1}`);
  }
  return told.length > 0 ? `That order has ${told.join(", ")}.` : "That order has no ticket in this list.";
}

function isNumbered(list, tickets) {
  let next = 1;
  for (const { first, count } of lines(list)) {
    if (first !== next || !(count > 0)) return false;
    next += count;
  }
  return next === tickets + 1;
}

async function value(draw) {
  if (draw.beacon === "sandbox") return sha256(textOf(`holdfast sandbox beacon ${draw.beacon_round}`));
  return sha256(bytesOf(draw.beacon_signature));
}

async function check() {
  const draw = JSON.parse(await load("draw.json"));
  if (!draw.tickets_sha256) return [["its tickets are listed once it is sold out", true]];
  const list = await load("tickets.txt");
  const steps = [
    ["the list is the one that was told of", (await sha256(textOf(list))) === draw.tickets_sha256],
    ["every ticket has one number, from 1 on, without a gap", isNumbered(list, draw.tickets)],
  ];
  if (!draw.seed) return steps;
  const hash = await sha256(bytesOf(draw.seed + draw.beacon_value + draw.tickets_sha256));
  const ticket = 1 + Number(BigInt(`0x${hash}`) % BigInt(draw.tickets));
  const holder = lines(list).find(({ first, count }) => first <= ticket && ticket < first + count);
  return [
    ...steps,
    ["the seed is the one that was chosen when the round was opened", (await sha256(bytesOf(draw.seed))) === draw.commitment],
    ["the value is what the beacon's signature makes it", (await value(draw)) === draw.beacon_value],
    [`ticket ${ticket} follows from the seed, the value and the list`, ticket === draw.winning_ticket],
    ["the code is the one that the list has for the ticket", holder?.code === draw.winning_code],
  ];
}

const steps = document.getElementById("steps");
function tell(told) {
  steps.replaceChildren(
    ...told.map(([claim, isSo]) => {
      const item = document.createElement("li");
      item.textContent = `${isSo ? "✓" : "✗ NOT SO:"} ${claim}`;
      return item;
    }),
  );
}

// Browsers hash only for pages that nobody on the way can have changed.
const canHash = globalThis.isSecureContext && crypto.subtle;
const asked = document.getElementById("check");
if (asked && canHash) {
  asked.hidden = false;
  asked.querySelector("button").addEventListener("click", async () => {
    try {
      tell(await check());
    } catch (error) {
      tell([[`it could not be looked at: ${error.message}`, false]]);
    }
  });
}

const form = document.getElementById("mine");
if (form && canHash) {
  const found = document.getElementById("found");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      found.textContent = await mine(form.elements.order.value.trim().toLowerCase());
    } catch (error) {
      found.textContent = `It could not be looked up: ${error.message}`;
    }
  });
}

// Not under somebody's hands.
const isIdle = () => !document.hidden && !form?.contains(document.activeElement) && steps?.childElementCount === 0;
if (main.dataset.over !== "true") setInterval(() => isIdle() && location.reload(), AGAIN_MS);
