"""The label page as a person uses it, in a real browser: by keyboard alone."""

import csv
import json

import numpy as np
import pytest

from ntkit.jobs.label import label_samples
from ntkit.pages.label_page import write_label_page
from ntkit.samples.looks import Inputs
from tests.jobs.label.models import rows, write_model
from tests.pages.audits import EVIL
from tests.pages.browser import WIDE, downloaded, read_aloud

N = 48
WATER = np.random.default_rng(0).integers(0, 2, N)
IDS = [f"bird {i:02}.png" for i in range(N)]
NAMES = [text for text in EVIL if "\ud800" not in text] + ["=1+1", "-5", 'a,b;\n"c"\'']
VALUES = [EVIL[2], "=no", "it's"]
VISIBLE = "[...document.querySelectorAll('.sample')].filter((s) => s.checkVisibility())"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    blue = np.zeros((N, 30, 40, 3), dtype=np.uint8)
    blue[..., 2] = 200 * WATER[:, None, None]
    write_label_page(
        folder / "pictures", "Is there water behind the bird?", range(N - 1, -1, -1),
        Inputs(images=blue, ids=IDS), values=("water", "land"), attribute="background",
    )  # fmt: skip
    texts = [f"{text} {'x' * 3000}" for text in NAMES]
    write_label_page(
        folder / "hostile", EVIL[0], range(len(NAMES)),
        Inputs(texts=texts, ids=NAMES, table={EVIL[1]: NAMES}), values=VALUES, attribute=EVIL[1],
    )  # fmt: skip
    return {kind: (folder / kind / "label.html").as_uri() for kind in ("pictures", "hostile")}


@pytest.fixture
def page(browser, pages, tmp_path):
    with browser.page(pages["pictures"], downloads=tmp_path) as page:
        yield page


def saved(folder):
    """The CSV that the page saves: its header, and the labels there are by name."""
    with downloaded(folder, "labels.csv").open(encoding="utf-8-sig", newline="") as file:
        head, *lines = csv.reader(file, strict=True)
    return head, {name: label for name, label in lines if label}


def said(page):
    return page.run("document.querySelector('.said').textContent")


def current(page):
    (name,) = page.run(f"{VISIBLE}.map((s) => s.querySelector('bdi').textContent)")
    return name


def test_forty_eight_pictures_take_one_key_each(page, tmp_path):
    read = read_aloud(page)
    assert ("group", "Is there water behind the bird?") in read
    assert any(role == "button" and name.startswith("water") for role, name in read)
    assert any(role == "progressbar" and name == "labelled" for role, name in read)
    assert ("image", IDS[-1]) in read or ("img", IDS[-1]) in read
    for _ in range(N):
        page.press("1" if WATER[IDS.index(current(page))] else "2")
    last = ["land", "water"][WATER[IDS.index(current(page))]]
    assert said(page) == f"All {N} labelled. Save them. Last label: {last}."
    page.press("s")
    assert said(page).startswith(f"All {N} labelled. Saved as labels.csv")
    head, labels = saved(tmp_path)
    assert head == ["id", "background"]
    assert [labels[name] for name in IDS] == [["land", "water"][w] for w in WATER]


def test_undo_goes_back_to_what_was_undone(page, tmp_path):
    first = current(page)
    page.press("1")
    second = current(page)
    page.press("2", "0")
    assert said(page).startswith("3 of 48")
    page.press("u", "u")
    assert current(page) == second
    assert said(page) == "1 of 48 labelled. Undone."
    page.press("u", "u", "u")
    assert current(page) == first
    assert said(page).startswith("0 of 48 labelled.")
    for repeat in (False, True, True, True):  # a key that is held down answers once
        page.send("Input.dispatchKeyEvent", type="keyDown", key="1", text="1", autoRepeat=repeat)
    assert said(page) == "1 of 48 labelled. Last label: water."
    page.press("ArrowLeft")  # an answer is changed by going back
    assert current(page) == first
    page.press("2", "1", "0", "s")
    _, labels = saved(tmp_path)
    assert labels == {first: "land", IDS[N - 2]: "water", IDS[N - 3]: "?"}  # nobody can tell
    assert said(page).startswith("3 of 48 labelled. Saved")
    page.press("u", "u", "u")
    assert current(page) == first
    assert "water" in page.run("document.querySelector('.current .label').textContent")


def test_a_reload_goes_on_where_it_was(page):
    page.press("1", "2", "1")
    here = current(page)
    page.reload_until(lambda: said(page) == "3 of 48 labelled.")
    assert current(page) == here
    page.press("u")
    assert said(page) == "2 of 48 labelled. Undone."
    key = page.run("Object.keys(localStorage).find((k) => k.startsWith('ntkit-label-'))")
    for spoilt in ("{", "null", "[[0, 7]]", "[[99, 0]]", '[["0", 0]]', "[null]", '{"0": 1}'):
        page.run(f"localStorage.setItem({json.dumps(key)}, {json.dumps(spoilt)})")
        page.reload_until(lambda: said(page) == "0 of 48 labelled.")


def test_the_grid(page):
    page.press("g")
    assert page.run(f"{VISIBLE}.length") == N
    columns = page.run("getComputedStyle(document.querySelector('ol')).gridTemplateColumns")
    columns = len(columns.split())
    assert columns > 3
    page.press("ArrowDown", "ArrowRight")
    chosen = "[...document.querySelectorAll('.sample')].findIndex((s) => s.matches('.current'))"
    assert page.run(chosen) == columns + 1
    page.press("1", "ArrowUp", "2")
    assert said(page) == "2 of 48 labelled. Last label: land."
    assert page.run("document.querySelectorAll('.given').length") == 2
    page.press("g")
    assert page.run(f"{VISIBLE}.length") == 1


def test_nothing_leaves_nothing_runs_and_names_come_back(browser, pages, tmp_path):
    for kind, url in pages.items():
        with browser.page(url, downloads=tmp_path, width=400) as page:
            for _ in ("one", "grid"):  # no wider than a phone
                assert page.run("document.documentElement.scrollWidth <= innerWidth")
                assert page.run(WIDE) == []
                page.press("g")
            if kind == "hostile":
                page.press(*("123" * 3)[: len(NAMES)], "s")
                head, labels = saved(tmp_path)
            asked = {url for url in page.requests if not url.startswith(("data:", "blob:"))}
            assert asked == {url}
            assert page.run("window.hacked") is None
            assert page.complaints == []
    assert head == ["id", EVIL[1]]
    cell = {"=1+1": "'=1+1"}  # no formula
    assert labels == {cell.get(name, name): VALUES[i % 3] for i, name in enumerate(NAMES)}


def test_what_is_asked_comes_back(browser, tmp_path):
    """A question's folder, twelve keys, the file that the page saves, and the next questions."""
    model, out = write_model(tmp_path / "model.onnx"), tmp_path / "out"
    X, y, mark = rows(n=80)
    ask = {"question": EVIL[0], "values": ("there", EVIL[2]), "batch": 12, "device": "cpu"}
    first = label_samples(model, (X, y), out, **ask)
    keys = ["12"[mark[int(name)]] for name in first.asked]
    with browser.page((out / "label.html").as_uri(), downloads=out) as page:
        page.press(*keys[:-1], "0", "s")
        downloaded(out, "labels.csv")
        wanted = "Move it to the folder of this page, and run the same ntkit label command again"
        assert wanted in said(page)
        assert page.complaints == []
    # The data were shuffled meanwhile, and samples are known by their content.
    order = np.random.default_rng(0).permutation(80)
    second = label_samples(model, (X[order], y[order]), out, device="cpu")
    values, answers = second.labels.values, second.labels.answers
    unsure = int(first.asked[-1])
    assert len(answers) == 12
    assert answers == {
        name: None if order[int(name)] == unsure else values[mark[order[int(name)]]]
        for name in answers
    }
    assert not {*answers} & {*second.asked}
