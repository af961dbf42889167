"use strict";
(() => {
  const said = document.getElementById("said");
  const frame = document.getElementById("page");
  const working = document.getElementById("working");
  const doing = document.getElementById("doing");
  const progress = document.getElementById("progress");
  const count = document.getElementById("count");
  const WAIT = 2000; // milliseconds until another try
  const WORDS = {working: "ntkit works.", asking: "Your answers are kept at once.", labelling: "Your labels are kept at once.", deciding: "Choose a step.", ended: "ntkit has ended."};
  let secret = location.hash.slice(1);
  let tab = "";
  let version = -1;
  let state = null;
  let over = false;
  let waiting = 0; // words that are not answered yet
  let heard = 0;
  let line = Promise.resolve();

  // A tab that was duplicated has the number of the other one, and another address may be typed.
  const again = performance.getEntriesByType("navigation")[0]?.type === "reload";
  addEventListener("hashchange", () => location.reload());
  try {
    if (secret) sessionStorage.setItem("ntkit-secret", secret);
    else secret = sessionStorage.getItem("ntkit-secret") ?? ""; // the page was loaded again
    tab = (again && sessionStorage.getItem("ntkit-tab")) || crypto.randomUUID();
    sessionStorage.setItem("ntkit-tab", tab);
  } catch {
    tab = tab || crypto.randomUUID();
  }
  history.replaceState(null, "", "/");

  async function asked(path, values) {
    const headers = {"X-Ntkit-Secret": secret, "X-Ntkit-Tab": tab, "X-Ntkit-Version": version};
    const options = values ? {method: "POST", body: JSON.stringify(values), headers} : {headers};
    return fetch(path, {...options, credentials: "omit", redirect: "error", referrerPolicy: "no-referrer"});
  }

  async function send(word, values) {
    try {
      const answer = await asked(`/${word}`, values).catch(() => {
        throw new Error("ntkit has stopped, so this may not be kept.");
      });
      const content = await answer.json();
      if (!answer.ok) throw new Error(content.error);
      if (waiting === 1) take(content);
    } finally {
      waiting -= 1;
      heard += 1;
    }
  }

  // What the pages inside call; a page without it is the offline page.
  window.ntkit = {
    get state() { return state; },
    say(word, values) {
      waiting += 1;
      const sent = line.then(() => send(word, values)); // an answer arrives before the repair
      line = sent.catch(() => {});
      return sent;
    },
  };

  function take(news) {
    state = news;
    const readsOnly = state.writes ? "" : " Another window answers; this one only reads.";
    said.textContent = (state.message || WORDS[state.phase]) + readsOnly;
    document.getElementById("title").textContent = state.title;
    document.title = `ntkit – ${state.title}`;
    const of = state.progress;
    doing.textContent = of ? `${of.what[0].toUpperCase()}${of.what.slice(1)} …` : "Working …";
    if (of?.total) progress.value = of.n / of.total;
    else progress.removeAttribute("value");
    count.textContent = of ? [of.n, of.total].filter((n) => n !== null).join(" of ") : "";
    working.hidden = state.has_page;
    frame.hidden = !state.has_page;
    if (!frame.hidden) frame.contentWindow?.dispatchEvent(new Event("ntkit"));
    const repairs = document.getElementById("repairs");
    repairs.hidden = !state.repairs.length;
    repairs.lastElementChild.replaceChildren(...state.repairs.flatMap((pair) => ["dt", "dd"].map((kind, i) => {
      const item = document.createElement(kind);
      item.textContent = pair[i];
      return item;
    })));
    over = state.phase === "ended";
  }

  async function look() {
    try {
      const before = heard;
      const answer = await asked("/state");
      if (answer.status === 403) {
        said.textContent = "This address is not valid. Open the one that ntkit printed last.";
        return;
      }
      const news = await answer.json();
      if (waiting || heard !== before) { // it is older than what was said
        await line;
        look();
        return;
      }
      const turns = news.version !== version && news.has_page;
      if (turns) {
        state = news; // for the page as it begins
        const page = await asked("/page");
        frame.srcdoc = await page.text();
        await new Promise((loaded) => frame.addEventListener("load", loaded, {once: true}));
      }
      version = news.version;
      take(news);
      if (turns) frame.contentWindow.focus(); // its keys work at once
      if (over) {
        await asked("/state"); // tells that the last page is here
        return;
      }
      look(); // ntkit answers when there is news, else after a moment
    } catch {
      if (over) return; // it has all
      said.textContent = `ntkit has stopped.${state?.go_on ? ` Continue in the terminal: ${state.go_on}` : ""}`;
      setTimeout(look, WAIT);
    }
  }
  look();
})();
