// Can everybody use every page of the console, in light and dark, on a phone and a desk, with and without script and behind a prefix; does it
// obey its own policy; is it small and quick; what do people meet who use it? Starts a private fleet with something to show, and a Chromium.
//
// Usage: node check.js HOLDFAST [--pictures DIR] [--timed]     (HOLDFAST is the built `holdfast` command)
//
// How long a page takes is told, and judged only with --timed: a machine that has much else to do is no fault of a page.
//
// Needs the packages playwright-core and axe-core, and a Chromium in HOLDFAST_CHROMIUM: ./justw check-console. Prints a line for each check.
// Exit 0 if all is well, 1 if not, 2 for wrong usage.

import { mkdirSync } from "node:fs";
import http from "node:http";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { Fleet, HOSTILE, LONG, RIGHT_TO_LEFT } from "./fleet.js";
import { Browser, HTML_MAX } from "./probe.js";
import { Relay } from "./relay.js";
import { Visits } from "./visit.js";

const LOOKS = ["light", "dark"].flatMap((scheme) => [320, 1280].map((width) => ({ scheme, width })));
const PICTURES = { light: { scheme: "light", height: 900 }, dark: { scheme: "dark", height: 900 }, phone: { width: 360, height: 780, scale: 2 } };
const ASSETS_MAX = { js: 40_000, css: 20_000 };
const LOADS = 10;
const LOADS_TIMED = 50;
const P95_MAX_MS = 200;
const SERIES_MAX = 3;
const PREFIX = "/shop/eu/";
const AT_ONCE = 2;

// Every page: where it is below console/. `like`: it is the page above with other data, so it is not timed again. `says`: what must be in it as text.
function pagesOf({ orders, round, drawn, hostileRound, reference, sku, hostileSku }) {
  return [
    { name: "sign-in", path: "sign-in", open: true },
    { name: "overview", path: "", picture: true },
    { name: "orders", path: "orders", picture: true },
    { name: "order, paid", path: `orders/${orders.paid}`, picture: "order", says: [reference, "MUG-01"] },
    { name: "order, pending", path: `orders/${orders.pending}`, like: true },
    { name: "order, cancelled", path: `orders/${orders.cancelled}`, like: true },
    { name: "order, refunded", path: `orders/${orders.refunded}`, like: true },
    { name: "order, of <script>", path: `orders/${orders.hostile}`, like: true, says: [HOSTILE] },
    { name: "order, right to left", path: `orders/${orders.rightToLeft}`, like: true, says: [RIGHT_TO_LEFT] },
    { name: "order, long name", path: `orders/${orders.long}`, like: true, says: [LONG] },
    { name: "order, unknown", path: "orders/00000000-0000-4000-8000-000000000000", like: true, status: 404 },
    { name: "decide", path: "decide", picture: true },
    { name: "stock", path: "stock" },
    { name: "product", path: `stock/${sku}`, says: [sku] },
    { name: "product, <script>", path: `stock/${hostileSku}`, like: true, says: [HOSTILE] },
    { name: "rounds", path: "rounds" },
    { name: "round", path: `rounds/${round}`, says: ["A bicycle"] },
    { name: "round, drawn", path: `rounds/${drawn}`, like: true, says: ["An espresso machine", orders.winner] },
    // For everybody, and so not below console/.
    { name: "round, for everybody", path: `../rounds/${round}`, open: true, says: ["A bicycle", "3 of 100 shares are sold"] },
    { name: "round, drawn, for everybody", path: `../rounds/${drawn}`, open: true, picture: "draw", says: ["An espresso machine", "has won", "What it does not prove"] },
    { name: "round, <script>, for everybody", path: `../rounds/${hostileRound}`, open: true, like: true, says: [HOSTILE] },
    { name: "letters", path: "letters" },
    { name: "diagnosis", path: "diagnosis" },
    { name: "fleet", path: "fleet" },
    { name: "log", path: "log" },
    { name: "search", path: "search?text=customer-42" },
    // Of nobody: a search that finds one thing alone may lead to it.
    { name: "search, <script>", path: `search?text=${encodeURIComponent(`${HOSTILE}!`)}`, like: true, says: [`${HOSTILE}!`] },
    // Where links lead, one after the other: what is in the address of a form is the page's own business.
    { name: "act, cancel", ways: [`orders/${orders.pending}`, "act/cancel"], says: [orders.pending] },
    { name: "act, refund", ways: [`orders/${orders.paid}`, "act/refund"], like: true, says: [orders.paid] },
    { name: "act, resolve-refund", ways: ["decide", "act/resolve-refund"], like: true, says: [orders.failed] },
    { name: "act, adjust", ways: [`stock/${sku}`, "act/adjust"], like: true, says: [sku] },
    { name: "act, redrive", ways: ["letters", "letters/", "act/redrive"], like: true },
  ];
}

const counts = { ok: 0, failed: 0 };

function tell(what, faults, told = "") {
  counts[faults.length === 0 ? "ok" : "failed"] += 1;
  console.log(`${faults.length === 0 ? "ok    " : "FAILED"}  ${what}${told && `: ${told}`}`);
  for (const [kind, text] of faults) console.log(`          ${kind}: ${text}`);
}

// As it is asked, with no cookie but those given, and no redirect followed.
function ask(url, { method = "GET", headers = {}, body } = {}) {
  return new Promise((done, failed) => {
    const request = http.request(url, { method, headers }, async (response) => {
      let text = "";
      for await (const part of response.setEncoding("utf8")) text += part;
      done({ status: response.statusCode, headers: response.headers, text });
    });
    request.on("error", failed).end(body);
  });
}

async function serve(handler) {
  const server = http.createServer(handler);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { server, url: `http://127.0.0.1:${server.address().port}` };
}

// Runs so many at once as there are processors in CI.
async function each(list, run) {
  const waiting = list[Symbol.iterator]();
  const work = async () => {
    for (const one of waiting) await run(one);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

// A page that is wrong in every way. A probe that takes it for a good one proves nothing.
async function theProbeSees(browser) {
  const page = `<!doctype html><title></title><p style="color: red">a<a href="/away">b</a><font color="#eeeeee">c</font>
    <img src="http://127.0.0.1:1/x.png"><table width="900"><tr><td>d</table><script>alert(1); throw new Error("x")</script><!--${"x".repeat(HTML_MAX)}-->`;
  const { server, url } = await serve((request, response) => {
    response.setHeader("content-security-policy", "style-src 'none'; script-src 'unsafe-inline'");
    response.setHeader("content-type", "text/html").end(page);
  });
  const { faults } = await browser.examine(`${url}/`, {}, [{ scheme: "light", width: 320 }], { status: 201 });
  server.close();
  const kinds = new Set(faults.map(({ kind }) => kind));
  const wanted = "status,policy,weight,forbidden,console,page error,dialog,other origin,too wide,absolute,h1,main,title,axe".split(",");
  const missed = wanted.filter((kind) => !kinds.has(kind)).map((kind) => ["not seen", kind]);
  tell("a page that is wrong in every way is seen to be", missed, `${kinds.size} kinds of faults`);
}

// Signs in as people do, and answers the cookies.
async function signIn(browser, base, token, options) {
  const page = await (await browser.context(options)).newPage();
  const faults = [];
  const expect = (isSo, text) => isSo || faults.push(["sign-in", text]);
  try {
    await page.goto(`${base}console/`);
    expect(page.url() === `${base}console/sign-in` || page.url().startsWith(`${base}console/sign-in?`), `console/ leads to ${page.url()}`);
    const inputs = await page.locator("form[method=post] input[type=password]").evaluateAll((found) => found.map(({ name }) => name));
    expect(inputs.join() === "token", `the form asks for the passwords [${inputs}]`);
    const send = async (value) => {
      await page.locator("input[name=token]").fill(value);
      const answered = page.waitForResponse((response) => response.request().method() === "POST");
      await page.locator("form[method=post]:has(input[name=token]) button, form[method=post] input[type=submit]").first().click();
      const answer = await answered;
      await page.waitForLoadState("load");
      return answer;
    };
    const refused = await send("f".repeat(64));
    expect(refused.status() !== 303 || (await refused.headerValue("location")).includes("sign-in"), "a token that nobody has signs in");
    await page.goto(`${base}console/`);
    expect(page.url().includes("console/sign-in"), "after a token that nobody has one is in");
    const taken = await send(token);
    expect(taken.status() === 303, `POST answers ${taken.status()} instead of 303`);
    const cookie = (await taken.headerValue("set-cookie")) ?? "";
    for (const word of ["HttpOnly", "SameSite=Strict"]) expect(cookie.toLowerCase().includes(word.toLowerCase()), `the cookie is not ${word}`);
    await page.waitForURL(`${base}console/`);
    expect((await page.locator("main").count()) === 1, "what one sees then has no main");
    return { faults, cookies: await page.context().cookies() };
  } catch (error) {
    faults.push(["sign-in", error.message.split("\n")[0]]);
    return { faults, cookies: [] };
  } finally {
    await page.close();
  }
}

// All pages to which links lead; those that are reached by them get their addresses.
async function reached(browser, base, pages, cookies) {
  const page = await (await browser.context({ cookies })).newPage();
  for (const wanted of pages.filter(({ ways }) => ways)) {
    const [begin, ...ways] = wanted.ways;
    let path = begin;
    for (const way of ways) {
      await page.goto(`${base}console/${path}`);
      const links = await page.locator("main a[href]").evaluateAll((all) => all.map(({ href }) => href));
      const next = links.find((link) => link.startsWith(`${base}console/${way}`));
      if (!next) tell(wanted.name, [["link", `${path} has none to ${way}`]]);
      path = next?.slice(`${base}console/`.length);
      if (!next) break;
    }
    wanted.path = path;
  }
  await page.close();
  return pages.filter(({ path }) => path !== undefined);
}

// What a page is for whoever has not signed in, and for a form on the page of somebody else.
async function whoIsNobody(base, pages, token) {
  for (const { name, path } of pages.filter(({ open }) => !open)) {
    const { status, headers } = await ask(`${base}console/${path}`);
    const to = headers.location && new URL(headers.location, `${base}console/${path}`).pathname;
    const isWell = status === 303 && to === new URL(`${base}console/sign-in`).pathname;
    tell(`${name}, without a cookie`, isWell ? [] : [["redirect", `${status} to ${to}`]], "303 to sign-in");
  }
  const headers = { "content-type": "application/x-www-form-urlencoded", origin: "https://elsewhere.example", "sec-fetch-site": "cross-site" };
  const { status } = await ask(`${base}console/sign-in`, { method: "POST", headers, body: `token=${token}` });
  tell("sign-in, posted by a page of somebody else", status >= 400 ? [] : [["taken", String(status)]], String(status));
}

// Every page in every look, with a line for each page. What is wrong in several looks is said once.
async function inEveryLook(browser, base, pages, cookies) {
  const links = new Set();
  await each(pages, async (page) => {
    const options = { cookies: page.open ? [] : cookies };
    const { faults, seen, weight, rules } = await browser.examine(`${base}console/${page.path}`, options, LOOKS, page);
    for (const words of page.says ?? []) if (seen && !seen.text.includes(words)) faults.push({ kind: "text", text: `${words} is not in it` });
    if (!page.open && !page.status) for (const link of seen?.links ?? []) links.add(link.split("#")[0]);
    const looks = new Map();
    for (const { kind, text, look } of faults) {
      const names = looks.get(`${kind}: ${text}`) ?? [];
      if (look) names.push(`${look.scheme} at ${look.width} px`);
      looks.set(`${kind}: ${text}`, names);
    }
    const where = (names) => (names.length === 0 || names.length === LOOKS.length ? "whatever the look" : names.join(", "));
    tell(page.name, [...looks].map(([fault, names]) => [where(names), fault]), `${rules} rules of axe, ${weight} bytes`);
  });
  return links;
}

async function withoutScript(browser, base, pages, cookies) {
  await each(pages, async (page) => {
    const options = { script: false, cookies: page.open ? [] : cookies };
    const { faults } = await browser.examine(`${base}console/${page.path}`, options, LOOKS.slice(-1), { ...page, axe: false });
    tell(`${page.name}, without script`, faults.map(({ kind, text }) => [kind, text]), `${page.status ?? 200}, with h1 and main`);
  });
}

// Links of all those pages that stay in the console lead to something.
async function followed(base, links, cookies) {
  // As a page's own script asks: that is no use of the session, which is renewed by nobody then.
  const headers = { cookie: cookies.map(({ name, value }) => `${name}=${value}`).join("; "), "sec-fetch-mode": "same-origin" };
  const dead = [];
  const inside = [...links].filter((link) => link.startsWith(`${base}console/`) && !link.includes("sign-out"));
  await each(inside, async (link) => {
    const { status } = await ask(link, { headers });
    if (status !== 200) dead.push(["link", `${link.slice(base.length)}: ${status}`]);
  });
  if (inside.length === 0) dead.push(["link", "there are none"]);
  tell("links within the console", dead, `${inside.length} lead to something`);
}

function weighed(browser) {
  for (const [kind, most] of Object.entries(ASSETS_MAX)) {
    const found = [...browser.assets].filter(([, asset]) => asset?.kind === kind);
    const bytes = found.reduce((sum, [, asset]) => sum + asset.bytes, 0);
    const faults = bytes > most ? found.map(([path, asset]) => ["too heavy", `${path}: ${asset.bytes} bytes`]) : [];
    tell(`all .${kind} that was served`, faults, `${bytes} of ${most} bytes gzipped, in ${found.length} files`);
  }
}

// A page that is slow is slow in every series; a machine that has much else to do need not be busy in all of them.
async function timed(browser, base, pages, cookies, isJudged) {
  const loads = isJudged ? LOADS_TIMED : LOADS;
  const isQuick = (took) => !isJudged || at(0.95, took) < P95_MAX_MS;
  const at = (share, took) => took[Math.ceil(share * took.length) - 1];
  await each(pages.filter(({ like }) => !like), async (page) => {
    const options = { scheme: "light", width: 1280, cookies: page.open ? [] : cookies };
    let took, series = 0;
    try {
      do {
        took = await browser.time(`${base}console/${page.path}`, options, loads);
        series += 1;
      } while (!isQuick(took) && series < SERIES_MAX);
    } catch (error) {
      tell(`${page.name}, ${loads} loads`, [["it failed", error.message.split("\n")[0]]]);
      return;
    }
    const faults = isQuick(took) ? [] : [["too slow", `p95 is to be below ${P95_MAX_MS} ms, in one of ${series} series`]];
    const [p50, p95, slowest] = [0.5, 0.95, 1].map((share) => `${at(share, took).toFixed(0)} ms`);
    tell(`${page.name}, ${loads} loads`, faults, `p50 ${p50}, p95 ${p95}, the slowest ${slowest}${series > 1 ? `, series ${series}` : ""}`);
  });
}

async function behindAPrefix(browser, fleet) {
  const relay = await Relay.start(fleet.url, PREFIX);
  const { base, strays } = relay;
  const options = { behind: "a prefix" };
  const signed = await signIn(browser, base, fleet.token, options);
  tell(`sign-in, under ${PREFIX}`, signed.faults.concat(strays.splice(0)));
  const page = await (await browser.context(options)).newPage();
  const faults = [];
  const assets = new Set();
  page.on("response", (response) => {
    if (response.status() >= 400) faults.push(["asset", `${response.url()}: ${response.status()}`]);
    if (["stylesheet", "script"].includes(response.request().resourceType())) assets.add(response.url());
  });
  try {
    await page.goto(`${base}console/`);
    for (const [path, where] of [["orders", "orders"], ["orders/", "an order"]]) {
      // As people do: the first link that leads there.
      const hrefs = await page.locator("a[href]").evaluateAll((found) => found.map((link) => [link.getAttribute("href"), link.href]));
      const isThere = ([, href]) => (path === "orders" ? href === `${base}console/orders` : /\/orders\/[0-9a-f-]{36}$/.test(href));
      const found = hrefs.find(isThere);
      if (!found) throw new Error(`${page.url()} has no link to ${where}`);
      await page.locator(`a[href="${found[0]}"]`).first().click();
      await page.waitForURL(found[1], { waitUntil: "load" });
    }
    if ((await page.locator("main").count()) !== 1) faults.push(["main", "there is none"]);
    const sheets = await page.evaluate(() => [...document.styleSheets].filter((sheet) => sheet.cssRules.length > 0).length);
    if (sheets === 0) faults.push(["asset", "no style sheet came"]);
  } catch (error) {
    faults.push(["it failed", error.message.split("\n")[0]]);
  }
  tell(`from sign-in to an order, under ${PREFIX}`, faults.concat(strays), `${assets.size} assets`);
  await page.close();
  relay.stop();
}

async function drawn(browser, base, pages, cookies, directory) {
  mkdirSync(directory, { recursive: true });
  const wanted = pages.filter(({ picture }) => picture).flatMap((page) => Object.entries(PICTURES).map((look) => [page, ...look]));
  await each(wanted, async ([{ name, path, picture }, look, options]) => {
    const page = await (await browser.context({ ...options, cookies })).newPage();
    await page.goto(`${base}console/${path}`);
    const file = join(directory, `${picture === true ? name : picture}-${look}.png`);
    await page.screenshot({ path: file });
    await page.close();
    console.log(`drawn   ${file}`);
  });
}

async function check(browser, fleet, seeded, wants) {
  const base = `${fleet.url}/`;
  const { status } = await ask(`${base}console/sign-in`);
  if (status !== 200) {
    tell("sign-in is there", [["status", `${status}: this gateway has no console`]]);
    return;
  }
  const { faults, cookies } = await signIn(browser, base, fleet.token, {});
  const signedIn = Date.now();
  tell("sign-in", faults, cookies.map(({ name }) => name).join());
  if (cookies.length === 0) return;
  const pages = await reached(browser, base, pagesOf(seeded), cookies);
  await whoIsNobody(base, pages, fleet.token);
  const links = await inEveryLook(browser, base, pages, cookies);
  await withoutScript(browser, base, pages, cookies);
  weighed(browser);
  await behindAPrefix(browser, fleet);
  await timed(browser, base, pages, cookies, wants.timed);
  if (wants.pictures) await drawn(browser, base, pages, cookies, resolve(wants.pictures));
  await followed(base, links, cookies);
  await new Visits(browser, fleet, { cookies, signedIn, seeded }, tell).all();
}

async function main(holdfast, wants) {
  const begun = performance.now();
  const fleet = new Fleet(holdfast);
  let browser;
  const end = () => Promise.allSettled([browser?.close(), fleet.stop()]);
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]]) process.once(signal, () => end().then(() => process.exit(code)));
  try {
    const probing = Browser.start().then(async (started) => {
      browser = started;
      await theProbeSees(browser);
    });
    probing.catch(() => {}); // it is looked at below
    await fleet.up();
    const seeded = await fleet.seed();
    await probing;
    await check(browser, fleet, seeded, wants);
  } finally {
    await end();
  }
  const seconds = ((performance.now() - begun) / 1_000).toFixed(0);
  console.log(`Chromium ${browser.version}: ${counts.ok} checks are well, ${counts.failed} FAILED in ${seconds} s`);
  return counts.failed === 0 ? 0 : 1;
}

let asked;
try {
  asked = parseArgs({ options: { pictures: { type: "string" }, timed: { type: "boolean" } }, allowPositionals: true });
} catch (error) {
  console.error(error.message);
}
if (asked?.positionals.length !== 1) {
  console.error("usage: check.js HOLDFAST [--pictures DIR] [--timed]");
  process.exit(2);
}
process.exitCode = await main(asked.positionals[0], asked.values);
