"use strict";
(() => {
  const main = document.querySelector("main");
  const settings = JSON.parse(main.dataset.settings);
  const samples = [...document.querySelectorAll(".sample")];
  const names = samples.map((sample) => JSON.parse(sample.dataset.cell));
  const said = document.querySelector(".said");
  const undoing = document.getElementById("undo");
  const viewing = document.getElementById("view");
  const saving = document.getElementById("save");
  const place = `ntkit-label-${settings.digest}`;
  const shown = [...settings.values, "cannot tell"];
  let server; // of a run that waits, if the page is in its window
  try {
    server = window.parent.ntkit;
  } catch {
    server = undefined; // in a frame of somebody else
  }
  document.body.classList.toggle("waits", Boolean(server));
  const ending = document.getElementById("end");
  let log = []; // [sample, value] of every key press, in order; the last one of a sample counts
  let at = 0;
  let kept = true;
  let saved = false; // whether the file has the whole log

  const valueAt = (list, i) => list.at(i);
  const given = () => new Map(log);
  const isEntry = (entry) =>
    Array.isArray(entry) && entry.length === 2 && Number.isInteger(entry[0]) && entry[0] >= 0 &&
    entry[0] < samples.length && Number.isInteger(entry[1]) && entry[1] >= -1 && entry[1] < settings.values.length;

  function load() {
    try {
      const found = JSON.parse(localStorage.getItem(place) ?? "[]");
      log = Array.isArray(found) && found.every(isEntry) ? found : [];
    } catch {
      log = []; // damaged, or the browser stores nothing
    }
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(log));
    } catch {
      kept = false;
    }
    send();
  }

  function send() {
    if (server)
      server.say("labels", {table: table()}).catch((error) => show(error.message));
  }

  function next(from) {
    const done = given();
    const order = [...samples.keys()].map((i) => (from + i) % samples.length);
    return order.find((i) => !done.has(i));
  }

  function show(news = "") {
    const done = given();
    samples.forEach((sample, i) => {
      sample.classList.toggle("current", i === at);
      sample.classList.toggle("given", done.has(i));
      sample.querySelector(".label").textContent = done.has(i) ? `✓ ${valueAt(shown, done.get(i))}` : "";
    });
    for (const button of document.querySelectorAll("[data-value]"))
      button.setAttribute("aria-pressed", String(done.get(at) === Number(button.dataset.value)));
    document.querySelector("progress").value = done.size;
    undoing.disabled = saving.disabled = !log.length;
    if (server) {
      saving.firstChild.textContent = "Next samples ";
      saving.disabled = ending.disabled = !server.state.writes || server.state.phase !== "labelling";
    }
    viewing.firstChild.textContent = main.classList.contains("grid") ? "One at a time " : "Grid ";
    const all = done.size === samples.length;
    const counted = all ? `All ${samples.length} labelled.${saved || server ? "" : " Save them."}` : `${done.size} of ${samples.length} labelled.`;
    const warning = kept || saved || server ? "" : " This browser does not keep labels. Save them before you close the page.";
    said.textContent = [counted, news].filter(Boolean).join(" ") + warning;
    if (main.classList.contains("grid")) samples[at].scrollIntoView({block: "nearest"});
    else window.scrollTo(0, 0);
  }

  function go(to) {
    at = Math.min(samples.length - 1, Math.max(0, to));
    show();
  }

  function answer(value) {
    log.push([at, value]);
    saved = false;
    keep();
    at = next(at + 1) ?? at;
    show(`Last label: ${valueAt(shown, value)}.`);
  }

  function undo() {
    if (!log.length) return;
    [at] = log.pop();
    saved = false;
    keep();
    show("Undone.");
  }

  function view() {
    const grid = main.classList.toggle("grid");
    main.classList.toggle("one", !grid);
    show();
  }

  function rowLength() {
    if (!main.classList.contains("grid")) return 1;
    const top = samples[0].offsetTop;
    const second = samples.findIndex((sample) => sample.offsetTop > top);
    return second < 0 ? samples.length : second;
  }

  function table() {
    const done = given();
    const cell = (i) => (done.has(i) ? settings.cells[done.get(i)] ?? "?" : "");
    const lines = names.map((name, i) => `${name},${cell(i)}`);
    return `\ufeff${[settings.header, ...lines, ""].join("\r\n")}`;
  }

  function go_on(word) {
    saving.disabled = ending.disabled = true;
    server.say(word, {}).catch((error) => show(error.message));
  }

  function download() {
    if (server) {
      go_on("next");
      return;
    }
    if (!log.length) return;
    const file = new Blob([table()], {type: "text/csv"});
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = "labels.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    saved = true;
    show(`Saved as labels.csv in the downloads of this browser.${settings.then}`);
  }

  for (const button of document.querySelectorAll("[data-value]"))
    button.addEventListener("click", () => answer(Number(button.dataset.value)));
  samples.forEach((sample, i) => sample.addEventListener("click", () => go(i)));
  undoing.addEventListener("click", undo);
  viewing.addEventListener("click", view);
  saving.addEventListener("click", download);
  ending.addEventListener("click", () => go_on("end"));
  window.addEventListener("ntkit", () => show());
  document.addEventListener("keydown", (event) => {
    const digit = /^[0-9]$/.test(event.key);
    if ((event.ctrlKey || event.metaKey) && event.key === "z") undo();
    else if (event.repeat && digit) return; // holding a key labels only one sample
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "0") answer(-1);
    else if (digit && Number(event.key) <= settings.values.length) answer(Number(event.key) - 1);
    else if (event.key === "u" || event.key === "Backspace") undo();
    else if (event.key === "g") view();
    else if (event.key === "s") download();
    else if (event.key === "ArrowRight" || event.key === "j") go(at + 1);
    else if (event.key === "ArrowLeft" || event.key === "k") go(at - 1);
    else if (event.key === "ArrowDown" && main.classList.contains("grid")) go(at + rowLength());
    else if (event.key === "ArrowUp" && main.classList.contains("grid")) go(at - rowLength());
    else return;
    event.preventDefault();
  });
  load();
  at = next(0) ?? 0;
  show();
  if (log.length && server?.state.writes) send(); // the last ones were on their way when it was loaded again
})();
