// What people do with the console: by keyboard alone, with a page open while something happens, with many pages, on a bad day.

import { setTimeout as pause } from "node:timers/promises";

import { Relay } from "./relay.js";

const CHANGES_MS = 5_000;
// Where nothing is told, a page asks every five seconds; and a browser takes its time to come again.
const AGAIN_MS = 10_000;
const SILENT_MS = 15_000;
// A cookie is written anew by the first page after a minute.
const RENEWED_MS = 61_000;
const PAGES = 8;
const TABS_MAX = 200;

// In the page: what has the focus, whether one sees that, and whether one sees it at all.
function focused() {
  const element = document.activeElement;
  if (!element || element === document.body) return undefined;
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  const { clientWidth: width, clientHeight: height } = document.documentElement;
  const box = element.getBoundingClientRect();
  const inside = (low, high, most) => (high - low <= most ? low >= -1 && high <= most + 1 : low < most && high > 0);
  // A link may be in several lines: one of them is enough.
  const isOnTop = [...element.getClientRects()].some(({ left, right, top, bottom }) => {
    const middle = (low, high, most) => (Math.max(low, 0) + Math.min(high, most)) / 2;
    const found = document.elementFromPoint(middle(left, right, width), middle(top, bottom, height));
    return found && (element.contains(found) || found.contains(element));
  });
  const text = (element.labels?.[0] ?? element).textContent.trim() || element.getAttribute("aria-label") || element.id;
  return {
    name: text.replace(/\s+/g, " ").slice(0, 60),
    isShown: outlineStyle !== "none" && parseFloat(outlineWidth) > 0,
    isInView: inside(box.left, box.right, width) && inside(box.top, box.bottom, height),
    isOnTop,
  };
}

// In the page, before anything of its own: its seconds.
function mark() {
  globalThis.seconds = 0;
  setInterval(() => (globalThis.seconds += 1), 1_000);
}

// In the page: what it is told when one looks at another.
function hide(isHidden) {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => (isHidden ? "hidden" : "visible") });
  document.dispatchEvent(new Event("visibilitychange"));
}

async function until(what, isSo, ms = CHANGES_MS) {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = await isSo();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${ms / 1_000} s: ${typeof what === "string" ? what : await what()}`);
    await pause(50);
  }
}

// Nothing, of a page that is just being loaded anew.
function textOf(page, selector) {
  return page.evaluate((selector) => document.querySelector(selector)?.textContent ?? "", selector).catch(() => "");
}

// Until it says so, of itself.
async function says(page, word, ms) {
  let text;
  const what = () => `it says ${word}, and not: ${text}`;
  await until(what, async () => (text = await textOf(page, "#live span")).includes(word), ms);
}

// Hands that have a keyboard and nothing else.
class Hands {
  constructor(page, expect) {
    Object.assign(this, { page, expect, tabs: 0 });
  }

  // Goes from one to the next until there is what is called so.
  async to(name, key = "Tab") {
    const passed = [];
    for (let count = 0; count < TABS_MAX; count += 1) {
      await this.page.keyboard.press(key);
      this.tabs += 1;
      const at = await this.page.evaluate(focused);
      if (!at) continue; // between the last and the first
      const where = `${new URL(this.page.url()).pathname}: ${at.name}`;
      this.expect(at.isShown, `one does not see that the focus is on ${where}`);
      this.expect(at.isInView, `it has the focus out of view, ${where}`);
      this.expect(at.isOnTop, `it has the focus below something else, ${where}`);
      passed.push(at.name);
      if (name.test(at.name)) return;
    }
    throw new Error(`${TABS_MAX} times ${key} lead to no ${name}, but to ${[...new Set(passed)].slice(0, 20).join(" | ")}`);
  }

  // Presses it, and waits for the page that comes.
  async press(key) {
    await Promise.all([this.page.waitForEvent("load"), this.page.keyboard.press(key)]);
  }

  async go(name, key) {
    await this.to(name, key);
    await this.press("Enter");
  }
}

export class Visits {
  // With the cookies of somebody who signed in then.
  constructor(browser, fleet, { cookies, signedIn, seeded }, tell) {
    Object.assign(this, { browser, fleet, cookies, signedIn, seeded, tell, orders: 0 });
  }

  async all() {
    const days = this.badDays(); // in which there is little to do but to wait
    await this.byKeyboard();
    await this.byEverybody();
    await this.live();
    await this.manyPages();
    await this.signedOut();
    await days;
  }

  // One line: `run` answers what is told of it, and says by `expect` what is not as it should be.
  async #look(name, run) {
    const faults = [];
    const opened = [];
    const expect = (isSo, text) => isSo || faults.some(([, known]) => known === text) || faults.push(["it is not so", text]);
    const relay = await Relay.start(this.fleet.url);
    // Each in a context of its own: what is paused or signed out in one is not in another.
    const open = async (path, { base = relay.base, width = 1280 } = {}) => {
      const context = await this.browser.context({ cookies: this.cookies, width, of: name });
      const page = await context.newPage();
      opened.push(page);
      await page.addInitScript(mark);
      page.on("pageerror", (error) => faults.push(["page error", error.message]));
      await page.goto(`${base}console/${path}`, { timeout: CHANGES_MS });
      await page.evaluate(() => (globalThis.isTheSame = true));
      return page;
    };
    let told;
    try {
      told = await run({ expect, open, relay });
      for (const page of opened.filter((page) => !page.isClosed())) {
        for (const each of await page.evaluate(() => globalThis.forbidden)) faults.push(["forbidden", each]);
      }
    } catch (error) {
      faults.push(["it failed", error.message.split("\n")[0]]);
    }
    await Promise.all(opened.map((page) => page.close()));
    relay.stop();
    this.tell(name, faults, told);
  }

  // An order that waits for its money for as long as nobody cancels it.
  async #unpaid() {
    const id = await this.fleet.place(`visited ${(this.orders += 1)}`, "customer-47", { payment_method: "sandbox:never" });
    await this.fleet.until("its payment", `orders/${id}`, (order) => order.payments.length > 0);
    return id;
  }

  async #cancel(id) {
    await this.fleet.ask(`orders/${id}/cancel`, { note: "changed his mind" });
    await this.fleet.untilStatus(id, "cancelled");
  }

  async #reinstate(id) {
    await this.fleet.ask(`orders/${id}/reinstate`, { note: "changed it again" });
    await this.fleet.until("that it begins once more", `orders/${id}`, ({ status }) => status !== "cancelled");
  }

  // Without a mouse, and with nothing that a script would do for the hands.
  async byKeyboard() {
    const { fleet, browser } = this;
    const judged = (page, expect) => browser.judge(page, (_, text) => expect(false, text));
    const about = (page) => Object.fromEntries(new URL(page.url()).searchParams);
    const settled = async (page, what, path, isSo) => until(what, async () => isSo(await fleet.ask(path)));

    await this.#look("by keyboard: / searches", async ({ expect, open }) => {
      const page = await open("");
      const at = () => page.evaluate(() => [document.activeElement.id, document.activeElement.value]);
      await page.keyboard.press("/");
      expect((await at()).join() === "search,", `/ leads to ${await at()}`);
      await page.keyboard.type("a/b");
      expect((await at()).join() === "search,a/b", `a/b, typed, is ${await at()}`);
      await page.keyboard.press("Shift+Tab");
      await page.keyboard.press("Tab");
      expect((await at())[0] === "search", "Shift+Tab and Tab do not lead back");
      await new Hands(page, expect).press("Enter");
      expect(page.url().endsWith("search?text=a%2Fb"), `Enter leads to ${page.url()}`);
    });

    await this.#look("by keyboard: a refund is decided", async ({ expect, open }) => {
      const page = await open("");
      const hands = new Hands(page, expect);
      await hands.go(/^To decide/);
      await hands.to(/^Skip to the page/);
      await page.keyboard.press("Enter");
      await hands.to(/./);
      expect(await page.evaluate(() => document.activeElement.closest("main")), "Skip to the page skips nothing");
      await hands.go(/^Decide the refund/);
      const { order_id: order, refund_id: refund } = about(page);
      await hands.to(/^The customer has the money/);
      await page.keyboard.press("Space");
      await hands.to(/^Why/);
      await page.keyboard.type("the provider says so / ticket 7");
      await hands.go(/^What would happen/);
      const would = page.getByRole("status", { name: "What would happen" });
      expect(/Refund\w* in /.test(await would.innerText()), `it would happen: ${await would.innerText()}`);
      const typed = await page.evaluate(() => document.getElementById("reason").value);
      expect(typed === "the provider says so / ticket 7", `the reason is then: ${typed}`);
      await judged(page, expect);
      // From the end of the page: that is nearer.
      await hands.go(/^Record the decision/, "Shift+Tab");
      expect(new URL(page.url()).pathname.endsWith(`/orders/${order}`), `then one is at ${page.url()}`);
      const came = await page.getByRole("status", { name: "What came of it" }).innerText();
      expect(came.includes("Done."), `and reads: ${came}`);
      await judged(page, expect);
      const path = `orders/${order}/refunds/${refund}`;
      await settled(page, "the refund is settled", path, ({ status, step }) => status === "refunded" && step === "refunded");
      await hands.go(/^To decide/);
      expect(!(await page.content()).includes(refund), "it waits for a decision still");
      return `${hands.tabs} times Tab`;
    });

    await this.#look("by keyboard: a letter is set aside, at 320 px", async ({ expect, open }) => {
      const page = await open("", { width: 320 });
      const hands = new Hands(page, expect);
      await hands.go(/^Dead letters/);
      await hands.go(/^[a-z]+-\d+$/);
      const letter = new URL(page.url()).pathname.split("/").at(-1);
      await hands.go(/^Set the letter aside/);
      await hands.to(/^Why/);
      await page.keyboard.type("no");
      await hands.go(/^Set the letter aside/);
      expect((await page.getByRole("alert").innerText()).includes("8 letters"), "a reason of two letters is taken");
      await judged(page, expect);
      await hands.to(/^Why/);
      await page.keyboard.type("body can read it");
      await hands.go(/^Set the letter aside/);
      await settled(page, "the letter is settled", `admin/letters/${letter}`, ({ settled_at: at }) => at);
      expect((await page.locator("main").innerText()).includes("Over since"), "its page does not say that it is over");
      await judged(page, expect);
      return `${hands.tabs} times Tab`;
    });
  }

  // Whoever has bought a share, or wants to know that all was right: without a token.
  async byEverybody() {
    const { drawn, orders } = this.seeded;
    await this.#look("a draw is checked in the browser, and a ticket is found", async ({ expect, open }) => {
      const page = await open(`../rounds/${drawn}`);
      await page.getByRole("button", { name: "Check it in this browser" }).click();
      const steps = page.locator("#steps li");
      await until("it says what it has looked at", async () => (await steps.count()) > 0);
      for (const text of await steps.allInnerTexts()) expect(text.startsWith("✓"), text);
      await page.getByLabel("The id of your order").fill(orders.winner);
      await page.keyboard.press("Enter");
      const found = async () => (await textOf(page, "#found")) || undefined;
      expect((await until("it is looked up", found)) === "That order has tickets 1 to 2.", await found());
      await page.getByLabel("The id of your order").fill(orders.pending);
      await page.keyboard.press("Enter");
      await until("nothing is found", async () => (await found()).includes("no ticket"));
      return `${await steps.count()} steps`;
    });
  }

  // A page that is open while something happens.
  async live() {
    const state = (page) => textOf(page, "h1 .state");
    const isLive = (page) => says(page, "live");
    const isSaid = async (page, word, expect) => expect((await textOf(page, "#live span")).includes(word), `it does not say ${word}`);
    const away = (page) => page.mouse.move(2, 2);
    const becomes = (page, word, ms) => {
      const what = async () => `the order is ${word}, and not ${await state(page)}, where it says ${await textOf(page, "#live span")}`;
      return until(what, async () => (await state(page)).includes(word), ms);
    };
    const secondsOf = (page) => page.evaluate(() => globalThis.seconds);
    // Until the page has been told, and has had time for it.
    const hasHeard = async (page, relay, news) => {
      await until("the page is told", () => relay.news > news);
      const seconds = await secondsOf(page);
      await until("two seconds of the page", async () => (await secondsOf(page)) >= seconds + 2);
    };

    const showsWhatHappens = this.#look("live: an order is cancelled", async ({ expect, open }) => {
      const id = await this.#unpaid();
      const page = await open(`orders/${id}`);
      await isLive(page);
      const row = page.locator("[data-live] tr:has(details)").first();
      await row.locator("summary").click();
      await page.mouse.click(2, 2);
      const before = await page.locator("tr:has(details)").count();
      const begun = Date.now();
      await this.#cancel(id);
      await becomes(page, "cancelled");
      const took = Date.now() - begun;
      const { data } = await this.fleet.ask(`orders/${id}/events`);
      const { position } = data.find(({ type }) => type.endsWith("OrderCancelled")) ?? {};
      await until("the event is there", () => page.locator(`#position-${position}`).isVisible());
      expect((await page.locator("tr:has(details)").count()) > before, "there are as many events as before");
      expect(await page.evaluate(() => globalThis.isTheSame), "the page was loaded anew");
      expect(await row.locator("details").evaluate((details) => details.open), "what was opened is closed");
      const opened = await page.locator("details[open]").count();
      expect(opened === 1, `${opened} are open instead of the one that was opened`);
      await isSaid(page, "live", expect);
      return `${took} ms`;
    });

    const hands = {
      "the pointer is over it": [(page) => page.locator("h1").hover(), away],
      "text in it is selected": [(page) => page.locator("#holds").dblclick().then(() => away(page)), (page) => page.mouse.click(2, 2)],
      "it has the focus": [(page) => page.locator("[data-live] a").first().focus(), (page) => page.mouse.click(2, 2)],
    };
    const inUse = Object.entries(hands).map(([what, [take, leave]]) =>
      this.#look(`live: nothing changes while ${what}`, async ({ expect, open, relay }) => {
        const id = await this.#unpaid();
        const page = await open(`orders/${id}`);
        await isLive(page);
        await away(page);
        await take(page);
        const { news } = relay;
        const before = await page.locator("[data-live]").innerHTML();
        await this.#cancel(id);
        await hasHeard(page, relay, news);
        expect((await page.locator("[data-live]").innerHTML()) === before, "it has changed");
        await isSaid(page, "waits", expect);
        await leave(page);
        await becomes(page, "cancelled");
        await isLive(page);
      }),
    );

    const paused = this.#look("live: nothing changes while it is paused", async ({ expect, open, relay }) => {
      const id = await this.#unpaid();
      const page = await open(`orders/${id}`);
      await isLive(page);
      const still = async (change, word) => {
        const { news } = relay;
        const before = await page.locator("[data-live]").innerHTML();
        await change(id);
        await hasHeard(page, relay, news);
        expect((await page.locator("[data-live]").innerHTML()) === before, `it has changed, ${word}`);
        await isSaid(page, "paused", expect);
      };
      await page.getByRole("button", { name: "Pause" }).click();
      await still((order) => this.#cancel(order), "at once");
      await page.reload();
      expect((await state(page)).includes("cancelled"), "loaded anew it is not as things are");
      await until("a stream is open", () => relay.streams === 1);
      await still((order) => this.#reinstate(order), "after a reload");
      await page.getByRole("button", { name: "Go on" }).click();
      await until("it goes on", async () => !(await state(page)).includes("cancelled"));
      await isLive(page);
      await this.#cancel(id);
      await becomes(page, "cancelled");
    });

    const streams = this.#look("live: one stream for each page", async ({ open, relay }) => {
      const id = await this.#unpaid();
      const are = (count) => until(() => `${relay.streams} streams are open instead of ${count}`, () => relay.streams === count);
      const [one, other] = [await open(`orders/${id}`), await open(`orders/${id}`)];
      await are(2);
      await this.#cancel(id);
      for (const page of [one, other]) await becomes(page, "cancelled");
      await are(2);
      await other.goto(`${relay.base}console/orders`);
      await are(1);
      await one.goto(`${relay.base}console/`);
      await are(0);
    });

    const hidden = this.#look("live: no stream while the page is hidden", async ({ expect, open, relay }) => {
      const id = await this.#unpaid();
      const page = await open(`orders/${id}`);
      await isLive(page);
      await page.evaluate(hide, true);
      await until("no stream is open", () => relay.streams === 0);
      await this.#cancel(id);
      expect(!(await state(page)).includes("cancelled"), "a page that is hidden has changed");
      await page.evaluate(hide, false);
      await becomes(page, "cancelled");
      await until("one stream is open", () => relay.streams === 1);
      return "told that it is, for headless Chromium hides no page";
    });

    await Promise.all([showsWhatHappens, ...inUse, paused, streams, hidden]);
  }

  // Browsers have six connections for one host.
  async manyPages() {
    await this.#look(`${PAGES} pages of orders at once`, async ({ open }) => {
      const last = await this.#unpaid();
      const { data } = await this.fleet.ask(`orders?limit=${PAGES - 1}&starting_after=${last}`);
      const took = [];
      for (const id of [...data.map(({ order_id }) => order_id), last]) {
        const begun = Date.now();
        const page = await open(`orders/${id}`, { base: `${this.fleet.url}/` }).catch((error) => {
          throw new Error(`page ${took.length + 1} of ${PAGES} does not load: ${error.message.split("\n")[0]}`);
        });
        took.push(Date.now() - begun);
        await says(page, "live");
        if (id !== last) continue;
        await this.#cancel(id);
        await until("the last one is live", async () => (await textOf(page, "h1 .state")).includes("cancelled"), AGAIN_MS);
      }
      return `the slowest was there in ${Math.max(...took)} ms`;
    });
  }

  // The gateway is away for a while, in one way or another.
  async badDays() {
    const isRefused = ["requestfailed", (request) => request.failure()?.errorText.includes("CONNECTION_REFUSED")];
    const is502 = ["response", (response) => response.status() === 502];
    const away = (name, mood, [kind, isMet] = [], { path, ms = CHANGES_MS } = {}) =>
      this.#look(name, async ({ expect, open, relay }) => {
        const id = await this.#unpaid();
        const page = await open(path ?? `orders/${id}`);
        await says(page, "live");
        const first = () => page.evaluate(() => document.querySelector("[data-live] tr[id]")?.id);
        const figures = await page.locator("[data-live]").innerText();
        const newest = await first();
        const met = kind && page.waitForEvent(kind, { predicate: isMet });
        met?.catch(() => {}); // it is looked at below
        await relay.becomes(mood);
        const begun = Date.now();
        const took = says(page, "reconnecting", ms).then(() => Date.now() - begun);
        await Promise.all([took, path === undefined ? this.#cancel(id) : this.#unpaid()]);
        // Then it has come again, at least once, and the gateway was still away.
        await met;
        expect((await page.locator("[data-live]").innerText()) === figures, "its figures are others, or gone");
        await relay.becomes("well");
        const back = Date.now();
        const isShown = async () => (path === undefined ? (await textOf(page, "h1 .state")).includes("cancelled") : (await first()) !== newest);
        await until("it shows what happened meanwhile", isShown, AGAIN_MS);
        await says(page, "live");
        expect(await page.evaluate(() => globalThis.isTheSame), "the page was loaded anew");
        return `it says so after ${await took} ms, and goes on after ${Date.now() - back} ms`;
      });
    const overview = { path: "", ms: AGAIN_MS };
    await Promise.all([
      away("an order, while the gateway is killed", "refuses", isRefused),
      away("an order, while a proxy says 502", "502", is502),
      away("an order, while its stream goes on and a proxy says 502", "streams", is502),
      away("the overview, while the gateway is killed", "refuses", isRefused, overview),
      away("the overview, while a proxy says 502", "502", is502, overview),
      away("the overview, while the gateway is silent", "silent", undefined, { path: "", ms: SILENT_MS }),
    ]);
  }

  // Whoever has signed out in one page sees nothing more in another.
  async signedOut() {
    const signOut = (page) => Promise.all([page.waitForURL(/sign-in/), page.getByRole("button", { name: "Sign out" }).click()]);
    const after = (name, path) =>
      this.#look(name, async ({ expect, open, relay }) => {
        const id = await this.#unpaid();
        const page = await open(path ?? `orders/${id}`);
        await says(page, "live");
        await signOut(await open("stock"));
        await this.#cancel(id);
        const what = async () => `it goes to sign-in; it says: ${await textOf(page, "#live span")}`;
        await until(what, () => page.url().includes("/sign-in"), AGAIN_MS);
        await page.waitForLoadState("load");
        expect((await page.locator("input[name=token]").count()) === 1, "there it asks for no token");
        await page.locator("input[name=token]").fill(this.fleet.token);
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.waitForURL(`${relay.base}console/${path ?? `orders/${id}`}`);
      });

    const everywhere = this.#look("signed out of every page", async ({ expect, open, relay }) => {
      const [id, { data }] = await Promise.all([this.#unpaid(), this.fleet.ask("products?limit=1")]);
      const paths = [`orders/${id}`, `stock/${encodeURIComponent(data[0].sku)}`, "decide"];
      await until("the session is so old that its cookie is written anew", () => Date.now() - this.signedIn > RENEWED_MS, RENEWED_MS);
      for (const path of paths) await (await open(path)).close();
      const page = await open("");
      await signOut(page);
      const left = (await page.context().cookies()).map(({ name, path }) => `${name} for ${path}`);
      expect(left.length === 0, `the browser keeps ${left}`);
      for (const path of paths) {
        await page.goto(`${relay.base}console/${path}`);
        expect(page.url().includes("/sign-in"), `${path.split("/")[0]}/… is shown as before`);
      }
    });
    await Promise.all([after("an order, signed out elsewhere"), after("the overview, signed out elsewhere", ""), everywhere]);
  }
}
