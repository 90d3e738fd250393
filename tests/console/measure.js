// What the console costs the fleet, and whether its lists stay quick when they are long. Starts a private fleet and no browser: what a page asks
// is asked as its script does.
//
// Usage: node measure.js HOLDFAST [--orders N] [--series N] [--list N]     (HOLDFAST is the built `holdfast` command)
//
// 1. So many orders live while nobody looks, and again while 50 pages are open, in turns: how many lives a second, each the median of its series.
// 2. Orders are placed until there are so many, and then the first page of each list is asked for, again and again.
//
// Prints a line for each figure. Figures of two machines, or of two runs, are not to be compared; the ratio is.

import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import { parseArgs } from "node:util";

import { Fleet } from "./fleet.js";

const PAGES = [
  { count: 20, path: () => "", everyMs: 5_000 },
  { count: 10, path: () => "log", everyMs: 2_000 },
  { count: 20, path: (ids, number) => `orders/${ids[number % ids.length]}`, live: true },
];
const LOADS = 50;

const median = (figures) => figures.toSorted((one, other) => one - other)[Math.floor(figures.length / 2)];
const at = (share, took) => took.toSorted((one, other) => one - other)[Math.ceil(share * took.length) - 1];

// One load of a page, or a stream of news for as long as it is open.
function ask(fleet, cookie, path, onData) {
  return new Promise((done, failed) => {
    const request = http.get(`${fleet.url}/console/${path}`, { headers: { cookie, "sec-fetch-mode": "same-origin" } }, async (response) => {
      try {
        for await (const part of response) onData?.(part);
        done(response.statusCode);
      } catch (error) {
        failed(error);
      }
    });
    request.on("error", failed);
    onData?.(undefined, () => request.destroy());
  });
}

async function signIn(fleet) {
  const response = await fetch(`${fleet.url}/console/sign-in`, {
    method: "POST",
    redirect: "manual",
    headers: { "content-type": "application/x-www-form-urlencoded", origin: fleet.url, "sec-fetch-site": "same-origin" },
    body: `token=${fleet.token}`,
  });
  const cookie = response.headers.getSetCookie()[0]?.split(";")[0];
  if (!cookie) throw new Error(`sign-in is answered with ${response.status} and no cookie`);
  return cookie;
}

// Opens all pages. Answers what closes them, and says how often they were loaded.
function open(fleet, cookie, ids) {
  const closes = [];
  const counts = { loads: 0, news: 0, failed: 0 };
  const load = (path) =>
    ask(fleet, cookie, path).then(
      (status) => (counts[status === 200 ? "loads" : "failed"] += 1),
      () => (counts.failed += 1),
    );
  for (const { count, path, everyMs, live } of PAGES) {
    for (let number = 0; number < count; number += 1) {
      const page = path(ids, number);
      load(page);
      if (everyMs) {
        const timer = setInterval(() => load(page), everyMs);
        closes.push(() => clearInterval(timer));
      }
      if (live) {
        const onData = (part, close) => {
          if (close) return closes.push(close);
          if (String(part).includes("data:")) {
            counts.news += 1;
            load(page);
          }
        };
        ask(fleet, cookie, `${page}/live`, onData).catch(() => {}); // it is closed by us
      }
    }
  }
  return { counts, close: () => closes.forEach((close) => close()) };
}

// So many orders, from the first to the end of all that they lead to. Answers how many a second.
async function live(fleet, orders, seed) {
  const begun = performance.now();
  const load = spawn(fleet.holdfast, ["load", "--orders", orders, "--seed", seed, "--dir", fleet.directory, "--json"].map(String), { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  load.stderr.on("data", (data) => (said += data));
  const [code] = await once(load, "close");
  if (code !== 0) throw new Error(`load ended with ${code}: ${said}`);
  return orders / ((performance.now() - begun) / 1_000);
}

async function cost(fleet, cookie, { orders, series }) {
  await live(fleet, orders, 1);
  const { data } = await fleet.ask("orders?limit=20");
  const ids = data.map(({ order_id: id }) => id);
  const alone = [];
  const watched = [];
  for (let number = 0; number < series; number += 1) {
    alone.push(await live(fleet, orders, 100 + number));
    const pages = open(fleet, cookie, ids);
    watched.push(await live(fleet, orders, 200 + number));
    pages.close();
    if (pages.counts.failed > 0 || pages.counts.loads === 0) throw new Error(`the pages did not load: ${JSON.stringify(pages.counts)}`);
  }
  const [without, withPages] = [median(alone), median(watched)];
  const figures = `${withPages.toFixed(0)} lives a second with 50 pages open, ${without.toFixed(0)} without`;
  console.log(`${(withPages / without).toFixed(3)}  ${figures}; ${series} series of ${orders} orders each`);
}

async function lists(fleet, cookie, wanted, placed) {
  let left = wanted - placed;
  for (let seed = 300; left > 0; seed += 1) {
    const orders = Math.min(left, 20_000);
    await live(fleet, orders, seed);
    left -= orders;
  }
  const hour = new Date(Date.now() - 3_600_000).toISOString();
  const { data } = await fleet.ask("orders?limit=1");
  const of = encodeURIComponent(data[0].customer_id);
  for (const path of ["orders", `orders?customer_id=${of}`, `orders?placed_from=${hour}`, ""]) {
    const took = [];
    for (let number = 0; number < LOADS; number += 1) {
      const parts = [];
      const begun = performance.now();
      const status = await ask(fleet, cookie, path, (part) => part && parts.push(part));
      took.push(performance.now() - begun);
      const rows = String(Buffer.concat(parts)).match(/href="[^"]*orders\/[0-9a-f-]{36}"/g)?.length ?? 0;
      if (status !== 200 || rows === 0) throw new Error(`${path} is answered with ${status}, and has ${rows} orders`);
    }
    const [p50, p95] = [at(0.5, took), at(0.95, took)].map((ms) => `${ms.toFixed(0)} ms`);
    console.log(`${wanted} orders, ${path.split("?")[0] || "overview"}${path.includes("?") ? ` by ${path.split("?")[1].split("=")[0]}` : ""}: p50 ${p50}, p95 ${p95}`);
  }
}

async function main(holdfast, wants) {
  const fleet = new Fleet(holdfast);
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]]) process.once(signal, () => fleet.stop().then(() => process.exit(code)));
  try {
    await fleet.up();
    const cookie = await signIn(fleet);
    await cost(fleet, cookie, wants);
    await lists(fleet, cookie, wants.list, wants.orders * (1 + 2 * wants.series));
  } finally {
    await fleet.stop();
  }
}

const options = { orders: { type: "string", default: "20000" }, series: { type: "string", default: "3" }, list: { type: "string", default: "150000" } };
let asked;
try {
  asked = parseArgs({ options, allowPositionals: true });
} catch (error) {
  console.error(error.message);
}
const wants = asked && Object.fromEntries(Object.entries(asked.values).map(([name, value]) => [name, Number(value)]));
if (asked?.positionals.length !== 1 || !Object.values(wants).every((number) => number > 0)) {
  console.error("usage: measure.js HOLDFAST [--orders N] [--series N] [--list N]");
  process.exit(2);
}
await main(asked.positionals[0], wants);
