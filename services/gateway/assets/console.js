// What makes a page live. Without it every page works, and shows how things were when it was loaded.
//
// A page has one part with `data-live`: an address that tells when something has changed, or `every` so many seconds. Then the page is fetched
// again and that part is changed in place. Nothing changes under the pointer, or in what has the focus or is selected: it waits until then.

const part = document.querySelector("[data-live]");
const says = document.getElementById("live");
const PAUSED = "holdfast-paused";
// The time of the page stands beside it.
const STALE = "◌ reconnecting";
const AGAIN_MS = 5000;
const PATIENCE_MS = 5000;
// Browsers have six connections for one host. So many pages hold one to be told of news; others ask, until there is one for them.
const STREAMS_MAX = 3;
let waits = false;
let fetching = false;

const isPaused = () => localStorage.getItem(PAUSED) === "yes";

function isInUse() {
  const selection = document.getSelection();
  const selected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  return selected || part.matches(":hover") || part.contains(document.activeElement);
}

function tell(text) {
  const word = says.querySelector("span");
  if (word.textContent !== text) word.textContent = text;
}

async function change() {
  if (document.hidden) return;
  if (fetching || isPaused() || isInUse()) {
    waits = true;
    if (!fetching) tell(isPaused() ? "⏸ paused" : "⏸ waits while you are here");
    return;
  }
  fetching = true;
  waits = false;
  try {
    const answer = await fetch(location.href, { redirect: "manual", signal: AbortSignal.timeout(PATIENCE_MS) });
    // Whoever has been signed out, or looks at what is gone, is told so by the page itself.
    if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) return location.reload();
    if (!answer.ok) throw new Error(`answered with ${answer.status}`);
    await show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    tell("● live");
  } catch {
    waits = true;
    tell(STALE);
  } finally {
    fetching = false;
  }
}

async function show(page) {
  const fresh = page.querySelector("[data-live]");
  // What one has opened stays open.
  for (const open of part.querySelectorAll("[id] details[open]")) {
    const row = fresh.querySelector(`#${CSS.escape(open.closest("[id]").id)} details`);
    if (row) row.open = true;
  }
  await htmx.swap({ sourceElement: part, target: part, text: fresh.outerHTML, swap: "outerMorph" });
  for (const name of [".ways", ".as-of time"]) {
    const [here, there] = [document.querySelector(name), page.querySelector(name)];
    if (here && there && !here.contains(document.activeElement)) here.replaceWith(there);
  }
}

// Answers what gives a connection back; nothing, if there is none left, or the browser tells no page of another (over plain HTTP to another machine).
function connection(number = 0) {
  if (!navigator.locks || number === STREAMS_MAX) return Promise.resolve();
  return new Promise((answer) => {
    const taken = (lock) => (lock ? new Promise(answer) : answer(connection(number + 1)));
    navigator.locks.request(`holdfast-stream-${number}`, { ifAvailable: true }, taken);
  });
}

function listen() {
  let stream, release;
  let opens = false;
  const close = () => {
    stream?.close();
    release?.();
    stream = release = undefined;
  };
  const open = async () => {
    if (stream || opens || document.hidden) return;
    opens = true;
    release = await connection();
    opens = false;
    if (!release || document.hidden) return close();
    let isAnew = false;
    stream = new EventSource(part.dataset.live);
    // What happened meanwhile may have been told already, and its page not have come.
    stream.onopen = () => (isAnew ? change() : tell(isPaused() ? "⏸ paused" : "● live"));
    stream.onmessage = change;
    stream.onerror = () => {
      isAnew = true;
      tell(STALE);
      // It comes again by itself, unless somebody has answered in the gateway's place.
      if (stream.readyState === EventSource.CLOSED) close();
    };
  };
  // A hidden page holds no connection.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return close();
    open();
    change();
  });
  setInterval(() => {
    if (stream) return;
    open();
    change();
  }, AGAIN_MS);
  open();
}

if (part && says) {
  const button = document.createElement("button");
  const label = () => (button.textContent = isPaused() ? "Go on" : "Pause");
  button.type = "button";
  button.addEventListener("click", () => {
    localStorage.setItem(PAUSED, isPaused() ? "no" : "yes");
    label();
    tell(isPaused() ? "⏸ paused" : "● live");
    if (!isPaused()) change();
  });
  label();
  // The words change; before them, the button stays where it is.
  says.append(button, " ", document.createElement("span"));
  tell(isPaused() ? "⏸ paused" : "● live");
  setInterval(() => waits && change(), 1000);
  if (part.dataset.live === "every") setInterval(change, 1000 * Number(part.dataset.seconds));
  else listen();
}

// Keys, unless they are typed into something: / searches.
document.addEventListener("keydown", (event) => {
  const typed = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typed && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.getElementById("search");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
});
