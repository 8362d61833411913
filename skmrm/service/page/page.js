// Shows comparisons, sends what was chosen, and says what was learnt. Texts are only ever set as textContent.
"use strict";

const place = (id) => document.getElementById(id);
const SAFE = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$/;
const KEYS = { ArrowLeft: "left", a: "left", ArrowRight: "right", b: "right", t: "tie", s: "skip" };
const REMEMBERED = "skmrm-user";
let user = null; // whose choices these are
let shown = null; // the question on the page
let busy = false; // while an answer is on its way
let last = Promise.resolve(); // what is being done

const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
const show = (id, visible) => { place(id).hidden = !visible; };

/** The answer of the service as JSON; an Error says in its words why there is none. */
async function call(path, options = {}) {
  const whose = user;
  let response;
  try {
    response = await fetch(`users/${encodeURIComponent(user)}${path}`, options);
  } catch {
    throw new Error("The service cannot be reached; nothing that it confirmed is lost. Try again.");
  }
  const body = await response.json().catch(() => null);
  if (whose !== user) throw new Error(""); // somebody else's page by now
  if (response.status === 204) return null;
  if (response.ok && body !== null) return body;
  throw Object.assign(new Error(body?.error?.message ?? `The service answered ${response.status}.`), {
    code: body?.error?.code,
  });
}

/** Do one thing after the other, and say what went wrong. */
function alone(act) {
  last = last.then(() => told(act));
}

async function told(act) {
  busy = true;
  place("asking").setAttribute("aria-busy", "true");
  try {
    await act();
    place("problem").textContent = "";
  } catch (error) {
    place("problem").textContent = error.message;
    if (error.message) place("status").textContent = "";
  } finally {
    busy = false;
    place("asking").removeAttribute("aria-busy");
  }
}

function draw(state, said) {
  shown = state.question;
  show("asking", shown !== null);
  show("done", shown === null);
  show("tie", state.ties);
  if (shown) {
    for (const part of ["prompt", "left", "right"]) {
      place(part).textContent = shown[part];
      place(part).scrollTop = 0;
    }
    if (place("asking").getBoundingClientRect().top < 0) place("asking").scrollIntoView(); // on a phone, below B
  }
  place("status").textContent = `${said}${counted(state.n_choices, "choice")} so far, ${state.n_left} left.`;
  show("known", state.n_asked + state.n_choices > 0);
  place("kept").textContent =
    `Kept under this name: ${counted(state.n_choices, "choice")} as numbers, and which ` +
    `${counted(state.n_asked, "comparison")} you were asked. No text.`;
}

/** How the odds differ from the crowd's, and how sure that is. */
function sized(effect) {
  const odds = Math.exp(Math.abs(effect.effect));
  const percent = Math.floor(100 * effect.probability);
  const chance = effect.probability === null ? "" : `, ${percent} % ${effect.stated ? "sure" : "likely"}`;
  return `${effect.per}: ${odds.toFixed(odds < 10 ? 1 : 0)} times the crowd's odds${chance}`;
}

/** From where to where an effect and its interval go, in the direction that the user likes. */
function reach(effect) {
  const sign = Math.sign(effect.effect) || 1;
  const ends = effect.low === null ? [0, 0] : [sign * effect.low, sign * effect.high].sort((a, b) => a - b);
  return { size: Math.abs(effect.effect), low: Math.max(0, ends[0]), high: ends[1] };
}

function row(effect, largest) {
  const item = document.createElement("li");
  item.className = effect.stated ? "stated" : "likely";
  const words = document.createElement("span");
  words.textContent = effect.words;
  const detail = document.createElement("small");
  detail.textContent = ` ${sized(effect)}`;
  const [track, bar, interval] = ["track", "bar", "interval"].map((name) => {
    const part = document.createElement("div");
    part.className = name;
    return part;
  });
  const { size, low, high } = reach(effect);
  bar.style.width = `${(100 * size) / largest}%`;
  interval.style.left = `${(100 * low) / largest}%`;
  if (low === 0) interval.style.borderLeftWidth = 0; // it goes on, to where others are liked more
  interval.style.width = `${(100 * (high - low)) / largest}%`;
  track.append(bar, ...(high > 0 ? [interval] : []));
  item.append(words, detail, track);
  return item;
}

async function explain() {
  show("learnt", true);
  let found;
  try {
    found = await call("/explain?n=6");
  } catch (error) {
    if (!error.message) throw error;
    place("headline").textContent = `It cannot be put in words: ${error.message}`;
    place("effects").replaceChildren();
    show("sure", false);
    return;
  }
  const some = found.effects.filter((effect) => effect.stated || effect.leaning);
  const onlyLikely = some.length > 0 && !some.some((effect) => effect.stated);
  place("headline").textContent = onlyLikely
    ? `After ${counted(found.n_choices, "choice")}, likely but not sure: more than the crowd, you like`
    : found.headline.replace("this user likes", "you like").replace("this user", "you");
  const largest = Math.max(...some.map(reach).flatMap(({ size, high }) => [size, high]));
  place("effects").replaceChildren(...some.map((effect) => row(effect, largest)));
  show("sure", found.settled !== null && found.n_choices > 0);
  if (found.settled !== null) {
    const share = Math.round(100 * found.settled);
    place("sure-words").textContent = `${share} % of what it did not know of your taste beforehand is settled.`;
    place("settled").value = found.settled;
  }
}

const next = () => alone(async () => { draw(await call("/label"), ""); await explain(); });

function choose(choice) {
  if (busy || !shown || (choice === "tie" && place("tie").hidden)) return;
  const body = JSON.stringify({ key: shown.key, choice });
  alone(async () => {
    const state = await call("/label", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    draw(state, choice === "skip" ? "Skipped. " : "Saved. ");
    await explain();
  });
}

const forget = () => alone(async () => {
  await call("", { method: "DELETE" }).catch((error) => {
    if (error.code !== "unknown_user") throw error; // nothing was kept
  });
  leave("Forgotten.");
});

/** Whose page it is: in the address, after the #, which no server sees; and remembered for the next visit. */
function enter(name) {
  user = name;
  try { localStorage.setItem(REMEMBERED, name); } catch { /* a browser that keeps nothing */ }
  if (decoded() !== name) history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  place("name").textContent = name;
  show("who", true);
  show("enter", false);
  next();
}

function leave(said = "") {
  user = shown = null;
  try { localStorage.removeItem(REMEMBERED); } catch { /* nothing was kept */ }
  history.replaceState(null, "", location.pathname + location.search);
  for (const id of ["who", "asking", "done", "learnt"]) show(id, false);
  show("enter", true);
  place("status").textContent = said;
  place("problem").textContent = "";
  place("user").value = "";
  place("user").focus();
}

function decoded() {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return location.hash.slice(1); }
}

function begin(name) {
  if (!SAFE.test(name)) {
    leave();
    place("user").value = name;
    place("problem").textContent = `A name has letters, digits and . _ @ - only, 128 at most; got ${name}`;
    return;
  }
  place("problem").textContent = "";
  enter(name);
}

function start() {
  let name = decoded();
  try { name ||= localStorage.getItem(REMEMBERED) ?? ""; } catch { /* nothing is kept */ }
  if (name) begin(name);
  else leave();
}

place("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(place("user").value.trim());
});
place("change").addEventListener("click", () => leave());
place("forget").addEventListener("click", () => place("forgetting").showModal());
place("forget-no").addEventListener("click", () => place("forgetting").close());
place("forget-yes").addEventListener("click", () => { place("forgetting").close(); forget(); });
for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => choose(button.dataset.choice));
}
document.addEventListener("keydown", (event) => {
  const choice = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const typing = event.target.closest("input, dialog") !== null || place("forgetting").open;
  if (!choice || typing || event.repeat || event.ctrlKey || event.altKey || event.metaKey || !shown) return;
  event.preventDefault();
  choose(choice);
});
window.addEventListener("hashchange", start);
start();
