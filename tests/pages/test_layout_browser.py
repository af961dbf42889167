"""Layout of pages on a screen and on a phone: the result comes first, nothing is cut off."""

from dataclasses import replace

import numpy as np
import pytest

from ntkit.pages._report_page import report_html
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
        "name": "class-balanced-validation",
        "n_suppressed": 0,
        "score": 0.5,
        "average": 0.7,
        "worst_class": 0.6,
        "worst_group": 0.5 if groups else None,
        "spread": dict.fromkeys(("score", "average", "worst_class", "worst_group"), 0.05),
        "chosen": True,
    }
    return replace(
        report,
        shown=shown,
        neurons_on=shown,
        sentences=[f"Validation groups that lose accuracy: {LONG} {LONG}"],
        candidates=[candidate] * 20,
        facts={"written": LONG * 3},
        commands=[f"ntkit debias model.onnx --spurious '{LONG * 3}'"],
    )


@pytest.fixture(scope="module", params=[True, False], ids=["groups", "classes"])
def url(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("layout") / "report.html"
    path.write_text(report_html(report_with_long_names(request.param)), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_a_report_shows_its_result_without_scrolling(width, height, browser, url):
    with browser.page(url, width=width, height=height) as page:
        tiles = "[...document.querySelectorAll('#result .tile')].slice(0, 2)"
        names = page.run(f"{tiles}.map((tile) => tile.firstElementChild.innerText)")
        assert names[0].startswith("worst")
        assert names[1].startswith("average")
        ends = page.run(f"{tiles}.map((tile) => tile.getBoundingClientRect().bottom)")
        assert max(ends) <= height
        assert page.run(f"{tiles}.every((tile) => tile.innerText.includes('→'))")


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_a_report_needs_no_sideways_scrolling(width, height, browser, url):
    with browser.page(url, width=width, height=height) as page:
        page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        assert page.run(OUTSIDE) == []
