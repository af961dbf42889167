"""The page of an audit as a person uses it, in a real browser."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from ntkit.jobs.audit import read_answers
from ntkit.jobs.audit.files import write_audit
from tests.pages import audits
from tests.pages.browser import INJECT, WIDE, downloaded, read_aloud, until

CLICK = "document.querySelectorAll('[data-answer={}]')[{}].click()"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for kind, made in audits.MADE.items():
        write_audit(made(), folder / kind, title=audits.EVIL[1] if kind == "hostile" else kind)
    return {kind: (folder / kind / "audit.html").as_uri() for kind in audits.MADE}


@pytest.fixture
def open_page(browser, pages, tmp_path):
    """Open a page of a kind, whose downloads are in the test's folder."""

    def opened(kind, **options):
        return browser.page(pages[kind], downloads=tmp_path, **options)

    return opened


def states(page):
    return page.run("[...document.querySelectorAll('.state')].map((e) => e.textContent)")


def pressed(page):
    return page.run(
        "[...document.querySelectorAll('[aria-pressed=true]')].map((b) => b.dataset.answer)"
    )


def test_answering_by_keyboard_saves_what_the_reader_reads(open_page, tmp_path):
    findings = audits.MADE["of_texts"]().findings
    assert {finding.name for finding in findings} == {"word:bad", "word:film"}
    with open_page("of_texts") as page:
        page.press("1")  # nothing is chosen yet
        assert pressed(page) == []
        page.press("s")  # and nothing is there to save
        page.press("j", "2", "ArrowRight", "3", "1", "j", "s")
        assert pressed(page) == ["legitimate", "spurious"]
        saved = downloaded(tmp_path, "answers.json")
        assert "2 of 2 answered" in page.run("document.querySelector('.said').textContent")
        # On paper the findings are seen, and the bar is not.
        page.send("Emulation.setEmulatedMedia", media="print")
        seen = "document.querySelector('{}').checkVisibility()"
        assert not page.run(seen.format(".bar"))
        assert page.run(seen.format(".finding"))
        assert page.send("Page.printToPDF")["data"].startswith("JVBERi")
    found = [(a.name, a.answer, a.values) for a in read_answers(saved).answers]
    said = zip(findings, ("legitimate", "spurious"), strict=True)
    assert found == [(finding.name, answer, finding.values) for finding, answer in said]
    assert [*tmp_path.iterdir()] == [saved]


def test_letters_answer_both_lists_and_say_who_and_when(open_page, tmp_path):
    names = [finding.name for finding in audits.MADE["of_two_heads"]().all_findings]
    with open_page("of_two_heads") as page:
        page.press("j", "n", "j", "y")
        kept = "const e = document.getElementById('name'); e.value = ' Ada \u00c5 ';"
        page.run(f"{kept} e.dispatchEvent(new Event('input'))")
        page.reload_until(lambda: pressed(page) == ["legitimate", "spurious"])
        page.press("j", "s")
        answers = read_answers(downloaded(tmp_path, "answers.json")).answers
    assert [(a.name, a.answer, a.by) for a in answers] == [
        (names[0], "legitimate", "Ada \u00c5"),
        (names[1], "spurious", "Ada \u00c5"),
    ]
    for answer in answers:
        age = datetime.now(UTC) - datetime.fromisoformat(answer.at)
        assert timedelta(minutes=-1) < age < timedelta(minutes=5)


def test_every_name_comes_back_as_it_was(open_page, tmp_path):
    findings = audits.MADE["hostile"]().findings
    with open_page("hostile") as page:
        for _ in findings:
            page.press("j", "1")
        page.press("s")
        answers = read_answers(downloaded(tmp_path, "answers.json"))
    assert [(a.name, a.values) for a in answers.spurious] == [(f.name, f.values) for f in findings]


def test_answering_by_mouse_and_without_keys(open_page):
    with open_page("of_texts") as page:
        assert page.run("document.getElementById('save').disabled")
        page.run(CLICK.format("unsure", 1))
        assert states(page) == ["", "✓ decide later"]
        page.run(CLICK.format("spurious", 1))
        assert pressed(page) == ["spurious"]
        assert page.run("document.querySelector('pre').checkVisibility()")
        page.run(CLICK.format("spurious", 1))  # taken back
        assert states(page) == ["", ""]
        assert page.run("document.getElementById('save').disabled")
        assert not page.run("document.querySelector('pre').checkVisibility()")
        page.run("document.getElementById('keys').checked = false")
        page.press("j", "1")
        assert page.run("document.activeElement.tagName") == "BODY"


@pytest.mark.parametrize("size", [(1280, 800), (400, 800)])
@pytest.mark.parametrize("kind", ["of_texts", "of_two_heads", "of_a_table", "of_pictures"])
def test_the_first_examples_are_on_the_first_screen(kind, size, open_page):
    with open_page(kind, width=size[0], height=size[1]) as page:
        seen, below = page.run("""(() => {
            const box = document.querySelector(".examples li").getBoundingClientRect();
            const bar = document.querySelector(".bar").getBoundingClientRect();
            return [box.top, Math.min(box.bottom, box.top + 150) - bar.top];
        })()""")
        assert seen > 0
        assert below <= 0
        assert page.run("document.querySelector('h1').textContent").startswith("The model takes")


def test_after_saving_the_next_command_can_be_copied(open_page, tmp_path):
    with open_page("of_texts") as page:
        assert not page.run("document.getElementById('copy').checkVisibility()")
        page.press("j", "1", "s")
        downloaded(tmp_path, "answers.json")
        place = "document.getElementById('copy').getBoundingClientRect()"
        until(lambda: page.run(f"0 < {place}.top && {place}.bottom < innerHeight"))
        page.run("document.getElementById('copy').click()")
        said = "document.querySelector('.said').textContent"
        until(lambda: page.run(said).startswith(("Copied.", "Selected:")))
        assert page.run("getSelection().toString()").startswith("ntkit debias")
        page.press("j", "2")  # nothing to repair, so no command
        assert page.run("document.getElementById('command').checkVisibility()")


def test_a_reload_keeps_the_answers_of_this_audit_only(open_page, pages):
    with open_page("of_texts") as page:
        page.press("j", "1")
        page.go(pages["of_a_table"])
        assert pressed(page) == []
        page.go(pages["of_texts"])
        page.reload_until(lambda: pressed(page) == ["spurious"])
        key = page.run("Object.keys(localStorage).find((k) => k.startsWith('ntkit-audit-'))")
        for spoilt in ("{", "null", "7", '[["word:film", "<b>"]]', "[[1]]", '{"a": 1}', "[null]"):
            page.run(f"localStorage.setItem({json.dumps(key)}, {json.dumps(spoilt)})")
            page.reload_until(lambda: pressed(page) == [])
            page.press("j", "3")
            assert pressed(page) == ["unsure"]


@pytest.mark.parametrize("kind", audits.MADE)
def test_nothing_leaves_the_page_and_nothing_is_wider_than_a_phone(kind, open_page, pages):
    with open_page(kind) as page:
        page.press("j", "1", "s")
        assert {url for url in page.requests if not url.startswith(("data:", "blob:"))} == {
            pages[kind]
        }
        assert page.run("window.hacked") is None
        assert page.run("document.querySelectorAll('script, style, title').length") == 3
        assert page.run("document.querySelectorAll('main script, [onerror]').length") == 0
        assert page.complaints == []
        page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        for width in (400, 320):
            page.resize(width, 800)
            assert page.run("document.documentElement.scrollWidth <= innerWidth")
            assert page.run(WIDE) == []
        page.run(INJECT)  # the policy forbids what would get in all the same
        until(lambda: page.forbidden >= 3)
        assert page.run("window.hacked") is None


def test_what_a_screen_reader_reads_and_that_pictures_are_seen(open_page):
    with open_page("of_pictures") as page:
        read = read_aloud(page)
        widths = page.run("[...document.querySelectorAll('figure img')].map((i) => i.naturalWidth)")
    assert len(widths) >= 12
    assert min(widths) > 10

    def names(*roles):
        return [name for role, name in read if role in roles]

    assert any(name.startswith("Yes Ignore it") for name in names("button"))
    assert "Save answers" in names("button")
    assert any("site" in name for name in names("region"))
    pictures = names("image", "img")
    assert pictures
    assert all(pictures)
    assert any("% are right; 95 % interval from" in name for name in pictures)
    assert any(q.endswith("a shortcut that the model should ignore?") for q in names("group"))
    assert "Your name" in names("textbox")
    assert names("status")
