"""The page of an audit as a person uses it, in a real browser."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from ntkit.jobs.audit import read_answers, write_audit
from tests.pages import audits
from tests.pages.browser import downloaded

KINDS = ["of_texts", "of_two_heads", "of_a_table", "of_pictures", "hostile"]


@pytest.fixture(scope="module")
def found():
    return {kind: getattr(audits, kind)() for kind in KINDS}


@pytest.fixture(scope="module")
def pages(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for kind, audit in found.items():
        write_audit(audit, folder / kind, title=audits.EVIL[1] if kind == "hostile" else kind)
    return {kind: (folder / kind / "audit.html").as_uri() for kind in KINDS}


def states(page):
    return page.run("[...document.querySelectorAll('.state')].map((e) => e.textContent)")


def pressed(page):
    return page.run(
        "[...document.querySelectorAll('[aria-pressed=true]')].map((b) => b.dataset.answer)"
    )


def test_answering_by_keyboard_saves_what_the_reader_reads(browser, pages, found, tmp_path):
    names = [finding.name for finding in found["of_texts"].findings]
    sides = [s.values for s in found["of_texts"].findings]
    assert names == ["word:bad", "word:film"] or names == ["word:film", "word:bad"]
    with browser.page(pages["of_texts"], downloads=tmp_path) as page:
        page.press("1")  # nothing is chosen yet
        assert pressed(page) == []
        page.press("s")  # and nothing is there to save
        page.press("j", "2", "ArrowRight", "3", "1", "j", "s")
        assert pressed(page) == ["legitimate", "spurious"]
        saved = downloaded(tmp_path, "answers.json")
        assert "2 of 2 answered" in page.run("document.querySelector('.said').textContent")
    answers = read_answers(saved)
    assert [(a.name, a.answer, a.values) for a in answers.answers] == [
        (names[0], "legitimate", sides[0]),
        (names[1], "spurious", sides[1]),
    ]
    assert [*tmp_path.iterdir()] == [saved]


def test_letters_answer_both_lists_and_say_who_and_when(browser, pages, found, tmp_path):
    names = [finding.name for finding in found["of_two_heads"].all_findings]
    with browser.page(pages["of_two_heads"], downloads=tmp_path) as page:
        page.run("localStorage.clear()")
        page.go(pages["of_two_heads"])
        page.press("j", "n", "j", "y")
        kept = "const e = document.getElementById('name'); e.value = ' Ada \u00c5 ';"
        page.run(f"{kept} e.dispatchEvent(new Event('input'))")
        page.reload()
        assert pressed(page) == ["legitimate", "spurious"]
        page.press("j", "s")
        answers = read_answers(downloaded(tmp_path, "answers.json")).answers
        page.run("localStorage.clear()")
    assert [(a.name, a.answer, a.by) for a in answers] == [
        (names[0], "legitimate", "Ada \u00c5"),
        (names[1], "spurious", "Ada \u00c5"),
    ]
    for answer in answers:
        age = datetime.now(UTC) - datetime.fromisoformat(answer.at)
        assert timedelta(minutes=-1) < age < timedelta(minutes=5)


def test_every_name_comes_back_as_it_was(browser, pages, found, tmp_path):
    audit = found["hostile"]
    with browser.page(pages["hostile"], downloads=tmp_path) as page:
        for _ in audit.findings:
            page.press("j", "1")
        page.press("s")
        answers = read_answers(downloaded(tmp_path, "answers.json"))
    assert [a.name for a in answers.spurious] == [s.name for s in audit.findings]
    assert [a.values for a in answers.spurious] == [s.values for s in audit.findings]


def test_answering_by_mouse_and_taking_back(browser, pages):
    click = "document.querySelectorAll('[data-answer={}]')[{}].click()"
    with browser.page(pages["of_texts"]) as page:
        page.run("localStorage.clear()")
        page.go(pages["of_texts"])
        assert page.run("document.getElementById('save').disabled")
        page.run(click.format("unsure", 1))
        assert states(page) == ["", "✓ decide later"]
        page.run(click.format("spurious", 1))
        assert pressed(page) == ["spurious"]
        assert page.run("document.querySelector('pre').checkVisibility()")
        page.run(click.format("spurious", 1))
        assert states(page) == ["", ""]
        assert page.run("document.getElementById('save').disabled")
        assert not page.run("document.querySelector('pre').checkVisibility()")


def test_a_reload_keeps_the_answers_of_this_audit_only(browser, pages):
    with browser.page(pages["of_texts"]) as page:
        page.run("localStorage.clear()")
        page.go(pages["of_texts"])
        page.press("j", "1")
        page.go(pages["of_a_table"])
        assert pressed(page) == []
        page.go(pages["of_texts"])
        assert pressed(page) == ["spurious"]
        key = page.run("Object.keys(localStorage).find((k) => k.startsWith('ntkit-audit-'))")
        for spoilt in ("{", "null", "7", '[["word:film", "<b>"]]', "[[1]]", '{"a": 1}', "[null]"):
            page.run(f"localStorage.setItem({json.dumps(key)}, {json.dumps(spoilt)})")
            page.go(pages["of_texts"])
            assert pressed(page) == []
            page.press("j", "3")
            assert pressed(page) == ["unsure"]
        page.run("localStorage.clear()")


def test_keys_can_be_turned_off(browser, pages):
    with browser.page(pages["of_texts"]) as page:
        page.run("localStorage.clear(); document.getElementById('keys').checked = false")
        page.press("j", "1")
        assert page.run("document.activeElement.tagName") == "BODY"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_leaves_the_page_and_nothing_runs_in_it(kind, browser, pages):
    with browser.page(pages[kind]) as page:
        page.press("j", "1", "s")
        asked = [url for url in page.requests if not url.startswith(("data:", "blob:"))]
        assert asked == [pages[kind]]
        assert page.run("window.hacked") is None
        assert page.run("document.querySelectorAll('script, style, title').length") == 3
        assert page.run("document.querySelectorAll('main script, [onerror]').length") == 0
        assert page.complaints == []


def test_the_policy_forbids_what_would_get_in_all_the_same(browser, pages):
    inject = """document.body.insertAdjacentHTML("beforeend",
        `<img src="x" onerror="window.hacked = 5"><img src="http://127.0.0.1:9/a.png">`);
        const script = document.createElement("script");
        script.textContent = "window.hacked = 6";
        document.body.append(script);
        fetch("http://127.0.0.1:9/").catch(() => {});"""
    with browser.page(pages["of_texts"]) as page:
        page.run(inject)
        page.run("void 0")
        assert page.run("window.hacked") is None
        assert len([text for text in page.complaints if "Content Security Policy" in text]) >= 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [400, 320])
def test_a_phone_needs_no_sideways_scrolling(kind, width, browser, pages):
    with browser.page(pages[kind], width=width) as page:
        page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        wide = """[...document.querySelectorAll("main *")].filter((e) => {
            const box = e.getBoundingClientRect();
            return box.width && (box.right > innerWidth + 1 || box.left < -1);
        }).map((e) => e.outerHTML.slice(0, 80))"""
        assert page.run(wide) == []


def test_what_a_screen_reader_reads(browser, pages):
    with browser.page(pages["of_pictures"]) as page:
        page.send("Accessibility.enable")
        tree = page.send("Accessibility.getFullAXTree")["nodes"]
    read = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"]
    ]
    buttons = [name for role, name in read if role == "button"]
    assert any(name.startswith("Yes Ignore it") for name in buttons)
    assert "Save answers" in buttons
    regions = [name for role, name in read if role == "region"]
    assert any("site" in name for name in regions)
    pictures = [name for role, name in read if role in ("image", "img")]
    assert pictures
    assert all(pictures)
    assert any("% are right; 95 % interval from" in name for name in pictures)
    questions = [name for role, name in read if role == "group"]
    assert any(q.endswith("a shortcut that the model should ignore?") for q in questions)
    assert ("textbox", "Your name") in read
    assert "status" in [role for role, _ in read]


def test_pictures_are_seen(browser, pages):
    with browser.page(pages["of_pictures"]) as page:
        widths = page.run("[...document.querySelectorAll('figure img')].map((i) => i.naturalWidth)")
    assert len(widths) >= 12
    assert min(widths) > 10


def test_on_paper(browser, pages):
    with browser.page(pages["of_texts"]) as page:
        page.press("j", "1")
        page.send("Emulation.setEmulatedMedia", media="print")
        seen = "document.querySelector('{}').checkVisibility()"
        assert not page.run(seen.format(".bar"))
        assert page.run(seen.format(".finding"))
        pdf = page.send("Page.printToPDF")["data"]
        page.run("localStorage.clear()")
    assert pdf.startswith("JVBERi")
