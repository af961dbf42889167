"""The report of a job in a real browser: its policy lets it show all of itself, and no more."""

import numpy as np
import pytest

from ntkit import FrozenModel, LinearHead, write_report
from ntkit.datasets import marked_digits_model_path


@pytest.fixture(scope="module")
def report(digits, tmp_path_factory):
    model = FrozenModel.load(marked_digits_model_path())
    head = model.head
    other = LinearHead(head.coef * (np.arange(head.n_neurons) > 5), head.intercept, head.classes)
    out = tmp_path_factory.mktemp("report") / "report.html"
    data = tuple(digits[f"{name}_test"][:300] for name in ("X", "y", "groups"))
    return write_report(model, model.with_head(other), data, out, device="cpu")


def test_the_page_has_the_policy_of_the_other_pages(report):
    html = report.read_text(encoding="utf-8")
    policy = html.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    parts = dict(part.split(" ", 1) for part in policy.replace("&#39;", "'").split("; "))
    assert parts["style-src"].startswith("'sha256-")
    del parts["style-src"]
    nothing = ("default-src", "script-src", "base-uri", "form-action")
    assert parts == {"img-src": "data:"} | dict.fromkeys(nothing, "'none'")


def test_style_bars_and_images_are_shown_under_the_policy(browser, report):
    with browser.page(report.as_uri()) as page:
        assert page.run("getComputedStyle(document.querySelector('.tiles')).display") == "grid"
        images = "[...document.querySelectorAll('img')]"
        page.run(f"{images}.forEach((i) => {{ i.loading = 'eager'; }})")
        assert page.run(f"{images}.length") > 0
        assert page.run(f"{images}.every((image) => image.src.startsWith('data:'))")
        assert page.run(f"{images}[0].getBoundingClientRect().width") > 0
        dots = """[...document.querySelector('.bar').querySelectorAll('circle')].map((dot) => {
            const [at, bar] = [dot, dot.parentNode].map((e) => e.getBoundingClientRect());
            return Math.round(1000 * (at.left + at.width / 2 - bar.left) / bar.width) / 10;
        })"""
        cells = "document.querySelector('.bar').closest('tr').innerText.match(/[0-9.]+(?=.%)/g)"
        assert page.run(dots) == pytest.approx([float(n) for n in page.run(cells)], abs=0.1)
        assert page.complaints == []


def test_the_policy_forbids_what_would_get_in(browser, report):
    inject = """document.body.insertAdjacentHTML("beforeend",
        `<img src="x" onerror="window.hacked = 1"><img src="http://127.0.0.1:9/a.png">`);
        const script = document.createElement("script");
        script.textContent = "window.hacked = 2";
        document.body.append(script);
        fetch("http://127.0.0.1:9/").catch(() => {});"""
    with browser.page(report.as_uri()) as page:
        page.run(inject)
        page.run("void 0")
        assert page.run("window.hacked") is None
        assert len([text for text in page.complaints if "Content Security Policy" in text]) >= 3
