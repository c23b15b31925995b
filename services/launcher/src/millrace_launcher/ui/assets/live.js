// Keeps a page current: asks for it again every two seconds and changes what has changed. No page holds any state.
"use strict";

const EVERY_MS = 2000;
const $ = (id) => document.getElementById(id);

// The look: light or dark, as the system says until somebody chooses.
const chosen = localStorage.getItem("theme");
if (chosen) document.documentElement.dataset.theme = chosen;
document.querySelector("[data-theme-switch]").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme;
  const isDark = now ? now === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});

// Make `old` like `fresh` and touch nothing that is alike: what is open, focused or scrolled stays so.
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = fresh.nodeValue; return; }
  if (old.hasAttribute("data-keep") || (old.nodeName === "FORM" && old.contains(document.activeElement))) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const have = [...old.childNodes], want = [...fresh.childNodes];
  want.forEach((child, at) => (at < have.length ? morph(have[at], child) : old.append(child)));
  have.slice(want.length).forEach((child) => child.remove());
}

let lostAt = null;
let isAsking = false;

async function refresh() {
  if (isAsking || document.hidden) return;
  isAsking = true;
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (new URL(answer.url).pathname !== location.pathname) { location.assign(answer.url); return; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!page.body.hasAttribute("data-live") && answer.status === 401) { location.assign("/sign-in"); return; }
    if (answer.status === 503) return say_lost(page.querySelector("main p")?.textContent);
    morph($("main"), page.querySelector("#main"));
    if (lostAt) { lostAt = null; $("lost").hidden = true; }
  } catch {
    say_lost("The daemon does not answer");
  } finally {
    isAsking = false;
  }
}

function say_lost(what) {
  lostAt ??= new Date();
  const since = lostAt.toLocaleTimeString();
  $("lost").textContent = `${what}. This page shows what was known at ${since}, and goes on by itself. If it does not: millrace up`;
  $("lost").hidden = false;
}

if (document.body.hasAttribute("data-live")) {
  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
}

// Acts: asked for once more where it matters, sent as JSON, and told.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.act) return;
  event.preventDefault();
  if (form.dataset.sure && !(await is_sure(form))) return;
  const given = Object.fromEntries(new FormData(form));
  if ("document" in form.dataset) given.document = $("document").value;
  await act(form, given);
});

async function act(form, given) {
  let done;
  try {
    const answer = await fetch(form.dataset.act, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given),
    });
    done = await answer.json();
  } catch {
    done = { error: "The daemon does not answer", remedy: "start it with `millrace up`" };
  }
  if (done.error) return tell(done.error, done.remedy);
  if ("plan" in form.dataset) return show_plan(done);
  if (done.goto) return location.assign(done.goto);
  tell(done.said);
  document.activeElement?.blur();
  refresh();
}

function is_sure(form) {
  const { sure, note, yes } = form.dataset;
  const count = form.querySelector("[name=count]");
  $("sure-question").textContent = count ? sure.replace("?", ` to ${count.value}?`) : sure;
  $("sure-note").textContent = note ?? "";
  $("sure-yes").textContent = yes;
  $("sure-yes").className = form.querySelector(".danger") ? "bad" : "";
  $("sure").returnValue = "no";
  $("sure").showModal();
  return new Promise((done) => $("sure").addEventListener("close", () => done($("sure").returnValue === "yes"), { once: true }));
}

function show_plan({ plan }) {
  const lines = $("plan-lines");
  lines.replaceChildren();
  const parts = [["changes", "It changes"], ["decisions", "At once"], ["faults", "Will not work"]];
  for (const [part, title] of parts.filter(([part]) => plan[part].length)) {
    const list = document.createElement("ul");
    list.append(...plan[part].map((line) => Object.assign(document.createElement("li"), { textContent: line })));
    list.className = part === "faults" ? "diff bad" : "diff";
    lines.append(Object.assign(document.createElement("h3"), { textContent: title }), list);
  }
  if (!lines.children.length) lines.append("Nothing: it is so already.");
  $("plan").hidden = false;
  $("plan").scrollIntoView({ block: "nearest" });
}

function tell(what, remedy) {
  const line = Object.assign(document.createElement("p"), { textContent: what, className: remedy === undefined ? "" : "bad" });
  if (remedy) line.append(Object.assign(document.createElement("span"), { textContent: remedy }));
  $("told").replaceChildren(line);
  setTimeout(() => line.remove(), remedy === undefined ? 6000 : 15000);
}

// `millrace ui` prints an address with the key behind the #, which no browser sends anywhere. Who is asked for a key and
// pastes that address into the same tab loads no page: only what stands behind the # is another.
function sign_in() {
  if (location.pathname !== "/sign-in" || location.hash.length < 2) return;
  const key = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", "/sign-in");
  act(document.querySelector("form[data-act='/sign-in']"), { key });
}

sign_in();
addEventListener("hashchange", sign_in);
