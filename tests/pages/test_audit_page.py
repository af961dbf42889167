"""The page of an audit: its numbers and examples are true, and hostile inputs leave it small."""

import html
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ntkit
from ntkit.attributes import Block, FeatureSet
from ntkit.exceptions import InputError
from ntkit.jobs.audit import Inputs, read_answers, with_retraining, write_audit
from ntkit.pages._offline import snippet_of, thumbnail_of
from ntkit.pages.audit_page import examples_of, question_of, wording
from tests.pages import audits
from tests.pages.audits import FILM, PRED, N, Y

VOID = ("meta", "img", "input", "line", "rect")


class Page(HTMLParser):
    """Text, attributes and marked words; fails on a tag that is not closed in order."""

    def __init__(self, content):
        super().__init__()
        self.open, self.words, self.ids, self.sources, self.marked = [], [], [], [], []
        self.examples, self.entries = [], []
        self.feed(content)
        self.close()
        assert not self.open
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        assert not [name for name in attrs if name.startswith("on") or name == "style"]
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.sources += [attrs[name] for name in ("src", "href") if name in attrs]
        self.entries += [attrs["data-entry"]] if "data-entry" in attrs else []
        if tag == "figure":
            self.examples.append((attrs.get("class", ""), []))  # none without a label
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.words.append(data)
        if "mark" in self.open:
            self.marked.append(data)
        if "figure" in self.open:
            self.examples[-1][1].append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def written(audit, folder, **options):
    folder.mkdir(exist_ok=True)
    write_audit(audit, folder / "audit", **options)
    content = (folder / "audit" / "audit.html").read_text(encoding="utf-8")
    return content, Page(content)


@pytest.mark.parametrize("kind", ["of_texts", "of_a_table", "of_pictures", "hostile"])
def test_a_page_is_whole_and_takes_nothing_from_outside(kind, tmp_path):
    content, page = written(getattr(audits, kind)(), tmp_path)
    assert not re.search(r"https?://|@import|url\(", content)
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "default-src 'none'" in html.unescape(content)
    assert len(content) < 400_000


def test_figures_are_those_of_the_samples(tmp_path):
    audit = audits.of_texts()
    _, page = written(audit, tmp_path, title="my reviews.onnx")
    one = next(s for s in audit.findings if s.name == "word:film")
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
    assert one.goes_with == "fresh"


def test_examples_are_of_their_group_and_wrong_or_right_as_said(tmp_path):
    _, page = written(audits.of_texts(), tmp_path)
    assert {word.lower() for word in page.marked} == {"film", "movie", "bad", "good"}
    for outcome, words in page.examples:
        text = "".join(words)
        row = int(re.search(r"number (\d+)", text)[1])
        assert f"row {row + 1}" in text
        assert outcome == ("right" if PRED[row] == Y[row] else "wrong")
        assert ("right" in text) == (outcome == "right")
        if outcome == "wrong":
            assert f"predicted “{['rotten', 'fresh'][PRED[row]]}”" in text


def test_the_same_audit_gives_the_same_page(tmp_path):
    first, _ = written(audits.of_texts(), tmp_path)
    write_audit(audits.of_texts(), tmp_path / "audit", force=True)
    assert (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8") == first


def test_nothing_found_is_a_page_too(tmp_path):
    noise = {"noise": np.random.default_rng(1).permutation(FILM)}
    _, page = written(ntkit.audit(Y, PRED, table=noise), tmp_path)
    assert "There is nothing to answer" in page.text
    assert page.entries == []


# -- hostile and large --------------------------------------------------------------------------


def test_long_texts_are_cut_around_the_word(tmp_path):
    filler = "lorem ipsum " * 400_000  # 5 MB
    texts = [f"it is a {['movie', 'film'][f]}" for f in FILM]
    few = np.flatnonzero((FILM == 1) & (Y == 0))
    for row in few[:3]:
        texts[row] = f"{filler} a film here {filler}"
    audit = ntkit.audit(Y, PRED, texts=texts)
    content, page = written(audit, tmp_path)
    assert len(content) < 100_000
    assert "film" in page.marked


def test_a_million_values_and_thousands_of_classes(tmp_path):
    rng = np.random.default_rng(0)
    n = 200_000
    y = rng.integers(0, 2, n)
    site = np.where(rng.random(n) < 0.9, y, 1 - y)
    pred = np.where(rng.random(n) < 0.5, site, y)
    table = {"id": np.array([f"x{i}" for i in range(n)], dtype=object), "site": site}
    content, _ = written(ntkit.audit(y, pred, table=table), tmp_path)
    assert len(content) < 100_000


def test_many_classes(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 300, 30_000)
    site = np.where(rng.random(len(y)) < 0.9, y < 150, y >= 150)
    pred = np.where(rng.random(len(y)) < 0.5, np.where(site, 0, 299), y)
    content, page = written(ntkit.audit(y, pred, table={"site": site}), tmp_path)
    assert len(content) < 200_000
    assert "288 more classes are in audit.json" in page.text


def test_weak_findings_are_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("ntkit.pages.audit_page.SHOWN", 1)
    audit = audits.of_texts()
    _, page = written(audit, tmp_path)
    assert len(page.entries) == 1
    assert audit.findings[0].name in page.entries[0]
    assert "1 more finding is in audit.json" in page.text
    assert "2 attributes explain its errors better than chance" in page.text
    assert "the strongest is below" in page.text


def test_a_name_of_megabytes_is_not_asked_about(tmp_path):
    name = "x" * 1_000_000
    feature_set = FeatureSet("thing", True, N, lambda: iter([Block((name,), FILM[:, None])]))
    audit = ntkit.audit(
        Y, PRED, feature_sets=[feature_set], texts=["film" if f else "movie" for f in FILM]
    )
    content, page = written(audit, tmp_path)
    assert len(content) < 100_000
    assert "1 more finding is in audit.json" in page.text
    assert "No tested attribute explains" not in page.text


def test_pictures_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("ntkit.pages.audit_page._SPACE", 2_000)
    _, page = written(audits.of_pictures(), tmp_path)
    assert 0 < len(page.sources) < len(page.examples)
    assert sum(map(len, dict.fromkeys(page.sources))) < 2_000 + max(map(len, page.sources))
    assert "Some images are not shown" in page.text


# -- inputs -------------------------------------------------------------------------------------


def test_inputs_of_another_number_are_refused(tmp_path):
    audit = audits.of_texts()
    for inputs in (
        Inputs(texts=["a"]),
        Inputs(table={"age": [1, 2]}),
        Inputs(metadata={"site": ["A"]}),
        Inputs(images=[np.zeros((4, 4))]),
        Inputs(ids=["a"]),
    ):
        with pytest.raises(InputError, match=f"for {N} samples"):
            write_audit(audit, tmp_path / "audit", inputs=inputs)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("how", ["list", "generator", "files", "Pillow"])
def test_pictures_in_every_form(how, tmp_path):
    arrays = [np.full((5, 7, 3), 20 + 200 * f, dtype=np.uint8) for f in FILM]
    audit = ntkit.audit(Y, PRED, table={"film": FILM})
    images = arrays
    if how == "generator":
        images = iter(arrays)
    if how == "Pillow":
        images = [Image.fromarray(array) for array in arrays]
    if how == "files":
        for value in (0, 1):
            Image.fromarray(arrays[list(FILM).index(value)]).save(tmp_path / f"{value}.png")
        images = [tmp_path / f"{f}.png" for f in FILM]
    content, page = written(audit, tmp_path, inputs=Inputs(images=images))
    assert len(page.sources) == 12
    assert len(set(page.sources)) == 2
    assert "Some images are not" not in page.text
    assert 'class="examples images"' in content


def test_what_is_no_picture_is_left_out(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    images = [tmp_path / ["missing.png", "broken.png"][f] for f in FILM]
    audit = ntkit.audit(Y, PRED, table={"film": FILM})
    _, page = written(audit, tmp_path, inputs=Inputs(images=images))
    assert page.sources == []
    assert "Some images are not shown" in page.text
    for nothing in (np.zeros(3), np.zeros((0, 4)), np.zeros((4, 4, 7)), None, "no file", b"x"):
        assert thumbnail_of(nothing) is None
    for shape in ((4, 4), (4, 4, 1), (4, 9, 4), (1, 3000)):
        assert thumbnail_of(np.full(shape, np.nan)).startswith("data:image/")


def test_a_bright_picture_stays_bright():
    """Images are not stretched, because a finding may be about brightness."""
    dark, bright = (thumbnail_of(np.full((8, 8), value, np.uint8)) for value in (20, 200))
    assert dark != bright
    assert thumbnail_of(np.full((8, 8), 200.01 / 255)) == bright
    assert thumbnail_of(np.full((8, 8), 200)) == bright


def test_model_inputs_and_deep_pictures_go_from_black_to_white():
    ramp = np.arange(64.0).reshape(8, 8)
    shown = thumbnail_of((ramp * 255 / 63).astype(np.uint8))
    for other in (ramp / 63 * 5 - 2, (ramp * 900).astype(np.uint16), (ramp * 9 - 99).astype(int)):
        assert thumbnail_of(other) == shown


# -- which examples, and how they look ----------------------------------------------------------


@given(
    n_wrong=st.integers(0, 20),
    n_right=st.integers(0, 20),
    most=st.integers(1, 8),
    first=st.booleans(),
    seed=st.integers(0, 3),
)
def test_examples_are_as_many_as_there_are(n_wrong, n_right, most, first, seed):
    wrong = np.arange(60) % 2 == 0
    group = np.zeros(60, dtype=bool)
    group[np.flatnonzero(wrong)[:n_wrong]] = group[np.flatnonzero(~wrong)[:n_right]] = True
    found = examples_of(group, wrong, wrong_first=first, most=most, seed=seed)
    rows, wrongs, rights = found["rows"], found["wrong"], found["right"]
    assert len(set(rows)) == len(rows) == min(most, n_wrong + n_right)
    assert group[rows].all()
    assert wrong[wrongs].all()
    assert not wrong[rights].any()
    assert (found["n_wrong"], found["n_right"]) == (n_wrong, n_right)
    assert rows == (wrongs + rights if first else rights + wrongs)
    two = (len(wrongs), len(rights))
    if min(n_wrong, n_right) >= most:
        assert two[not first] >= two[first]
    assert found == examples_of(group, wrong, wrong_first=first, most=most, seed=seed)


def squeezed(text):
    return " ".join(text.split())


@settings(deadline=None)
@given(
    before=st.text(st.sampled_from("ab \n.<İſK"), max_size=400),
    after=st.text(st.sampled_from("ab \n.<İſK"), max_size=400),
)
def test_a_snippet_is_a_piece_of_the_text_with_the_word(before, after):
    text = f"{before} Zebra, {after}"
    parts = snippet_of(text, ["zebra"], ["b"])
    marked = [text for text, mark in parts if mark == "this"]
    assert marked == ["Zebra"]
    assert all(text in ("b", "B") for text, mark in parts if mark == "other")
    whole = "".join(text for text, _ in parts)
    inner = squeezed(whole.removeprefix("… ").removesuffix(" …"))
    assert inner in squeezed(text)
    assert len(whole) < 330


def test_the_word_is_found_however_long_the_text_and_however_many_words():
    lorem = "filmy lorem ipsum, unfilmed " * 200_000  # 5 MB; the word is in other words first
    words = [f"word{i}" for i in range(300)]
    texts = {f"{lorem} <b>An</b>, film": "An</b>, film", f"{'x' * 5_000_000} an film": "an film"}
    for text, run in texts.items():
        for word, marked in {"an film": run, "film": "film"}.items():
            parts = snippet_of(text, [word, *words], words)
            assert [text for text, mark in parts if mark] == [marked]
            assert sum(len(text) for text, _ in parts) < 300
    assert [t for t, mark in snippet_of("İ a FILM here", ["film"]) if mark] == ["FILM"]


def test_snippets_of_odd_texts():
    assert snippet_of("", ["film"]) == []
    assert [t for t, _ in snippet_of("no such word", ["film"])] == ["no such word"]
    assert [t for t, mark in snippet_of("two  words\tand more", ["words and"]) if mark] == [
        "words and"
    ]
    assert [t for t, mark in snippet_of("a <B>bold</B> one", ["<b"]) if mark] == ["<B"]
    long = snippet_of("x" * 5_000, ["film"])
    assert sum(len(text) for text, _ in long) < 300


WORDINGS = """
word:film | word | The word “film” | with the word “film” | without the word “film”
word:<html | word | The tag “<html” | with the tag “<html” | without the tag “<html”
column:a=b=c | column | “a=b” is “c” | with the value “c” of “a=b” | with another value of “a=b”
column:age>=37 | column | “age” is 37 or more | with “age” of 37 or more \
    | with “age” of less than 37
metadata:site missing | metadata | “site” is missing | with a missing “site” \
    | with a known “site”
image:brightness high | image | Brightness of the image: high \
    | whose brightness is high (the highest quarter) | whose brightness is lower
layer:relu_1 #3 mean above the median | layer | A learned feature | with more of it \
    | with less of it
layer:relu_1 direction 2 high | layer | A learned feature | with much of it \
    | with less of it
embedding #5 low | embedding | A learned feature | with little of it \
    | with more of it
layer:relu_1 cluster 8 | layer | A kind of sample that the model distinguishes | of this kind \
    | of other kinds
clip #5 low | clip | Clip “#5”: low | whose clip “#5” is low (the lowest quarter) \
    | whose clip “#5” is higher
file:format=PNG | file | “format” is “PNG” | with the value “PNG” of “format” \
    | with another value of “format”
run:a film | run | Run “a film” | with run “a film” | without run “a film”
odd | other | “odd” | with “odd” | without “odd”
"""


@pytest.mark.parametrize("line", WORDINGS.strip().splitlines())
def test_attributes_in_words(line):
    name, kind, title, having, lacking = re.split(r" +\| ", line)
    words = wording(name, kind, ["a", "a=b", "age", "site"])
    assert not re.match("[A-Z]", words.noun)
    assert (words.title, words.having, words.lacking) == (title, having, lacking)
    if name != "column:a=b=c":
        assert wording(name, kind) == words


QUESTIONS = """
word | word:film | the word "film"
word | word:movie, word:movies / word:film, word:films | the word "movie" or "movies" (against "film" or "films")
word | word:the end / word:<b | the words "the end" (against the tag "<b")
word | word:a, word:b, word:c, word:d, word:e | the word "a", "b", "c", "d" or 1 more
column | column:sex=F / column:sex=M | the value "F" of "sex" (against the value "M" of "sex")
column | column:age>=40 | "age" of 40 or more
metadata | metadata:site missing | a missing "site"
image | image:size high / image:size low | a high size of the image (against a low one)
clip | clip #5 above the median | an above-median value of clip "#5"
layer | layer:relu #3 mean high, embedding #1 high / layer:relu #4 mean high | this learned feature
layer | layer:relu cluster 3 | this kind of sample
"""  # noqa: E501


@pytest.mark.parametrize("line", QUESTIONS.strip().splitlines())
def test_the_question_names_what_a_yes_acts_on(line):
    kind, names, noun = re.split(r" +\| ", line)
    sides = tuple(tuple(side.split(", ")) for side in names.split(" / "))
    asked = question_of(SimpleNamespace(name=sides[0][0], feature_set=kind, values=sides))
    assert asked == f"Is {noun} a shortcut that the model should ignore?"


def test_a_question_holds_nothing_that_a_terminal_obeys():
    for finding in audits.hostile().all_findings:
        asked = question_of(finding, audits.EVIL)
        assert asked.isprintable()
        assert asked.endswith(" a shortcut that the model should ignore?")
        assert len(asked) < 1000


def test_two_lists_are_two_sections_and_examples_are_of_the_head_they_are_about(tmp_path):
    audit = audits.of_two_heads()
    _, page = written(audit, tmp_path, go_on="ntkit debias --from 'a b' --answers answers.json")
    first, second = page.text.split("Findings that retraining would add")
    assert "Findings of the model" in first
    assert 'Is the word "film" (against "movie") a shortcut' in first
    assert 'Is the word "bad" (against "good") a shortcut' not in first
    assert 'Is the word "bad" (against "good") a shortcut' in second
    seems = "After class-balanced retraining, the model would seem to predict"
    assert seems in second
    accuracy = 100 * (audits.AGAIN == Y).mean()
    assert f"would be right on {accuracy:.0f} % of the same texts" in second.replace("\xa0", " ")
    assert "ntkit debias --from 'a b' --answers answers.json" in second
    assert len(page.entries) == len(audit.all_findings) == 2
    retrained = 0
    for outcome, words in page.examples:
        text = "".join(words)
        row = int(re.search(r"number (\d+)", text)[1])
        says = [
            pred
            for pred, how in ((audits.ONE, ": predicted"), (audits.AGAIN, "would be"))
            if how in text
        ]
        retrained += "would be" in text
        if outcome == "wrong":
            assert says[0][row] != Y[row]
    assert retrained


@pytest.mark.parametrize("again", [PRED, Y], ids=["nothing new", "nothing wrong"])
def test_one_list_has_no_heading(again, tmp_path):
    audit = with_retraining(audits.of_texts(), np.array(["rotten", "fresh"])[again])
    _, page = written(audit, tmp_path)
    assert len(page.entries) == 2
    assert "Findings of the model" not in page.text
    assert "Retraining" not in page.text


def test_a_page_on_what_retraining_alone_would_rely_on(tmp_path):
    right = ntkit.audit(Y, Y, texts=["a film" if f else "a movie" for f in FILM])
    _, page = written(with_retraining(right, PRED), tmp_path)
    assert "No tested attribute explains its errors" in page.text
    assert "Findings that retraining would add" in page.text
    assert "Findings of the model" not in page.text
    assert len(page.entries) == 1


def test_what_says_much_the_same_is_named_as_a_person_would(tmp_path):
    noise = np.random.default_rng(0).random((N, 4)) / 9
    numbers = {"embedding": FILM[:, None] + noise}
    table = {"site": np.array(["North", "South"])[FILM]}
    texts = ["a film" if f else "a movie" for f in FILM]
    _, page = written(ntkit.audit(Y, PRED, texts=texts, table=table, arrays=numbers), tmp_path)
    assert re.search(r"Correlated with it: “site” is “South”; and \d+ more\. Opposite", page.text)
    _, page = written(ntkit.audit(Y, PRED, arrays=numbers), tmp_path / "only")
    assert "Correlated with it" not in page.text
    _, page = written(ntkit.audit(Y, PRED, arrays=numbers, images=bright()), tmp_path / "seen")
    assert re.search(r"Is an? [a-z -]+ of the image .*a shortcut", page.text)


def test_what_has_no_name_is_numbered_and_its_name_in_the_files_stands_small(tmp_path):
    rng = np.random.default_rng(1)
    own = {"embedding": np.stack([FILM, 1 - audits.BAD], axis=1) + rng.random((N, 2)) / 9}
    audit = ntkit.audit(Y, PRED, arrays=own)
    assert len(audit.findings) == 2
    content, page = written(audit, tmp_path)
    titles = re.findall(r"<h2 id=.title[^>]*>(.*)</h2>", content)
    assert titles == [f"A learned feature ({i})" for i in (1, 2)]
    assert all(f"in the files: {finding.name}." in page.text for finding in audit.findings)


def test_layers_are_counted_as_they_follow_each_other():
    said = wording("layer:relu_2 #0 mean high", "layer", layers=["relu_1", "relu_2", "relu_3"])
    assert "layer 2 of the 3 tested layers" in said.hint
    assert "an earlier layer" in wording("layer:relu_2 #0 mean high", "layer").hint


def bright():
    """Images that are bright in nine of ten samples with the attribute."""
    light = np.where(np.random.default_rng(2).random(N) < 0.9, FILM, 1 - FILM)
    return [np.full((8, 8, 3), 60 + 120 * shining, dtype=np.uint8) for shining in light]


def test_an_entry_of_the_page_is_an_answer_to_be(tmp_path):
    audit = audits.hostile()
    content, page = written(audit, tmp_path)
    entries = ", ".join(entry[:-1] + ', "answer": "unsure"}' for entry in page.entries)
    path = tmp_path / "answers.json"
    path.write_text(f'{{"ntkit": "answers", "version": 1, "answers": [{entries}]}}')
    assert [a.name for a in read_answers(path).answers] == [s.name for s in audit.findings]
    assert html.escape(audits.EVIL[0]) in content


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


def test_only_what_is_shown_is_read_and_what_cannot_be_is_left_out(tmp_path):
    pictures = _Pictures()
    audit = ntkit.audit(Y, PRED, table={"film": FILM})
    _, page = written(audit, tmp_path, inputs=Inputs(images=pictures))
    assert len(pictures.asked) == len(set(pictures.asked)) == 12
    assert len(page.sources) == sum(row % 5 != 0 for row in pictures.asked) < 12
    assert "Some images are not shown" in page.text
