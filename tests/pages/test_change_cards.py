"""Changes on the page of an audit: originals, copies and predictions as they are."""

import html
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkit.jobs.audit import ChangeFindings, write_audit
from ntkit.pages.change_cards import change_in_words, differing
from tests.pages import audits


def page_of(tmp_path, *changes, audit=None):
    audit = audits.of_texts() if audit is None else audit
    audit = replace(audit, changes=ChangeFindings(changes, (), 0, 9))
    write_audit(audit, tmp_path / "out", force=True)
    return (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")


TEXTS, COPIES = ["a dull film", "one film", "the film"], ["a dull movie", "one movie", "the movie"]


def test_an_original_its_copy_and_both_predictions(tmp_path):
    page = page_of(tmp_path, audits.changed("word:film|word:movie", TEXTS, COPIES))
    section = page.split("Changes that flip predictions")[1]
    assert "“film” and “movie” exchanged" in section
    first = section.split("<li>")[1]
    original, copy = first.split('class="arrow"')
    assert "a dull <mark>film</mark>" in original
    assert "a dull <mark>movie</mark>" in copy
    assert html.escape(audits.EVIL[0])[:20] in original
    assert "&lt;img src=x onerror" in copy
    assert "10 of 40 predictions flip, significantly more than" in section
    assert section.count("<li><div") == 3


def test_what_is_not_sure_and_what_flips_nothing_is_said(tmp_path):
    unsure = audits.changed("word:film", TEXTS, COPIES, is_finding=False)
    none = audits.changed("word:dull", [], [], flips=0.0, is_finding=False)
    page = page_of(tmp_path, unsure, none)
    assert "10 of 40 predictions flip, not significantly more than" in page
    assert "None of 40 predictions flips." in page
    assert "No example." in page


def test_only_pictures_have_a_centre_and_no_changes_no_section(tmp_path):
    one = audits.changed("image:centre", [], [])
    pictures = page_of(tmp_path, one, audit=audits.of_pictures())
    assert "The subject is usually in the centre" in pictures
    assert "The subject is usually in the centre" not in page_of(tmp_path, one)
    write_audit(audits.of_texts(), tmp_path / "out", force=True)
    assert "Changes that flip predictions" not in (tmp_path / "out" / "audit.html").read_text()


def test_a_changed_column_stands_first_and_marked(tmp_path):
    one = audits.changed("column:size", ["1", "2"], ["3", "4"])
    one = replace(
        one,
        examples=replace(
            one.examples,
            before=replace(one.examples.before, texts=None, table={"a": [5, 5], "size": [1, 2]}),
            after=replace(one.examples.after, texts=None, table={"a": [5, 5], "size": [3, 4]}),
        ),
    )
    page = page_of(tmp_path, one, audit=audits.of_a_table())
    assert '<div class="this"><dt>size:</dt> <dd>1</dd></div><div><dt>a:</dt>' in page
    assert '<div class="this"><dt>size:</dt> <dd>3</dd></div>' in page
    assert "“size” taken from another sample" in page


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("image:top left", "The top left of the image replaced by that of another image"),
        ("image:border=55", "The border of the image replaced by that of another image (55)"),
        ("image:blur", "The image blurred"),
        ("word:film", "The word “film” removed"),
        ("markup", "Mark-up removed"),
        ("column:age", "“age” taken from another sample"),
        ("shouted", "shouted"),
    ],
)
def test_changes_in_words(name, words):
    assert change_in_words(name) == words


@given(st.text(max_size=120), st.text(max_size=120))
def test_texts_that_differ_are_marked_where_they_do(text, copy):
    for parts, of in zip(differing(text, copy), (text, copy), strict=True):
        assert all(piece for piece, _ in parts)
        whole = "".join(piece for piece, _ in parts)
        if not whole.startswith("… ") or of.startswith("…"):
            assert "".join(whole.split()) == "".join(of.split())
    if text == copy:
        assert not any(mark for parts in differing(text, copy) for _, mark in parts)


def test_a_long_text_is_shown_around_its_change():
    before, after = "x " * 5000, " y" * 5000
    for parts in differing(f"{before}film{after}", f"{before}movie{after}"):
        assert sum(len(piece) for piece, _ in parts) < 500
        assert [piece for piece, mark in parts if mark] in (["film"], ["movie"])
