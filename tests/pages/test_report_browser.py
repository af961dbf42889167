"""The report in a real browser: its result comes first, nothing is cut off, nothing gets in."""

from dataclasses import replace

import numpy as np
import pytest

from ntkit import FrozenModel, write_report
from ntkit.pages.report_page import report_html
from tests.pages.browser import INJECT, until
from tests.pages.test_report import example

LONG = "metadata:acquisition_device_and_hospital_department=radiology_on_the_market_square"
SCREENS = [(1280, 720), (400, 780), (320, 700)]
OUTSIDE = """[...document.querySelectorAll("main *")].filter((e) => {
    const box = e.getBoundingClientRect();
    const scrolls = e.closest(".scroll, svg") && !e.matches(".scroll");
    return box.width && !scrolls && (box.right > innerWidth + 1 || box.left < -1);
}).map((e) => e.outerHTML.slice(0, 80))"""


def report_with_long_names(groups):
    names = [f"{LONG} {i}" for i in range(3)]
    report = example(n=900, names=names, suppressed=12)
    labels = np.array([f"{LONG}, {i}" for i in range(30)])
    numbers = np.random.default_rng(0).integers(0, 30, 900)
    shown = replace(report.shown, groups=labels[numbers] if groups else None)
    candidate = {
        "name": "class-balanced-validation", "n_suppressed": 0, "score": 0.5, "average": 0.7,
        "worst_class": 0.6, "worst_group": 0.5 if groups else None, "chosen": True,
        "spread": dict.fromkeys(("score", "average", "worst_class", "worst_group"), 0.05),
    }  # fmt: skip
    return replace(
        report, shown=shown, neurons=replace(report.neurons, on=shown), candidates=[candidate] * 20,
        sentences=[f"Validation groups that lose accuracy: {LONG} {LONG}"],
        facts={"written": LONG * 3}, commands=[f"ntkit debias model.onnx --spurious '{LONG * 3}'"],
    )  # fmt: skip


def test_a_report_shows_its_answer_without_scrolling(asked, browser):
    parts = [".question", ".verdict", ".results", ".bars", "#cost", ".changed", ".steps"]
    with browser.page((asked[0] / "report.html").as_uri()) as page:
        for width, height, n_parts in ((1280, 800, 7), (400, 800, 5)):
            page.resize(width, height)
            for part in parts[:n_parts]:
                box = f"document.querySelector('{part}').getBoundingClientRect()"
                assert 0 < page.run(f"{box}.bottom") <= height, (width, part)
        images = "[...document.querySelectorAll('.changed img')]"
        assert page.run(f"{images}.length") == 6
        assert page.run("document.querySelectorAll('.bars svg').length") == 4
        select = "getComputedStyle(document.querySelector('.steps pre')).userSelect"
        assert page.run(select) == "all"  # one click selects the command


@pytest.mark.parametrize("groups", [True, False])
def test_long_names_in_a_report_are_not_cut_off(groups, browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report_html(report_with_long_names(groups)), encoding="utf-8")
    with browser.page(path.as_uri()) as page:
        page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        for width, height in SCREENS:
            page.resize(width, height)
            assert page.run("document.documentElement.scrollWidth <= innerWidth")
            assert page.run(OUTSIDE) == []


def test_the_policy_lets_the_report_show_all_of_itself_and_no_more(browser, user, tmp_path):
    models = (FrozenModel.load(user / name) for name in ("model.onnx", "worse.onnx"))
    report = write_report(*models, user / "test.npz", tmp_path / "report.html", device="cpu")
    html = report.read_text(encoding="utf-8")
    policy = html.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    parts = dict(part.split(" ", 1) for part in policy.replace("&#39;", "'").split("; "))
    assert parts.pop("style-src").startswith("'sha256-")
    nothing = ("default-src", "script-src", "base-uri", "form-action")
    assert parts == {"img-src": "data:"} | dict.fromkeys(nothing, "'none'")
    with browser.page(report.as_uri()) as page:
        assert page.run("getComputedStyle(document.querySelector('.tiles')).display") == "grid"
        images = "[...document.querySelectorAll('img')]"
        page.run(f"{images}.forEach((i) => {{ i.loading = 'eager'; }})")
        assert page.run(f"{images}.length") > 0
        assert page.run(f"{images}.every((image) => image.src.startsWith('data:'))")
        until(lambda: page.run(f"{images}[0].getBoundingClientRect().width"))
        bars = """[...document.querySelector('td .bar').querySelectorAll('.was, .now')].map((e) => {
            const [part, bar] = [e, e.parentNode].map((each) => each.getBoundingClientRect());
            return Math.round(1000 * part.width / bar.width) / 10;
        })"""
        cells = "document.querySelector('td .bar').closest('tr').innerText.match(/[0-9.]+(?=.%)/g)"
        assert page.run(bars) == pytest.approx([float(n) for n in page.run(cells)], abs=0.1)
        assert page.complaints == []
        page.run(INJECT)
        until(lambda: page.forbidden >= 3)
        assert page.run("window.hacked") is None
