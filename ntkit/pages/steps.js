"use strict";
(() => {
  const slider = document.getElementById("step");
  const share = document.getElementById("share");
  const keep = document.getElementById("keep");
  const original = document.getElementById("original");
  const news = document.getElementById("news");
  const steps = [...document.querySelectorAll(".at")];
  const server = window.parent.ntkit;

  function show() {
    const at = Number(slider.value);
    steps.forEach((step, i) => { step.hidden = i !== at; });
    share.textContent = steps[at].dataset.share;
    slider.setAttribute("aria-valuetext", steps[at].dataset.share);
    keep.disabled = at === 0 || !server?.state?.writes;
    original.disabled = !server?.state?.writes;
  }

  async function kept(step) {
    keep.disabled = original.disabled = slider.disabled = true;
    news.textContent = step ? "Writing and checking the model …" : "Keeping the original …";
    try {
      await server.say("keep", {step});
    } catch (error) {
      news.textContent = error.message;
      slider.disabled = false;
      show();
    }
  }

  slider.addEventListener("input", show);
  keep.addEventListener("click", () => kept(Number(slider.value)));
  original.addEventListener("click", () => kept(0));
  window.addEventListener("ntkit", () => { if (!slider.disabled) show(); });
  window.addEventListener("focus", () => slider.focus(), {once: true});
  show();
})();
