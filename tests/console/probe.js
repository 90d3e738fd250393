// Opens a page in Chromium and says what is wrong with it: in itself, by its policy, for people, by its weight.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";

// ./justw puts packages where NODE_PATH says, and `import` does not heed that.
const require = createRequire(import.meta.url);
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const HTML_MAX = 120_000;
const HEIGHT = 800;
const RULES = {
  runOnly: { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] },
  // Part of wcag22aa, and left out by axe unless it is asked for.
  rules: { "target-size": { enabled: true } },
  resultTypes: ["violations"],
};
const FLAGS = [
  ..."--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split(" "),
  // Neither root nor most containers can have it; all that is opened is ours.
  "--no-sandbox",
];

// In the page, before anything of its own: what the policy forbids is noted.
function watch() {
  globalThis.forbidden = [];
  const note = (event) => globalThis.forbidden.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`.trim());
  addEventListener("securitypolicyviolation", note, true);
}

// In the page: until it stands still, in fonts and colours too.
async function still() {
  await document.fonts.ready;
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const ends = document.getAnimations().filter(({ effect }) => effect?.getComputedTiming().endTime < 5_000);
  await Promise.allSettled(ends.map(({ finished }) => finished));
}

// In the page, when it stands still: what is to be seen of it.
function seen() {
  const width = document.documentElement.clientWidth;
  const wide = [];
  const isCut = (element) => element && element !== document.body && (getComputedStyle(element).overflowX !== "visible" || isCut(element.parentElement));
  if (document.documentElement.scrollWidth > width) {
    for (const element of document.body.querySelectorAll("*")) {
      const isWide = element.getBoundingClientRect().right > width + 0.5 && !isCut(element.parentElement);
      if (isWide && wide.length < 3) wide.push(element.outerHTML.slice(0, 120));
    }
  }
  // Behind a prefix they would lead out of the console.
  const absolute = [];
  const addresses = /^(href|src|srcset|action|formaction|poster|data|content|(data-)?(hx|sse)-[\w:-]+)$/;
  for (const element of document.querySelectorAll("*")) {
    for (const { name, value } of element.attributes) {
      if (addresses.test(name) && value.startsWith("/")) absolute.push(`${name}="${value.slice(0, 100)}"`);
    }
  }
  return {
    forbidden: globalThis.forbidden,
    scrolls: document.documentElement.scrollWidth - width,
    wide,
    absolute,
    headings: document.querySelectorAll("h1").length,
    mains: document.querySelectorAll("main").length,
    text: document.querySelector("main")?.textContent ?? "",
    title: document.title,
    links: [...document.querySelectorAll("a[href]")].map((link) => link.href),
  };
}

// In the page: how long its load took. That is known when the handlers of `load` have run.
async function loaded() {
  const [load] = performance.getEntriesByType("navigation");
  while (load.loadEventEnd === 0) await new Promise((done) => setTimeout(done));
  return load.duration;
}

export class Browser {
  static async start() {
    const browser = new Browser();
    // Who ends this is heard by check.js, which ends the fleet as well.
    const signals = { handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false };
    browser.chromium = await chromium.launch({ executablePath: process.env.HOLDFAST_CHROMIUM, headless: true, args: FLAGS, ...signals });
    browser.contexts = new Map();
    // What was served for pages beside them: path to its kind and gzipped size.
    browser.assets = new Map();
    return browser;
  }

  get version() {
    return this.chromium.version();
  }

  close() {
    return this.chromium.close();
  }

  // A context with a look: { scheme, width, height, script, cookies }. One that is asked for again is there already.
  async context(options) {
    const name = JSON.stringify(options);
    if (!this.contexts.has(name)) this.contexts.set(name, this.#open(options));
    return this.contexts.get(name);
  }

  async #open({ scheme = "light", width = 1280, height = HEIGHT, scale = 1, script = true, cookies = [] }) {
    const context = await this.chromium.newContext({
      colorScheme: scheme,
      viewport: { width, height },
      deviceScaleFactor: scale,
      javaScriptEnabled: script,
      reducedMotion: "reduce",
    });
    await context.addCookies(cookies);
    await context.addInitScript(watch);
    context.setDefaultTimeout(15_000);
    return context;
  }

  // Everything that is wrong with one page, as { kind, text, look }, and what was seen of it. It is opened once, in the first look: whoever turns a
  // phone, or the light off, opens nothing anew either. What is wrong whatever it looks like has no look.
  async examine(url, options, looks, { status = 200, axe = true } = {}) {
    const page = await (await this.context({ ...options, ...looks[0] })).newPage();
    const faults = [];
    const fault = (kind, text, look) => faults.push({ kind, text, look });
    const assets = this.#listen(page, url, status, options.script !== false, fault);
    const result = { faults, seen: undefined, weight: 0, rules: 0 };
    try {
      const response = await page.goto(url, { waitUntil: "load" });
      if (response.status() !== status) fault("status", `${response.status()} instead of ${status}`);
      const landed = new URL(page.url()).pathname;
      if (landed !== new URL(url).pathname) fault("redirect", `it leads to ${landed}`);
      const policy = (await response.headerValue("content-security-policy")) ?? "none";
      if (!policy.startsWith("default-src 'none'")) fault("policy", `it begins with ${policy.slice(0, 60)}`);
      result.weight = (await response.body()).length;
      if (result.weight > HTML_MAX) fault("weight", `${result.weight} bytes of HTML`);
      for (const look of looks) {
        await page.emulateMedia({ colorScheme: look.scheme });
        await page.setViewportSize({ width: look.width, height: HEIGHT });
        if (options.script !== false) await page.evaluate(still);
        result.seen = await page.evaluate(seen);
        const { scrolls, wide } = result.seen;
        if (scrolls > 0) fault("too wide", `by ${scrolls} px: ${wide.join(" ")}`, look);
        if (axe) result.rules = Math.max(result.rules, await this.judge(page, (kind, text) => fault(kind, text, look)));
      }
      const { forbidden, absolute, headings, mains, text, title } = result.seen;
      for (const each of new Set(forbidden)) fault("forbidden", each);
      for (const each of new Set(absolute)) fault("absolute", each);
      if (headings !== 1) fault("h1", `there are ${headings}`);
      if (mains !== 1 || !text.trim()) fault("main", mains === 1 ? "it is empty" : `there are ${mains}`);
      if (!title.trim()) fault("title", "there is none");
      await Promise.all(assets);
    } catch (error) {
      fault("it failed", error.message.split("\n")[0]);
    } finally {
      await page.close();
    }
    return result;
  }

  // Notes what goes wrong while a page is open; answers what is on its way.
  #listen(page, url, status, isScripted, fault) {
    const assets = [];
    const { origin } = new URL(url);
    page.on("pageerror", (error) => fault("page error", error.message));
    page.on("dialog", (dialog) => {
      fault("dialog", dialog.message());
      dialog.dismiss().catch(() => {});
    });
    page.on("console", (message) => {
      const isTheStatus = status !== 200 && message.location().url === url && message.text().includes(`status of ${status}`);
      // Where there is no script, nobody else tells what the policy forbids.
      const isTold = isScripted && message.text().includes("Content Security Policy");
      if (message.type() === "error" && !isTheStatus && !isTold) fault("console", message.text());
    });
    page.on("request", (request) => {
      const asked = new URL(request.url());
      if (asked.protocol.startsWith("http") && asked.origin !== origin) fault("other origin", request.url());
    });
    page.on("response", (response) => {
      if (response.request().isNavigationRequest()) return;
      if (response.status() >= 400) fault("asset", `${response.url()}: ${response.status()}`);
      assets.push(this.#weigh(response));
    });
    return assets;
  }

  // Answers how many rules there were something for.
  async judge(page, fault) {
    // Not by a script element: the page's own policy forbids that, as it should.
    if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(AXE);
    const { violations, passes } = await page.evaluate((rules) => globalThis.axe.run(document, rules), RULES);
    for (const { id, help, nodes } of violations) {
      const [{ html, failureSummary }] = nodes;
      fault("axe", `${id} (${help}), ${nodes.length} times, the first: ${html.slice(0, 160)} – ${failureSummary.replace(/\s+/g, " ")}`);
    }
    if (passes.length === 0) fault("axe", "no rule was tried");
    return violations.length + passes.length;
  }

  async #weigh(response) {
    const kind = response.headers()["content-type"] ?? "";
    const path = new URL(response.url()).pathname;
    if (!/javascript|text\/css/.test(kind) || this.assets.has(path)) return;
    this.assets.set(path, undefined);
    const body = await response.body().catch(() => undefined);
    if (body === undefined) this.assets.delete(path);
    else this.assets.set(path, { kind: kind.includes("css") ? "css" : "js", bytes: gzipSync(body, { level: 9 }).length });
  }

  // How long a page took until it was loaded, by the browser's own clock, each of so many times. Its assets come from the cache.
  async time(url, options, times) {
    const page = await (await this.context(options)).newPage();
    const took = [];
    try {
      for (let count = -1; count < times; count += 1) {
        const response = await page.goto(url, { waitUntil: "load" });
        if (response.status() !== 200) throw new Error(`${url}: ${response.status()}`);
        const ms = await page.evaluate(loaded);
        if (count >= 0) took.push(ms);
      }
    } finally {
      await page.close();
    }
    return took.sort((one, other) => one - other);
  }
}
