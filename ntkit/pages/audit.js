"use strict";
(() => {
  const main = document.querySelector("main");
  const cards = [...document.querySelectorAll(".finding, .change[data-entry]")];
  if (!cards.length) return;
  const entries = cards.map((card) => JSON.parse(card.dataset.entry));
  const said = document.querySelector(".said");
  const save = document.getElementById("save");
  const keys = document.getElementById("keys");
  const place = `ntkit-audit-${main.dataset.digest}`;
  const name = document.getElementById("name");
  const copy = document.getElementById("copy");
  const command = document.getElementById("command");
  const WORDS = {spurious: "ignore it", legitimate: "it matters", unsure: "decide later", invariant: "keeps the class"};
  const KEYS = {1: "spurious", y: "spurious", 2: "legitimate", n: "legitimate", 3: "unsure", u: "unsure"};
  let server; // of a run that waits, if the page is in its window
  try {
    server = window.parent.ntkit;
  } catch {
    server = undefined; // in a frame of somebody else
  }
  const waits = () => server.state.writes && server.state.phase === "asking";
  document.body.classList.toggle("waits", Boolean(server));
  let given = new Map();
  let kept = true;

  function load() {
    given = new Map();
    if (server) {
      given = new Map(Object.entries(server.state?.answers ?? {}));
      return;
    }
    try {
      const found = JSON.parse(localStorage.getItem(place) ?? "[]");
      for (const [finding, {answer, at}] of Array.isArray(found) ? found : [])
        if (Object.hasOwn(WORDS, answer) && typeof at === "string" && entries.some((entry) => entry.name === finding))
          given.set(finding, {answer, at});
    } catch {
      given = new Map(); // damaged, or the browser stores nothing
    }
  }

  function keep(news) {
    if (server && news) {
      server.say("answer", {...news, by: name.value}).catch((error) => {
        load();
        show(error.message);
      });
    }
    try {
      if (!server) localStorage.setItem(place, JSON.stringify([...given]));
      localStorage.setItem("ntkit-name", name.value);
    } catch {
      kept = false;
    }
  }

  function show(news = "") {
    for (const button of document.querySelectorAll("[data-answer]")) button.disabled = server ? !waits() : false;
    cards.forEach((card, i) => {
      const answer = given.get(entries[i].name)?.answer;
      card.querySelector(".state").textContent = answer ? `✓ ${WORDS[answer]}` : "";
      for (const button of card.querySelectorAll("[data-answer]"))
        button.setAttribute("aria-pressed", String(button.dataset.answer === answer));
    });
    const answers = [...given.values()].map((said) => said.answer);
    const when = answers.some((said) => said === "spurious" || said === "invariant") ? "spurious" : answers.length ? "others" : "none";
    for (const part of document.querySelectorAll("[data-when]")) part.hidden = part.dataset.when !== when;
    save.disabled = server ? !waits() : !given.size;
    if (server) save.textContent = when === "spurious" ? "Repair the model" : "End without a repair";
    const changes = [...given.keys()].filter((finding) => finding.startsWith("change ")).length;
    const questions = document.querySelectorAll(".finding").length;
    const counted = `${given.size - changes} of ${questions} answered${changes ? `, and ${changes} on changes` : ""}.`;
    const warning = kept ? "" : " This browser does not keep answers. Save them before you close the page.";
    said.textContent = [news, counted].filter(Boolean).join(" ") + warning;
  }

  function answer(i, value) {
    const finding = entries[i].name;
    if (!cards[i].querySelector(`[data-answer="${value}"]`)) value = "invariant"; // the yes for a change
    const again = given.get(finding)?.answer === value;
    if (server && !waits()) return;
    if (again) given.delete(finding);
    else given.set(finding, {answer: value, at: new Date().toISOString()});
    keep({name: finding, answer: again ? null : value});
    show(again ? "Answer removed." : "");
  }

  function done() {
    if (!server) {
      download();
      return;
    }
    save.disabled = true;
    server.say("repair", {}).catch((error) => show(error.message));
  }

  function download() {
    const who = name.value.trim() ? {by: name.value.trim()} : {};
    const answers = entries
      .filter((entry) => given.has(entry.name))
      .map((entry) => ({...entry, ...given.get(entry.name), ...who}));
    const content = {ntkit: "answers", version: 1, audit: main.dataset.digest, answers};
    if (main.dataset.model) content.model = main.dataset.model;
    const file = new Blob([JSON.stringify(content, null, 2) + "\n"], {type: "application/json"});
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = "answers.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    show("Saved as answers.json in the downloads of this browser.");
    (copy.checkVisibility() ? copy : save).scrollIntoView({block: "center"}); // the next command
  }

  async function copied() {
    getSelection().selectAllChildren(command); // a browser that forbids copying leaves it selected
    try {
      await navigator.clipboard.writeText(command.textContent);
      show("Copied.");
    } catch {
      show("Selected: copy it with the keys of your system.");
    }
  }

  function current() {
    return cards.findIndex((card) => card.contains(document.activeElement));
  }

  function move(step) {
    const at = current();
    const inView = cards.findIndex((card) => card.getBoundingClientRect().bottom > 60);
    const to = at < 0 ? Math.max(0, inView) : Math.min(cards.length - 1, Math.max(0, at + step));
    cards[to].focus({preventScroll: true});
    cards[to].scrollIntoView({block: "start"});
  }

  cards.forEach((card, i) => {
    for (const button of card.querySelectorAll("[data-answer]"))
      button.addEventListener("click", () => answer(i, button.dataset.answer));
  });
  save.addEventListener("click", done);
  copy.addEventListener("click", copied);
  name.addEventListener("input", () => keep());
  document.addEventListener("keydown", (event) => {
    if (!keys.checked || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, summary")) return;
    const at = current();
    const value = KEYS[event.key];
    if (value && at >= 0) answer(at, value);
    else if (value) show("Go to a finding first, with j.");
    else if (event.key === "j" || event.key === "ArrowRight") move(1);
    else if (event.key === "k" || event.key === "ArrowLeft") move(-1);
    else if (event.key === "s" && !save.disabled) done();
    else return;
    event.preventDefault();
  });
  window.addEventListener("storage", (event) => {
    if (event.key !== place) return;
    load();
    show();
  });
  window.addEventListener("ntkit", () => { // the run has news
    load();
    show();
  });
  load();
  try {
    name.value = localStorage.getItem("ntkit-name") ?? "";
  } catch {
    kept = false;
  }
  show();
})();
