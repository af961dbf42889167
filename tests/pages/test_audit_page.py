"""The page of an audit: its numbers and examples are true, and hostile inputs leave it small."""

import html
import re
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ntkit
from ntkit.attributes import Block, FeatureSet
from ntkit.exceptions import InputError
from ntkit.jobs.audit import Inputs, read_answers
from ntkit.jobs.audit.changes import ChangeFindings
from ntkit.jobs.audit.files import write_audit
from ntkit.jobs.audit.from_predictions import with_retraining
from ntkit.metrics import Row
from ntkit.pages.audit_page import examples_of, question_of, snippet_of, wording
from ntkit.pages.change_cards import change_in_words, differing
from ntkit.samples.looks import thumbnail_of
from tests.pages import audits
from tests.pages.audits import FILM, MADE, PRED, N, Y
from tests.pages.parsed import Page

SAID = ["a film" if f else "a movie" for f in FILM]
LEARNED = np.random.default_rng(0).random((N, 4)) / 9


def written(audit, folder, **options):
    write_audit(audit, folder / "audit", force=True, **options)
    content = (folder / "audit" / "audit.html").read_text(encoding="utf-8")
    return content, Page(content)


@pytest.mark.more
@pytest.mark.parametrize("kind", ["of_texts", "of_a_table", "of_pictures", "hostile"])
def test_a_page_is_whole_and_takes_nothing_from_outside(kind, tmp_path):
    audit = MADE[kind]()
    content, page = written(audit, tmp_path)
    assert not re.search(r"https?://|@import|url\(", content)
    assert all(source.startswith("data:image/") for source in page.links if source != "#changes")
    assert not page.handlers
    assert "default-src 'none'" in html.unescape(content)
    assert len(content) < 400_000
    assert written(audit, tmp_path)[0] == content
    # An entry of the page is an answer to be.
    entries = [entry for entry in page.entries if '"change ' not in entry]
    entries = ", ".join(entry[:-1] + ', "answer": "unsure"}' for entry in entries)
    path = tmp_path / "answers.json"
    path.write_text(f'{{"ntkit": "answers", "version": 1, "answers": [{entries}]}}')
    assert [a.name for a in read_answers(path).answers] == [s.name for s in audit.findings]
    assert kind != "hostile" or html.escape(audits.EVIL[0]) in content


def test_figures_and_examples_are_those_of_the_samples(tmp_path):
    _, page = written(MADE["of_texts"](), tmp_path, title="my reviews.onnx")
    assert "ntkit debias 'my reviews.onnx' --train" in page.text
    assert f"right on {100 * (PRED == Y).mean():.0f} % of {N} texts" in page.text
    assert "The model seems to predict “fresh” for texts with the word “film”." in page.text
    rows = {has: (Y == 0) & (has == FILM) for has in (1, 0)}
    shares = {has: 100 * (PRED == Y)[some].mean() for has, some in rows.items()}
    assert (
        f"Among the texts of class “rotten”, it is right on {shares[1]:.0f} % "
        "of those with the word “film”, but on "
    ) in page.text
    for has, some in rows.items():
        assert f"{shares[has]:.0f} % of {some.sum()}" in re.sub(" +", " ", page.text)
    assert "Opposite: The word “movie”." in page.text
    assert {word.lower() for word in page.marked} == {"film", "movie", "bad", "good"}
    for outcome, words in page.examples:
        text = "".join(words)
        row = int(re.search(r"number (\d+)", text)[1])
        assert f"row {row}" in text
        assert outcome == ("right" if PRED[row] == Y[row] else "wrong")
        assert ("right" in text) == (outcome == "right")
        if outcome == "wrong":
            assert f"predicted “{['rotten', 'fresh'][PRED[row]]}”" in text


def test_the_title_says_what_the_model_does_and_the_severity_what_that_costs(tmp_path):
    def shown(share, **options):
        follows = np.random.default_rng(3).random(N) < share
        audit = ntkit.audit(Y, np.where(follows, FILM, Y), **options)
        content, page = written(audit, tmp_path)
        return html.unescape(re.search("<h1>(.*)</h1>", content)[1]), page.text.replace("\xa0", " ")

    images = (60 + np.random.default_rng(0).integers(0, 40, (N, 12, 12, 3))).astype(np.uint8)
    whole = images + (120 * FILM).astype(np.uint8)[:, None, None, None]
    assert "border" not in shown(0.9, images=whole)[0]
    border = np.ones((12, 12), dtype=bool)
    border[2:-2, 2:-2] = False
    images[:, border] += (120 * FILM).astype(np.uint8)[:, None, None]
    title, _ = shown(0.9, images=images)
    assert re.fullmatch("The model takes images with a (fairly )?bright border for “1”", title)
    title, text = shown(0.9, texts=SAID)
    assert title == "The model takes texts with the word “film” for “1”"
    right = np.where(np.random.default_rng(3).random(N) < 0.9, FILM, Y) == Y
    first = 100 * sum(
        (k == Y).mean() * (v == FILM).mean() * right[(k == Y) & (v == FILM)].mean()
        for k in (0, 1)
        for v in (0, 1)
    )
    assert f"Severe: the model is right on {100 * right.mean():.0f} % here." in text
    assert "If the word “film” and the class were unrelated, on data otherwise like this" in text
    assert f"it would be right on {first:.0f} % (" in text
    assert "Moderate: the model is right on 99 %" in shown(0.05, texts=SAID)[1]
    only = np.where(Y == 1, "film", np.where(FILM == 1, "film", "movie"))
    text = written(ntkit.audit(Y, FILM * 1, texts=list(only)), tmp_path)[1].text
    assert "How severe this is cannot be told: of class “1” there are no texts" in text


def test_examples_are_as_many_as_there_are():
    wrong = np.arange(60) % 2 == 0
    for n_wrong, n_right, most, first in product((0, 1, 5, 20), (0, 1, 5, 20), (1, 4, 6), (0, 1)):
        group = np.zeros(60, dtype=bool)
        group[np.flatnonzero(wrong)[:n_wrong]] = group[np.flatnonzero(~wrong)[:n_right]] = True
        found = examples_of(group, wrong, wrong_first=bool(first), most=most, seed=n_wrong)
        rows, wrongs, rights = found["rows"], found["wrong"], found["right"]
        larger, smaller = (wrongs, rights) if first else (rights, wrongs)
        assert rows == larger + smaller
        assert len(set(rows)) == min(most, n_wrong + n_right)
        assert (group[rows].all(), wrong[wrongs].all(), wrong[rights].any()) == (True, True, False)
        assert (found["n_wrong"], found["n_right"]) == (n_wrong, n_right)
        assert min(n_wrong, n_right) < most or len(larger) >= len(smaller)


def test_nothing_found_is_a_page_too(tmp_path):
    noise = {"noise": np.random.default_rng(1).permutation(FILM)}
    _, page = written(ntkit.audit(Y, PRED, table=noise), tmp_path)
    assert "There is nothing to answer" in page.text
    assert page.entries == []


# -- large --------------------------------------------------------------------------------------


@pytest.mark.more
def test_large_inputs_leave_the_page_small(tmp_path):
    filler = "lorem ipsum " * 40_000
    texts = list(SAID)
    for row in np.flatnonzero((FILM == 1) & (Y == 0))[:3]:
        texts[row] = f"{filler} a film here {filler}"
    content, page = written(ntkit.audit(Y, PRED, texts=texts), tmp_path)
    assert len(content) < 100_000
    assert "film" in page.marked
    # A name of megabytes is not asked about.
    name = "x" * 1_000_000
    feature_set = FeatureSet("thing", True, N, lambda: iter([Block((name,), FILM[:, None])]))
    content, page = written(ntkit.audit(Y, PRED, feature_sets=[feature_set], texts=SAID), tmp_path)
    assert len(content) < 100_000
    assert "1 more finding is in audit.json" in page.text
    assert "No tested attribute explains" not in page.text
    # Many values and classes.
    rng = np.random.default_rng(0)
    y = rng.integers(0, 300, 30_000)
    site = np.where(rng.random(len(y)) < 0.9, y < 150, y >= 150)
    pred = np.where(rng.random(len(y)) < 0.5, np.where(site, 0, 299), y)
    table = {"id": np.array([f"x{i}" for i in range(len(y))], dtype=object), "site": site}
    content, page = written(ntkit.audit(y, pred, table=table), tmp_path)
    assert len(content) < 200_000
    assert "288 more classes are in audit.json" in page.text


def test_weak_findings_are_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("ntkit.pages.audit_page.SHOWN", 1)
    audit = MADE["of_texts"]()
    _, page = written(audit, tmp_path)
    assert len(page.entries) == 1
    assert audit.findings[0].name in page.entries[0]
    assert "1 more finding is in audit.json" in page.text
    assert "2 attributes explain its errors better than chance" in page.text
    assert "the strongest is below" in page.text


# -- images -------------------------------------------------------------------------------------


def test_inputs_of_another_number_are_refused(tmp_path):
    for inputs in ({"texts": ["a"]}, {"table": {"age": [1, 2]}}, {"metadata": {"site": ["A"]}},
                   {"images": [np.zeros((4, 4))]}, {"ids": ["a"]}):  # fmt: skip
        with pytest.raises(InputError, match=f"for {N} samples"):
            write_audit(MADE["of_texts"](), tmp_path / "audit", inputs=Inputs(**inputs))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("how", ["list", "generator", "files", "Pillow"])
def test_pictures_in_every_form(how, tmp_path):
    arrays = [np.full((5, 7, 3), 20 + 200 * f, dtype=np.uint8) for f in FILM]
    images = {"list": arrays, "generator": iter(arrays)}.get(how)
    if how == "Pillow":
        images = [Image.fromarray(array) for array in arrays]
    if how == "files":
        for value in (0, 1):
            Image.fromarray(arrays[list(FILM).index(value)]).save(tmp_path / f"{value}.png")
        images = [tmp_path / f"{f}.png" for f in FILM]
    audit = ntkit.audit(Y, PRED, table={"film": FILM})
    content, page = written(audit, tmp_path, inputs=Inputs(images=images))
    assert len(page.links) == 12
    assert len(set(page.links)) == 2
    assert "Some images are not" not in page.text
    assert 'class="examples images"' in content


class _Pictures:
    """Images that are read on access; every fifth is unreadable."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return N

    def __getitem__(self, row):
        self.asked.append(row)
        if row % 5 == 0:
            raise InputError("broken")
        return np.full((8, 8, 3), row % 256, dtype=np.uint8)


def test_only_what_is_shown_is_read_and_what_cannot_be_is_left_out(tmp_path, monkeypatch):
    pictures = _Pictures()
    audit = ntkit.audit(Y, PRED, table={"film": FILM})
    _, page = written(audit, tmp_path, inputs=Inputs(images=pictures))
    assert len(pictures.asked) == len(set(pictures.asked)) == 12
    assert len(page.links) == sum(row % 5 != 0 for row in pictures.asked) < 12
    assert "Some images are not shown" in page.text
    # Images have a limit.
    monkeypatch.setattr("ntkit.pages.audit_page._SPACE", 2_000)
    _, page = written(MADE["of_pictures"](), tmp_path)
    assert 0 < len(page.links) < len(page.examples)
    assert sum(map(len, dict.fromkeys(page.links))) < 2_000 + max(map(len, page.links))
    assert "Some images are not shown" in page.text


def test_thumbnails(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    for nothing in (np.zeros(3), np.zeros((0, 4)), np.zeros((4, 4, 7)), None, "no file", b"x",
                    tmp_path / "broken.png", tmp_path / "missing.png"):  # fmt: skip
        assert thumbnail_of(nothing) is None
    for shape in ((4, 4), (4, 4, 1), (4, 9, 4), (1, 3000)):
        assert thumbnail_of(np.full(shape, np.nan)).startswith("data:image/")
    # They are not stretched, because a finding may be about brightness.
    dark, bright = (thumbnail_of(np.full((8, 8), value, np.uint8)) for value in (20, 200))
    assert dark != bright
    assert thumbnail_of(np.full((8, 8), 200.01 / 255)) == bright
    assert thumbnail_of(np.full((8, 8), 200)) == bright
    # But inputs of models and deep images go from black to white.
    ramp = np.arange(64.0).reshape(8, 8)
    shown = thumbnail_of((ramp * 255 / 63).astype(np.uint8))
    for other in (ramp / 63 * 5 - 2, (ramp * 900).astype(np.uint16), (ramp * 9 - 99).astype(int)):
        assert thumbnail_of(other) == shown


# -- texts --------------------------------------------------------------------------------------


def squeezed(text):
    return " ".join(text.split())


PIECES = st.text(st.sampled_from("ab \n.<İſK"), max_size=400)


@settings(max_examples=50)
@given(before=PIECES, after=PIECES)
def test_a_snippet_is_a_piece_of_the_text_with_the_word(before, after):
    text = f"{before} Zebra, {after}"
    parts = snippet_of(text, ["zebra"], ["b"])
    assert [text for text, mark in parts if mark == "this"] == ["Zebra"]
    assert all(text in ("b", "B") for text, mark in parts if mark == "other")
    whole = "".join(text for text, _ in parts)
    inner = squeezed(whole.removeprefix("… ").removesuffix(" …"))
    assert inner in squeezed(text)
    assert len(whole) < 330


# -- words --------------------------------------------------------------------------------------

WORDINGS = """
word:film | word | The word “film” | with the word “film” | without the word “film”
word:<html | word | The tag “<html” | with the tag “<html” | without the tag “<html”
column:a=b=c | column | “a=b” is “c” | with the value “c” of “a=b” | with another value of “a=b”
column:age>=37 | column | “age” is 37 or more | with “age” of 37 or more \
    | with “age” of less than 37
metadata:site missing | metadata | “site” is missing | with a missing “site” \
    | with a known “site”
image:brightness high | image | Brightness of the image: high \
    | whose brightness is high (the highest part) | whose brightness is lower
image:border brightness high | image | A bright border \
    | with a bright border (the highest part) | with a darker border
image:row 2 column 7 of 8 brightness high | image | A bright cell in row 2, column 7 of 8 \
    | with a bright cell in row 2, column 7 of 8 (the highest part) \
    | with a darker cell in row 2, column 7 of 8
image:border orange high | image | Much orange in the border \
    | with much orange in the border (the highest part) | with less orange in the border
image:blue low | image | Little blue in the image \
    | with little blue in the image (the lowest part) | with more blue in the image
image:green above the median | image | More green than usual in the image \
    | with more green than usual in the image (the upper half) | with less green in the image
image:top left brightness low | image | A dark top left part \
    | with a dark top left part (the lowest part) | with a brighter top left part
layer:relu_1 #3 mean above the median | layer | A learned feature | with more of it \
    | with less of it
layer:relu_1 direction 2 high | layer | A learned feature | with much of it \
    | with less of it
embedding #5 low | embedding | A learned feature | with little of it \
    | with more of it
layer:relu_1 cluster 8 | layer | A kind of sample that the model distinguishes | of this kind \
    | of other kinds
clip #5 low | clip | Clip “#5”: low | whose clip “#5” is low (the lowest part) \
    | whose clip “#5” is higher
file:format=PNG | file | “format” is “PNG” | with the value “PNG” of “format” \
    | with another value of “format”
run:a film | run | Run “a film” | with run “a film” | without run “a film”
odd | other | “odd” | with “odd” | without “odd”
"""
QUESTIONS = """
word | word:film | the word "film"
word | word:movie, word:movies / word:film, word:films | the word "movie" or "movies" (against "film" or "films")
word | word:end / word:<b | the word "end" (against the tag "<b")
word | word:a, word:b, word:c, word:d, word:e | the word "a", "b", "c", "d" or 1 more
column | column:sex=F / column:sex=M | the value "F" of "sex" (against the value "M" of "sex")
column | column:age>=40 | "age" of 40 or more
metadata | metadata:site missing | a missing "site"
image | image:size high / image:size low | a high size of the image (against a low one)
image | image:border orange high / image:border blue high \
    | much orange in the border (against much blue in the border)
image | image:border brightness high / image:border brightness low | a bright border (against a dark one)
clip | clip #5 above the median | an above-median value of clip "#5"
layer | layer:relu #3 mean high, embedding #1 high / layer:relu #4 mean high | this learned feature
layer | layer:relu cluster 3 | this kind of sample
"""  # noqa: E501
CHANGES = {
    "image:top left": "The top left of the image replaced by that of another image",
    "image:border=55": "The border of the image replaced by that of another image (55)",
    "image:blur": "The image blurred",
    "word:film": "The word “film” removed",
    "markup": "Mark-up removed",
    "append:a=b": "“a=b” put after each text",
    "prepend:@lines.txt": "A line of lines.txt put before each text",
    "typos=2": "Typing errors in words of each text (2)",
    "punctuation=all": "All punctuation left out",
    "column:age": "“age” taken from another sample",
    "shouted": "shouted",
}


def test_attributes_questions_and_changes_in_words():
    for line in WORDINGS.strip().splitlines():
        name, kind, title, having, lacking = re.split(r" +\| ", line)
        words = wording(name, kind, ["a", "a=b", "age", "site"])
        assert not re.match("[A-Z]", words.noun)
        assert (words.title, words.having, words.lacking) == (title, having, lacking)
        assert name == "column:a=b=c" or wording(name, kind) == words
    for line in QUESTIONS.strip().splitlines():
        kind, names, noun = re.split(r" +\| ", line)
        sides = tuple(tuple(side.split(", ")) for side in names.split(" / "))
        asked = question_of(
            SimpleNamespace(name=sides[0][0], feature_set=kind, values=sides, conditions=())
        )
        assert asked == f"Is {noun} a shortcut that the model should ignore?"
    for finding in MADE["hostile"]().all_findings:  # nothing that a terminal obeys
        asked = question_of(finding, audits.EVIL)
        assert asked.isprintable()
        assert asked.endswith(" a shortcut that the model should ignore?")
        assert len(asked) < 1000
    assert {name: change_in_words(name) for name in CHANGES} == CHANGES
    two = "column:a=b=x", "column:site=sand and column:age>=1"
    words = wording(" and ".join(two), "conjunction", ["a", "site", "age"], conditions=two)
    assert "sand and column:age>=1" in words.noun
    said = wording("layer:relu_2 #0 mean high", "layer", layers=["relu_1", "relu_2", "relu_3"])
    assert "layer 2 of the 3 tested layers" in said.hint
    assert "an earlier layer" in wording("layer:relu_2 #0 mean high", "layer").hint


def test_two_lists_are_two_sections_and_examples_are_of_the_head_they_are_about(tmp_path):
    audit = MADE["of_two_heads"]()
    _, page = written(audit, tmp_path, go_on="ntkit debias --from 'a b' --answers answers.json")
    first, second = page.text.split("Findings that retraining would add")
    assert "Findings of the model" in first
    assert 'Is the word "film" (against "movie") a shortcut' in first
    assert 'Is the word "bad" (against "good") a shortcut' not in first
    assert 'Is the word "bad" (against "good") a shortcut' in second
    assert "After class-balanced retraining, the model would seem to predict" in second
    accuracy = 100 * (audits.AGAIN == Y).mean()
    assert f"would be right on {accuracy:.0f} % of the same texts" in second.replace("\xa0", " ")
    assert "ntkit debias --from 'a b' --answers answers.json" in second
    assert len(page.entries) == len(audit.all_findings) == 2
    retrained = 0
    for outcome, words in page.examples:
        text = "".join(words)
        row = int(re.search(r"number (\d+)", text)[1])
        if outcome == "wrong":
            predicted = audits.ONE if ": predicted" in text else audits.AGAIN
            assert predicted[row] != Y[row]
        retrained += "would be" in text
    assert retrained


def test_one_list_has_no_heading_or_that_of_retraining_alone(tmp_path):
    for again in (PRED, Y):
        audit = with_retraining(MADE["of_texts"](), np.array(["rotten", "fresh"])[again])
        _, page = written(audit, tmp_path)
        assert len(page.entries) == 2
        assert "Findings of the model" not in page.text
        assert "Retraining" not in page.text
    _, page = written(with_retraining(ntkit.audit(Y, Y, texts=SAID), PRED), tmp_path)
    assert "No tested attribute explains its errors" in page.text
    assert "Findings that retraining would add" in page.text
    assert "Findings of the model" not in page.text
    assert len(page.entries) == 1


def test_what_has_no_name_is_named_by_what_has_or_numbered(tmp_path):
    numbers = {"embedding": FILM[:, None] + LEARNED}
    table = {"site": np.array(["North", "South"])[FILM]}
    _, page = written(ntkit.audit(Y, PRED, texts=SAID, table=table, arrays=numbers), tmp_path)
    assert re.search(r"Correlated with it: “site” is “South”; and \d+ more\. Opposite", page.text)
    _, page = written(ntkit.audit(Y, PRED, arrays=numbers), tmp_path)
    assert "Correlated with it" not in page.text
    light = np.where(np.random.default_rng(2).random(N) < 0.9, FILM, 1 - FILM)
    images = [np.full((8, 8, 3), 60 + 120 * shining, dtype=np.uint8) for shining in light]
    for i, image in enumerate(images):  # each is another image
        image[3, 3] = (i % 200, i // 200, 0)
    _, page = written(ntkit.audit(Y, PRED, arrays=numbers, images=images), tmp_path)
    assert re.search(r"Is an? [a-z -]+ of the image .*a shortcut", page.text)
    own = {"embedding": np.stack([FILM, 1 - audits.BAD], axis=1) + LEARNED[:, :2]}
    audit = ntkit.audit(Y, PRED, arrays=own)
    content, page = written(audit, tmp_path)
    titles = re.findall(r"<h2 id=.title[^>]*>(.*)</h2>", content)
    assert titles == [f"A learned feature ({i})" for i in (1, 2)]
    assert all(f"in the files: {finding.name}." in page.text for finding in audit.findings)


# -- changes ------------------------------------------------------------------------------------

TEXTS, COPIES = ["a dull film", "one film", "the film"], ["a dull movie", "one movie", "the movie"]


def page_of(tmp_path, *changes, kind="of_texts"):
    audit = replace(MADE[kind](), changes=ChangeFindings(changes, (), (), 0, 9))
    return written(audit, tmp_path)[0]


def test_originals_copies_and_predictions_of_a_change(tmp_path):
    unsure = audits.changed("word:film", TEXTS, COPIES, flips_more=False)
    row = Row("change", "word:dull", 40, 40, interval=(0, 0.1))
    none = audits.changed("word:dull", [], [], row=row, flips_more=False)
    both = audits.changed("word:film|word:movie", TEXTS, COPIES)
    section = page_of(tmp_path, both).split("Changes that flip predictions")[1]
    assert "“film” and “movie” exchanged" in section
    original, copy = section.split("<li>")[1].split('class="arrow"')
    assert "a dull <mark>film</mark>" in original
    assert "a dull <mark>movie</mark>" in copy
    assert html.escape(audits.EVIL[0])[:20] in original
    assert "&lt;img src=x onerror" in copy
    assert "10 of 40 predictions flip, significantly more than" in section
    assert section.count("<li><div") == 3
    page = page_of(tmp_path, unsure, none)
    assert "10 of 40 predictions flip, not significantly more than" in page
    assert "None of 40 predictions flips." in page
    assert "No example." in page
    assert "Changes that flip predictions" not in written(MADE["of_texts"](), tmp_path)[0]


def test_a_changed_column_stands_first_and_marked(tmp_path):
    one = audits.changed("column:size", ["1", "2"], ["3", "4"])
    tables = {"before": [1, 2], "after": [3, 4]}
    shown = {
        name: replace(getattr(one, name), texts=None, table={"a": [5, 5], "size": sizes})
        for name, sizes in tables.items()
    }
    one = replace(one, **shown)
    page = page_of(tmp_path, one, kind="of_a_table")
    assert '<div class="this"><dt>size:</dt> <dd>1</dd></div><div><dt>a:</dt>' in page
    assert '<div class="this"><dt>size:</dt> <dd>3</dd></div>' in page
    assert "“size” taken from another sample" in page


@settings(max_examples=30)
@given(st.text(max_size=120), st.text(max_size=120))
def test_texts_that_differ_are_marked_where_they_do(text, copy):
    for parts, of in zip(differing(text, copy), (text, copy), strict=True):
        assert all(piece for piece, _ in parts)
        whole = "".join(piece for piece, _ in parts)
        if not whole.startswith("… ") or of.startswith("…"):
            assert "".join(whole.split()) == "".join(of.split())
    if text == copy:
        assert not any(mark for parts in differing(text, copy) for _, mark in parts)


def test_the_accuracy_beside_the_severity_is_called_that_of_known_values(tmp_path):
    """Samples of unknown value are in no group, so they are not counted there."""
    rng = np.random.default_rng(0)
    mark = np.array(["A", "B"])[FILM].astype(object)
    unknown = rng.random(N) < 0.3
    mark[unknown] = None
    pred = np.where(unknown, Y, np.where(rng.random(N) < 0.9, FILM, Y))
    audit = ntkit.audit(Y, pred, table={"mark": mark})
    finding = audit.findings[0]
    assert finding.n_unknown == unknown.sum()
    text = written(audit, tmp_path)[1].text.replace("\xa0", " ")
    right = 100 * (pred == Y)[~unknown].mean()
    assert round(right) != round(100 * (pred == Y).mean())
    assert f"Severe: the model is right on {right:.0f} % where this is known." in text
