"""The audit changes the input: flips are facts; a finding flips surely more than its control."""

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from scipy.stats import binomtest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import ntkit
from ntkit import FrozenModel
from ntkit._key import touches_subject
from ntkit.changes import change_from, change_named
from ntkit.changes.change import HARMLESS
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder, Samples
from ntkit.jobs.audit import Inputs, audit_model
from ntkit.jobs.audit.changes import (
    ChangeFinding,
    ChangeFindings,
    change_for,
    changes_for,
    changes_of,
)
from ntkit.jobs.audit.files import write_audit
from ntkit.metrics import Row
from ntkit.pages.change_cards import KEEPS_THE_CLASS
from tests import models
from tests.cases import done, refused, write_csv
from tests.word_models import save_network_of_words


def image_model(path, weights):
    """Logits of two classes: a weighted mean of the pixels of an image, less 0.5, as ±20 of it."""
    weights = np.asarray(weights, dtype=np.float32)
    flat = (weights / max(float(weights.sum()), 1e-9)).reshape(1, -1)
    graph = models.Graph()
    graph.write(
        """flat = Flatten(x)
        z = Relu(Gemm(flat, w, transB=1))
        logits = Gemm(z, fc, [-10.0], transB=1)""",
        w=np.vstack([flat, 0.01 * np.eye(4, flat.shape[1])]), fc=np.eye(1, 5) * 20,
    )  # fmt: skip
    graph.output("logits", ["batch", 1])
    models.save(graph.model([models.value("x", ["batch", *weights.shape])]), path)
    return FrozenModel.load(path)


def table_model(path, *, weights=(4.0, 0, 0, 0, 0, 0)):
    """Six columns, missing values as 0, weighted."""
    graph = models.Graph()
    graph.write(
        """known = Where(IsNaN(x), [0.0], x)
        z = Tanh(Gemm(known, w, transB=1))
        logits = Gemm(z, fc, transB=1)""",
        w=np.eye(6), fc=np.array([weights]),
    )  # fmt: skip
    graph.output("logits", ["batch", 1])
    models.save(graph.model(), path)
    return FrozenModel.load(path)


def look(model, samples, changes=None, **options):
    embedder = OnnxEmbedder(model, device="cpu")
    Z = embedder.transform(samples.X)
    tried = changes_for(samples, []) if changes is None else changes
    return changes_of(embedder, samples, tried, Z, **options)


MODEL = marked_digits_model_path()


@pytest.fixture(scope="module")
def demo(digits):
    return audit_model(MODEL, (digits.X_validation, digits.y_validation), device="cpu")


@pytest.fixture(scope="module")
def columns(tmp_path_factory):
    """A model of six columns, missing values as 0; the first decides."""
    return table_model(tmp_path_factory.mktemp("columns") / "m.onnx")


def normal(n, seed=1):
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)


# -- what is found --------------------------------------------------------------------------------


@pytest.mark.more
def test_the_mark_of_the_digits_is_among_the_first_three(demo):
    first = demo.changes.changes[:3]
    mark = next(each for each in first if each.row.name == "image:top left")
    assert mark.is_finding
    assert mark.row.value > mark.control.value
    assert mark.control.name == "image:top left, elsewhere"
    assert mark.beyond_interval[0] > 0


def test_changes_of_the_subject_are_not_tested(digits):
    names = [
        "centre",
        "middle centre",
        "border=55",
        "high frequencies",
        "border",
        "top left",
        "blur",
    ]
    touched = [touches_subject(f"image:{name}") for name in names]
    assert touched == [True] * 4 + [False] * 3
    assert not touches_subject("word:centre")
    model = FrozenModel.load(marked_digits_model_path())
    samples = Samples(digits.X_validation[:400], digits.y_validation[:400])
    Z = OnnxEmbedder(model, device="cpu").transform(samples.X)
    tried = [change_named(f"image:{name}") for name in ("centre", "top left", "blur")]
    embedder = OnnxEmbedder(model, device="cpu")
    for order in (tried, tried[::-1], tried[:1]):
        found = changes_of(embedder, samples, order, Z)
        assert {each.name for each in found.tried} == {each.name for each in order}
        tested = {each.row.name for each in found.changes}
        assert tested == {each.name for each in order} - {"image:centre"}
        assert "It did not test image:centre, which changes the subject." in found.note()
    assert "did not test" not in changes_of(embedder, samples, tried[1:], Z).note()


def test_that_words_stayed_is_said_only_if_nothing_flips_and_some_did():
    texts = [f"{'fine' if f else 'dull'} {i} {'film' if f else 'movie'}" for i, f in enumerate(CUE)]
    audit = ntkit.audit(Y, np.where(np.arange(400) % 3 == 0, CUE, Y), texts=texts)
    (one,) = audit.findings
    name = change_for(one).name
    left = one.words_left
    assert left
    for flips, said in ((False, True), (True, False)):
        row, control = (Row("change", name, 40, n, interval=(0, 1)) for n in (30, 38))
        facts = {"row": row, "control": control, "margin_change": 1.0, "beyond_control": 1.0,
                 "beyond_interval": (0.0, 1.0), "p_value": 0.01, "flips_more": flips,
                 "examples": (), "before": Inputs(), "after": Inputs()}  # fmt: skip
        changes = ChangeFindings((ChangeFinding(**facts),), (), (), 0, 40)
        printed = str(replace(audit, changes=changes))
        assert ("left words in place: " in printed) == said
        # 25 % of 40 flip, and 5 % under the control: without significance, these are more too.
        assert "significantly more predictions than" in printed
    phrase = replace(one, name="word:a fine film", same=("word:film", "word:fine"))
    assert phrase.words_left == ()


def parts_alike(tmp_path, runs):
    """Parts and parts elsewhere do the same to a mean of all pixels."""
    model = image_model(tmp_path / "m.onnx", np.ones((1, 9, 9)))
    changes = [change_named(f"image:{row} {column}") for row in ("top", "bottom")
               for column in ("left", "centre", "right")]  # fmt: skip
    for seed in range(runs):
        X = np.random.default_rng(seed).random((120, 1, 9, 9)).astype(np.float32)
        found = look(model, Samples(X), changes, seed=seed, budget=1000)
        assert sum(each.row.value > 0 for each in found.changes) >= 3  # else nothing is tested
        yield any(each.is_finding for each in found.changes)


def moved_alike(tmp_path, runs):
    """Where embeddings are moved, a change moves them just as a control does."""
    weights = np.array([1.0, -2, 3, 1, 0, 0.5])
    graph = models.Graph()
    graph.constant("w", np.eye(6))
    graph.add("Gemm", ["x", "w"], "z")
    graph.constant("fc", weights[None])
    graph.add("Gemm", ["z", "fc"], "logits", transB=1)
    graph.output("logits", ["batch", 1])
    model = FrozenModel.load(models.save(graph.model(), tmp_path / "m.onnx"))
    for seed in range(runs):
        X = np.random.default_rng(seed).normal(size=(300, 6)).astype(np.float32)
        says, names = X @ weights > 0, [str(j) for j in range(6)]

        def moved(row, X=X, says=says, names=names):
            values = np.array([row[name] for name in names])
            rng = np.random.default_rng(int(1e6 * abs(values[0])))
            one, two = rng.choice(np.flatnonzero(says == (values @ weights > 0)), 2)
            return dict(zip(names, values + X[one] - X[two], strict=True))

        (found,) = look(model, Samples(X), [change_from(moved)], seed=seed).changes
        assert found.row.value > 0
        yield found.is_finding


@pytest.mark.parametrize("alike", [parts_alike, moved_alike])
def test_what_does_the_same_as_its_control_is_no_finding(alike, tmp_path):
    assert sum(alike(tmp_path, 4)) <= 1


@pytest.mark.more
@pytest.mark.parametrize("alike", [parts_alike, moved_alike])
def test_the_level(alike, tmp_path):
    assert sum(alike(tmp_path, 60)) <= 9  # at most 5 % of the runs (binomial, 99.9 %)


# -- flips are facts ------------------------------------------------------------------------------


def test_flips_are_those_of_onnx_runtime(tmp_path):
    model = table_model(tmp_path / "m.onnx", weights=(4.0, -3, 1, 0, 0, 0))
    X = np.random.default_rng(1).normal(size=(38, 6)).astype(np.float32)
    session = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])

    def says(rows):
        return session.run(None, {"x": rows})[0][:, 0] > 0

    samples = Samples(X)
    changes = [change_named(f"column:{j}") for j in range(6)]
    found = look(model, samples, changes, most=6)
    tested = [each.row for each in found.changes]
    for change in changes:
        copies, rows = change.copies(samples, seed=0)
        flips = says(X[rows]) != says(np.asarray(copies.X))
        of_halves = [r for r in (*found.tried, *tested) if r.name == change.name]
        assert sum(r.n - r.right for r in of_halves) == flips.sum()
        assert sum(r.n for r in of_halves) == len(rows)
    for each in found.changes:
        rows = [example["row"] for example in each.examples]
        assert len(rows) == min(3, round(each.row.value * each.row.n))
        before = says(X[rows]).astype(int)
        assert [example["predicted"] for example in each.examples] == before.tolist()
        assert [example["after"] for example in each.examples] == (1 - before).tolist()
        for row in (each.row, each.control):
            exact = binomtest(row.n - row.right, row.n).proportion_ci(0.95)
            assert row.interval == pytest.approx((exact.low, exact.high))
        assert each.control.name == "an equal displacement of the embedding"


def test_the_margin_is_a_difference_of_logits(columns):
    X = normal(40)
    found = look(columns, Samples(X), [change_from(lambda row: {**row, "0": 0.0}, "zero")])
    logits = 4 * np.tanh(X[:, 0])
    (tried,), (second,) = found.tried, found.changes
    both = tried.n * found.margins[0][0] + second.row.n * second.margin_change
    assert both / 40 == pytest.approx(np.abs(logits).mean(), rel=1e-4)
    flips = int((logits > 0).sum())  # 0 is the first class
    assert tried.n - tried.right + second.row.n - second.row.right == flips


def test_the_parts_share_no_sample(columns):
    change = change_from(lambda row: {**row, "0": -row["0"]}, "change")
    found = look(columns, Samples(normal(50)), [change], second=10)
    assert found.tried[0].n == 25
    assert found.changes[0].row.n == 10
    assert found.flipped("change") == (10, 10)  # the half that chose nothing
    assert 2 * found.changes[0].row.value - 1 == 1


def test_the_budget_holds_and_the_same_seed_gives_the_same(digits, monkeypatch):
    model = FrozenModel.load(MODEL)
    samples = Samples(digits.X_validation[:300], digits.y_validation[:300])
    embedder, embedded = OnnxEmbedder(model, device="cpu"), []
    Z, changes = embedder.transform(samples.X), changes_for(samples, [])
    transform = OnnxEmbedder.transform
    monkeypatch.setattr(
        OnnxEmbedder, "transform", lambda self, X: embedded.append(len(X)) or transform(self, X)
    )
    runs = []
    for budget, seed in ((1, 0), (10, 0), (100, 0), (500, 0), (500, 0), (500, 1)):
        embedded.clear()
        found = changes_of(embedder, samples, changes, Z, budget=budget, seed=seed)
        assert sum(embedded) == found.n_embedded <= budget
        assert len(found.tried) + found.n_left_out == 19
        runs.append(found.as_dict())
    assert runs[3] == runs[4] != runs[5]


def test_several_classes(tmp_path):
    models.save(models.classifier(4), tmp_path / "m.onnx")
    model = FrozenModel.load(tmp_path / "m.onnx")
    X = models.inputs(200)
    found = look(model, Samples(X))
    logits = model.head.logits(OnnxEmbedder(model, device="cpu").transform(X))
    for each in found.changes:
        wanted = [example["row"] for example in each.examples]
        copies, rows = change_named(each.row.name).copies(Samples(X), wanted)
        Z = OnnxEmbedder(model, device="cpu").transform(copies.X)
        assert rows.tolist() == wanted
        before, after = logits[rows].argmax(axis=1).tolist(), model.head.predict(Z).tolist()
        assert [example["predicted"] for example in each.examples] == before
        assert [example["after"] for example in each.examples] == after
        stays = [one == other for one, other in zip(before, after, strict=True)]
        assert stays == sorted(stays)  # those that flip come first
        assert stays.count(False) == min(3, each.row.n - each.row.right)


def test_three_copies_of_images_are_shown_and_asked_about_also_if_few_flip(digits, demo, tmp_path):
    """Whether a change keeps the class is a question that flips do not answer."""
    model = FrozenModel.load(MODEL)
    samples = Samples(digits.X_validation[:300], digits.y_validation[:300])
    changes = [change_named(f"image:{name}") for name in ("top left", "bottom right", "jpeg")]
    found = look(model, samples, changes, second=60, budget=800)
    few = look(model, samples.take(np.arange(4)), changes[:1])
    unseen = [replace(each, before=Inputs(), after=Inputs()) for each in found.changes]
    n_flips = []
    for number, tested in enumerate([found, few, replace(found, changes=tuple(unseen))]):
        write_audit(replace(demo, changes=tested), tmp_path / str(number))
        page = (tmp_path / str(number) / "audit.html").read_text()
        cards = re.findall('<section class="change".*?</section>', page, re.DOTALL)
        assert len(cards) == len(tested.changes)
        for card in cards:
            assert (KEEPS_THE_CLASS in card) == (number == 0)  # three images were seen
            predicted = re.findall("predicted <b>(.*?)</b>", card)
            before, after = predicted[::2], predicted[1::2]
            flips = [one != other for one, other in zip(before, after, strict=True)]
            assert flips == sorted(flips, reverse=True)
            n = flips.count(True)
            told = f"Random examples, {n or 'none'} of {len(flips)} with a flipped prediction: the"
            all_flip = "Random examples of flipped predictions: the"
            assert ((told in card), (all_flip in card)) == (n < len(flips), n == len(flips))
            n_flips += [(n, len(flips))] * (number == 0)
    assert {*n_flips} == {(0, 3), (1, 3), (3, 3)}


# -- hostile samples ------------------------------------------------------------------------------


def test_a_few_samples(tmp_path):
    model = image_model(tmp_path / "m.onnx", np.ones((1, 6, 6)))
    for n in (1, 2, 3, 5):
        X = np.random.default_rng(0).random((n, 1, 6, 6)).astype(np.float32)
        found = look(model, Samples(X))
        assert len(found.tried) == 19
        for each in found.changes:
            assert each.row.n < n
            assert not each.is_finding
            low, high = each.row.interval
            assert 0 <= low <= each.row.value <= high <= 1
        json.loads(json.dumps(found.as_dict(), allow_nan=False))


def test_columns_of_one_value_and_missing_values(columns):
    X = normal(200)
    X[:, 1], X[:, 2] = 7, np.nan
    X[::2, 3] = np.nan
    X[:, 4] = np.where(np.arange(200) == 0, 1, 0)
    found = look(columns, Samples(X))
    tried = {each.name: each for each in found.tried}
    margins = dict(zip(tried, found.margins, strict=True))
    for name in ("column:1", "column:2"):
        assert tried[name].n == 0
        assert math.isnan(margins[name][0])
    assert tried["column:3"].n > 20
    assert not any(each.row.n == 0 for each in found.changes)
    assert found.changes[0].row.name == "column:0"
    assert "column:1" not in [each.row.name for each in found.changes]


def test_changes_that_never_apply(columns):
    found = look(columns, Samples(normal(50)), [change_from(lambda row: None, "never")])
    assert found.changes == ()
    assert found.tried[0].n == found.n_embedded == 0


def test_nothing_is_done_without_a_head_or_raw_samples(columns, tmp_path):
    graph = models.Graph()
    graph.write("z = Tanh(Gemm(x, w))", w=np.eye(6))
    graph.output("z", ["batch", 6])
    models.save(graph.model(), tmp_path / "headless.onnx")
    headless = FrozenModel.load(tmp_path / "headless.onnx", embedding="z")
    X = np.zeros((9, 6), np.float32)
    embedder, changes = OnnxEmbedder(columns, device="cpu"), [change_named("column:0")]
    Z = embedder.transform(X)
    assert changes_of(OnnxEmbedder(headless, device="cpu"), Samples(X), changes, Z) is None
    assert changes_of(embedder, Samples(Z, embedded=True), changes, Z) is None
    assert changes_of(embedder, Samples(X), [], Z) is None
    assert changes_of(embedder, Samples(X), changes, Z, most=0) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"changes": 0}, "can only test changes of the input"),
        ({"changes": None}, "can only test changes of the input"),
        ({"cross_fit": True}, "cross_fit needs them"),
        ({"metadata": {"a": [1] * 9}}, "metadata needs them"),
        ({"feature_sets": ["input"]}, "feature_sets needs them"),
        ({"unlabelled": np.zeros((2, 6))}, "unlabelled needs them"),
        ({"data": Samples(np.zeros((9, 5)), embedded=True)}, "ntkit cannot change embeddings"),
    ],
)
def test_what_needs_labels(columns, tmp_path, options, message):
    with pytest.raises(InputError, match=f"have no labels, .*{message}"):
        audit_model(columns, **({"data": np.zeros((9, 6), np.float32)} | options))
    X = np.zeros((60, 3, 1, 1), np.float32)  # channels are unknown
    with pytest.raises(InputError, match="ntkit has no change for these samples"):
        audit_model(image_model(tmp_path / "m.onnx", np.ones((3, 1, 1))), X, device="cpu")


# -- findings and changes --------------------------------------------------------------------------


def finding(name, *same, opposed=()):
    return SimpleNamespace(name=name, values=((name, *same),), same=same, opposed=opposed)


@pytest.mark.parametrize(
    ("names", "opposed", "expected"),
    [
        (["word:film"], ["word:movie"], "word:film|word:movie"),
        (["word:film"], ["layer:a #1 high"], "word:film"),
        (["word:film"], ["word:<b"], "word:film"),
        (["word:<b"], ["word:movie"], "markup"),
        (["column:age>=40"], [], "column:age"),
        (["column:sex=Female"], [], "column:sex"),
        (["column:site missing"], [], "column:site"),
        (["input #3 above the median"], [], "column:3"),
        (["image:top left brightness above the median"], [], "image:top left"),
        (["image:middle centre brightness low"], [], "image:middle centre"),
        (["image:row 1 column 8 of 8 brightness high"], [], "image:top right"),
        (["image:row 4 column 5 of 8 brightness low"], [], "image:middle centre"),
        (["image:row 6 column 3 of 8 brightness high"], [], "image:bottom left"),
        (["image:brightness high"], [], "image:brightness"),
        (["image:contrast low"], [], "image:contrast"),
        (["image:border brightness low"], [], "image:border"),
        (["image:border evenness low"], [], "image:border"),
        (["image:sharpness high"], [], "image:blur"),
        (["image:colourfulness high"], [], "image:grey"),
        (["image:border orange high"], [], "image:border"),
        (["image:orange high"], [], "image:grey"),
        (["layer:conv #3 mean high", "image:sharpness high"], [], "image:blur"),
        (["image:size high"], [], None),
        (["image:aspect ratio low"], [], None),
        (["image:sky high"], [], None),  # of a feature set of one's own
        (["word: "], [], None),
        (["column: padded=1"], [], None),
        (["metadata:site=B"], [], None),
        (["file:format=PNG"], [], None),
        (["layer:conv #3 mean high"], [], None),
    ],
)
def test_the_change_of_a_finding(names, opposed, expected):
    change = change_for(finding(*names, opposed=tuple(opposed)))
    assert (change and change.name) == expected


def test_a_column_whose_name_holds_a_condition():
    one = finding("column:dose>=2 mg>=40")
    assert change_for(one, ["dose>=2 mg", "dose"]) is None  # no change can name it
    assert change_for(finding("column:a missing missing"), ["a missing"]).name == "column:a missing"


RNG = np.random.default_rng(0)
Y = np.arange(400) % 2
CUE = np.where(RNG.random(400) < 0.85, Y, 1 - Y)


def test_a_table_of_at_most_five_rows_and_json(demo):
    summary = demo.summary(markdown=True)
    assert summary.count("| image:") - summary.count("| 1 | image:") <= 5
    facts = json.loads(demo.to_json())
    assert len(facts["changes"]) == 5
    assert len(facts["changes_tried"]) == 19
    assert facts["copies_embedded"] <= 3000
    one = facts["changes"][0]
    assert {"name", "flips", "control", "p_value", "is_finding", "examples"} <= one.keys()
    assert any("ntkit tried" in note for note in demo.notes)


def test_none_are_made_where_nobody_wants_any(digits):
    data = digits.X_validation[:200], digits.y_validation[:200]
    found = audit_model(MODEL, data, changes=0, device="cpu")
    assert found.changes is None
    assert found.as_dict()["changes"] is None
    assert "Changes of the input" not in found.summary(markdown=True)


# -- texts ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    texts, rng = pytest.importorskip("tests.texts"), np.random.default_rng(2)
    others = rng.choice(["quick", "brown", "lazy", "jumps", "over"], (400, 3))
    rows = [f"{' '.join(o)} {('fox', 'dog')[c]}" for o, c in zip(others, CUE, strict=True)]
    return texts.text_classifier(tmp_path_factory.mktemp("reviews"), rows, CUE)


def test_words_found_in_errors_are_changed(reviews, tmp_path):
    model, X = reviews
    found = audit_model(model, (X, np.array(["cat", "dog"])[Y]), device="cpu")
    tried = {each.name for each in found.changes.tried}
    assert {"word:dog|word:fox", "word:dog"} <= tried or {"word:fox|word:dog", "word:fox"} <= tried
    write_audit(found, tmp_path / "out")
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "exchanged" in page
    assert "<mark>dog</mark>" in page


def test_frequent_words_without_labels(reviews):
    model, X = reviews
    found = audit_model(model, Samples(X), device="cpu")
    assert (found.labelled, found.findings) == (False, ())
    assert found.predictions.pred_index.tolist() == found.predictions.y_index.tolist()
    assert {each.name for each in found.changes.tried} == {
        *(f"word:{word}" for word in ("quick", "brown", "lazy", "jumps", "over", "dog", "fox")),
        *HARMLESS,
    }
    assert len(found.changes.changes) == 5
    assert found.changes.changes[0].row.name in ("word:dog", "word:fox")
    assert found.changes.changes[0].control.name.startswith("a word as frequent as ")


def test_an_audit_tells_a_spelling_that_the_model_does_not_know_from_a_shortcut(tmp_path):
    """Models of words that never saw capitals, know them, or rely on them."""
    rng = np.random.default_rng(3)
    texts = [f"{' '.join(rng.choice(['a', 'quick', 'lazy'], 3))} {('fox', 'dog')[c]}" for c in Y]
    shouted = [text.upper() for text in texts]
    by_class = [(t, s)[c] for t, s, c in zip(texts, shouted, Y, strict=True)]
    seen = {"never": texts, "both": [*texts, *shouted], "shortcut": [*by_class, *by_class[::2]]}
    seen["only"] = by_class  # where unknown words flip as many, the margin tells
    told = {}
    for name, rows in seen.items():
        y = np.resize(Y, len(rows)) if name != "shortcut" else [*Y, *Y[::2]]
        words = TfidfVectorizer(lowercase=False)
        head = LogisticRegression().fit(words.fit_transform(rows), y)
        model = save_network_of_words(tmp_path / f"{name}.onnx", words, head)
        X = np.array(by_class if name in ("shortcut", "only") else texts, dtype=object)
        audit = audit_model(model, X, changes=0, invariant="case:upper", device="cpu")
        (each,) = audit.changes.changes
        told[name] = each.is_finding, each.reads_as_unknown
        assert each.as_dict()["reads_as_unknown"] == each.reads_as_unknown
        write_audit(audit, tmp_path / name)
        page = (tmp_path / name / "audit.html").read_text(encoding="utf-8")
        assert "control: unknown words in the same places" in page
        for text in (page, audit.summary(verbose=True), str(audit)):
            assert ("know these spellings" in text) == each.reads_as_unknown
        if name == "never":
            assert each.row.value == each.control.value > 0.3
            assert f"It flips {100 * each.row.value:.1f} % of {each.row.n} pred" in str(audit)
    known = {"both": (False, False), "shortcut": (True, False), "only": (False, False)}
    assert told == {"never": (False, True)} | known


# -- the command ----------------------------------------------------------------------------------


def test_the_command_without_labels(digits, tmp_path):
    np.save(tmp_path / "X.npy", digits.X_validation[:300])
    arguments = "audit", MODEL, tmp_path / "X.npy", "-o", tmp_path / "out"
    out, _ = done(*arguments, "--changes", 2)
    assert out.startswith("The samples have no labels, so ntkit tested only")
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "have no labels, so ntkit tested only which changes flip" in page
    assert "Only a person can tell whether a change keeps the true class" in page
    facts = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (facts["labelled"], facts["errors"], facts["accuracy"]) == (False, None, None)
    assert len(facts["changes"]) == 2
    words = ("X.npy holds no labels, so ntkit can only test changes of the input.",
             "Add labels, or omit --changes 0")  # fmt: skip
    refused(*arguments[:-1], tmp_path / "no", "--changes", "0", says=words)
    assert not (tmp_path / "no").exists()


def test_a_table_with_and_without_labels(tmp_path):
    table_model(tmp_path / "m.onnx")
    X, names = normal(120), ["age", "income", "size", "weight", "height", "score"]
    columns = dict(zip(names, X.T, strict=True))
    for labels in ({"label": (X[:, 0] + X[:, 1] > 0).astype(int)}, {}):
        data = write_csv(tmp_path / "d.csv", columns | labels)
        out = tmp_path / f"out{len(labels)}"
        assert "column:age" in done("audit", tmp_path / "m.onnx", data, "-o", out)[0]
        assert "“age” taken from another sample" in (out / "audit.html").read_text()
    # A label column that is named must be there.
    refused("audit", tmp_path / "m.onnx", data, "-o", tmp_path / "no", "--label-column", "target",
            says="'target'")  # fmt: skip


@pytest.mark.more
def test_an_audit_of_normalised_images_tries_what_needs_no_black_and_white(digits):
    X, y = digits.X_validation[:200], digits.y_validation[:200]
    told, tried = {}, {}
    for name, images in {"known": X, "few": X * 16, "normalised": (X - 0.5) / 0.2}.items():
        audit = audit_model(
            marked_digits_model_path(), (images, y), trust_inputs=True, device="cpu",
            feature_sets=["image"],
        )  # fmt: skip
        tried[name] = {row.name for row in audit.changes.tried}
        told[name] = [note for note in audit.notes if "black and" in note]
    assert tried["known"] == tried["few"]
    assert len(tried["normalised"]) == 12  # nine parts, border, centre, blur
    assert tried["normalised"] < tried["known"]
    assert [*map(len, told.values())] == [0, 1, 1]
    assert "ntkit tries no changes that need black and white" in told["normalised"][0]


def test_a_change_that_a_person_names_is_tested(reviews, tmp_path):
    """Also one that is weak, and with no others."""
    model, X = reviews
    names = ["append:over the lazy dog", "word:quick"]
    for changes in (0, 2):
        found = audit_model(model, Samples(X), changes=changes, invariant=names, device="cpu")
        tested = [each.row.name for each in found.changes.changes]
        assert {*names} <= {*tested}
        assert len(tested) == len(names) + changes
        tiers = [
            (not each.flips_more, each.row.name not in names) for each in found.changes.changes
        ]
        assert tiers == sorted(tiers)  # findings first, and of those the named
    (appended,) = (each for each in found.changes.changes if each.row.name == names[0])
    assert appended.control.name == f"frequent words of the length of {names[0]}"
    write_audit(found, tmp_path / "out")
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "“over the lazy dog” put after each text" in page
    assert "control: frequent words of the same length" in page
    assert len(audit_model(model, Samples(X), changes=1, device="cpu").changes.changes) == 1
    (tmp_path / "lines.txt").write_text("over")
    lines = change_named(f"append:@{tmp_path / 'lines.txt'}")
    found = audit_model(model, Samples(X), changes=0, invariant=lines, device="cpu")
    assert lines.sha256 in str(found.notes)
    with pytest.raises(InputError, match="There is no change 'appendd:x'"):
        audit_model(model, Samples(X), invariant="appendd:x", device="cpu")
