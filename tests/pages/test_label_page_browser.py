"""The label page as a person uses it, in a real browser: by keyboard alone."""

import csv
import json

import numpy as np
import pytest

from ntkit.jobs.label import label_samples
from ntkit.pages import Inputs
from ntkit.pages.label_page import write_label_page
from tests.jobs.label.models import rows, write_model
from tests.pages.audits import EVIL
from tests.pages.browser import downloaded

N = 48
WATER = np.random.default_rng(0).integers(0, 2, N)
IDS = [f"bird {i:02}.png" for i in range(N)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    blue = np.zeros((N, 30, 40, 3), dtype=np.uint8)
    blue[..., 2] = 200 * WATER[:, None, None]
    order = range(N - 1, -1, -1)
    write_label_page(
        folder / "pictures",
        "Is there water behind the bird?",
        order,
        Inputs(images=blue, ids=IDS),
        values=("water", "land"),
        attribute="background",
    )
    evil = [text for text in EVIL if "\ud800" not in text] + ["=1+1", "-5", 'a,b;\n"c"\'']
    write_label_page(
        folder / "hostile",
        EVIL[0],
        range(len(evil)),
        Inputs(texts=[f"{text} {'x' * 3000}" for text in evil], ids=evil, table={EVIL[1]: evil}),
        values=(EVIL[2], "=no", "it's"),
        attribute=EVIL[1],
    )
    return {kind: (folder / kind / "label.html").as_uri() for kind in ("pictures", "hostile")}, evil


@pytest.fixture
def page(browser, pages, tmp_path):
    with browser.page(pages[0]["pictures"], downloads=tmp_path) as page:
        while not said(page).startswith("0 of"):  # what an earlier test kept is on its way out
            page.run("localStorage.clear()")
            page.reload()
        yield page
        page.run("localStorage.clear()")


def saved(folder):
    """The CSV that the page saves: its header, and the labels there are by name."""
    with downloaded(folder, "labels.csv").open(encoding="utf-8-sig", newline="") as file:
        head, *rows = csv.reader(file, strict=True)
    return head, {name: label for name, label in rows if label}


def said(page):
    return page.run("document.querySelector('.said').textContent")


def current(page):
    shown = "[...document.querySelectorAll('.sample')].filter((s) => s.checkVisibility())"
    (name,) = page.run(f"{shown}.map((s) => s.querySelector('bdi').textContent)")
    return name


def test_forty_eight_pictures_take_one_key_each(page, tmp_path):
    keys = []
    for _ in range(N):
        row = IDS.index(current(page))
        keys.append("1" if WATER[row] else "2")
        page.press(keys[-1])
    assert len(keys) == N
    last = ["land", "water"][WATER[IDS.index(current(page))]]
    assert said(page) == f"All {N} labelled. Save them. Last label: {last}."
    page.press("s")
    assert said(page).startswith(f"All {N} labelled. Saved as labels.csv")
    head, labels = saved(tmp_path)
    assert head == ["id", "background"]
    assert [labels[name] for name in IDS] == [["land", "water"][w] for w in WATER]


def test_undo_goes_back_to_what_was_undone(page):
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


def test_an_answer_is_changed_by_going_back(page, tmp_path):
    first = current(page)
    page.press("1", "ArrowLeft")
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
    page.reload()
    assert current(page) == here
    assert said(page) == "3 of 48 labelled."
    page.press("u")
    assert said(page) == "2 of 48 labelled. Undone."
    key = page.run("Object.keys(localStorage).find((k) => k.startsWith('ntkit-label-'))")
    for spoilt in ("{", "null", "[[0, 7]]", "[[99, 0]]", '[["0", 0]]', "[null]", '{"0": 1}'):
        page.run(f"localStorage.setItem({json.dumps(key)}, {json.dumps(spoilt)})")
        page.reload()
        assert said(page) == "0 of 48 labelled."


def test_a_key_held_down_answers_once(page):
    for repeat in (False, True, True, True):
        page.send("Input.dispatchKeyEvent", type="keyDown", key="1", text="1", autoRepeat=repeat)
    assert said(page) == "1 of 48 labelled. Last label: water."


def test_the_grid(page):
    page.press("g")
    visible = "[...document.querySelectorAll('.sample')].filter((s) => s.checkVisibility()).length"
    assert page.run(visible) == N
    chosen = "[...document.querySelectorAll('.sample')].findIndex((s) => s.matches('.current'))"
    columns = page.run("getComputedStyle(document.querySelector('ol')).gridTemplateColumns")
    columns = len(columns.split())
    assert columns > 3
    page.press("ArrowDown", "ArrowRight")
    assert page.run(chosen) == columns + 1
    page.press("1", "ArrowUp", "2")
    assert said(page) == "2 of 48 labelled. Last label: land."
    assert page.run("document.querySelectorAll('.given').length") == 2
    page.press("g")
    assert page.run(visible) == 1


@pytest.mark.parametrize("kind", ["pictures", "hostile"])
@pytest.mark.parametrize("feature_set", ["one", "grid"])
def test_a_phone_needs_no_sideways_scrolling(kind, feature_set, browser, pages):
    with browser.page(pages[0][kind], width=400) as page:
        page.press(*["g"] * (feature_set == "grid"))
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        wide = """[...document.querySelectorAll("body *")].filter((e) => {
            const box = e.getBoundingClientRect();
            return box.width && (box.right > innerWidth + 1 || box.left < -1);
        }).map((e) => e.outerHTML.slice(0, 80))"""
        assert page.run(wide) == []


def test_nothing_leaves_nothing_runs_and_names_come_back(browser, pages, tmp_path):
    (urls, names) = pages
    with browser.page(urls["hostile"], downloads=tmp_path) as page:
        page.press(*("123" * 3)[: len(names)], "s")
        head, labels = saved(tmp_path)
        asked = [url for url in page.requests if not url.startswith(("data:", "blob:"))]
        assert asked == [urls["hostile"]]
        assert page.run("window.hacked") is None
        assert page.complaints == []
        page.run("localStorage.clear()")
    assert head == ["id", EVIL[1]]
    values = [EVIL[2], "=no", "it's"]
    cell = {"=1+1": "'=1+1"}  # no formula
    assert labels == {cell.get(name, name): values[i % 3] for i, name in enumerate(names)}


def test_what_a_screen_reader_reads(page):
    page.send("Accessibility.enable")
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    seen = [node for node in tree if not node["ignored"]]
    read = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in seen]
    assert ("group", "Is there water behind the bird?") in read
    assert any(role == "button" and name.startswith("water") for role, name in read)
    assert any(role == "progressbar" and name == "labelled" for role, name in read)
    assert ("image", IDS[-1]) in read or ("img", IDS[-1]) in read


def test_what_is_asked_comes_back(browser, tmp_path):
    """A question's folder, twelve keys, the file that the page saves, and the next questions."""
    model = write_model(tmp_path / "model.onnx")
    X, y, mark = rows(n=80)
    ask = {"question": EVIL[0], "values": ("there", EVIL[2]), "batch": 12, "device": "cpu"}
    first = label_samples(model, (X, y), tmp_path / "out", **ask)
    keys = ["12"[mark[int(name)]] for name in first.asked]
    page_of = (tmp_path / "out" / "label.html").as_uri()
    with browser.page(page_of, downloads=tmp_path / "out") as page:
        page.press(*keys[:-1], "0", "s")
        downloaded(tmp_path / "out", "labels.csv")
        assert (
            "Move it to the folder of this page, and run the same ntkit label command again"
            in said(page)
        )
        assert page.complaints == []
        page.run("localStorage.clear()")
    second = label_samples(model, (X, y), tmp_path / "out", device="cpu")
    values = [second.labels.values[int(key) - 1] for key in keys[:-1]]
    assert [second.labels.answers[name] for name in first.asked] == [*values, None]
    assert not {*first.asked} & {*second.asked}


def test_what_the_page_saves_is_read_by_content_where_the_data_were_shuffled(browser, tmp_path):
    model = write_model(tmp_path / "model.onnx")
    X, y, mark = rows(n=80)
    ask = {"question": "Is it marked?", "batch": 12, "device": "cpu"}
    first = label_samples(model, (X, y), tmp_path / "out", **ask)
    keys = ["21"[mark[int(name)]] for name in first.asked]
    page_of = (tmp_path / "out" / "label.html").as_uri()
    with browser.page(page_of, downloads=tmp_path / "out") as page:
        page.press(*keys, "s")
        downloaded(tmp_path / "out", "labels.csv")
        page.run("localStorage.clear()")
    order = np.random.default_rng(0).permutation(80)
    labels = label_samples(model, (X[order], y[order]), tmp_path / "out", device="cpu").labels
    assert len(labels.answers) == 12
    assert labels.answers == {n: ["no", "yes"][mark[order[int(n)]]] for n in labels.answers}
