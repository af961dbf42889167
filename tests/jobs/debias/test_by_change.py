"""Repair by change: copies where there is no counterexample, who judges, and what it refuses."""

import json
import re
import warnings
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from itertools import product

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neural_network import MLPClassifier

import ntkit
from ntkit import FrozenModel, debias
from ntkit.attributes.answers import Answer
from ntkit.changes import change_from
from ntkit.estimators import BalancedClassifier
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.check import check_predictions
from ntkit.jobs.debias import _invariance
from ntkit.jobs.debias._flips import ByChange
from ntkit.metrics import Row
from ntkit.pages.change_cards import KEEPS_THE_CLASS
from ntkit.study import Rows
from tests import word_models
from tests.cases import read_csv, write_csv
from tests.jobs.debias.conftest import DIGITS, QUICK, TEXTS, predicted, reviews
from tests.models import parsed, save


def predictions(model, X):
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: X})[0].argmax(axis=1)


def worst_group(model, digits):
    right = predictions(model, digits.X_test) == digits.y_test
    return min(right[digits.groups_test == group].mean() for group in range(4))


@pytest.mark.more
def test_a_part_of_another_image_repairs_without_a_label_of_the_mark(digits, by_change):
    out = by_change.path
    assert by_change.written
    assert "judged by changed copies alone" in by_change.headline()
    assert "below guessing" not in str(by_change)
    assert worst_group(DIGITS, digits) < 0.5
    assert worst_group(out / "debiased.onnx", digits) > 0.8
    record = json.loads((out / "result.json").read_text())
    own = next(r for r in record["by_change"]["flips"] if r["change"] == "image:top left")
    assert own["after"] < own["before"] / 2
    assert not own["rises"]
    facts = FrozenModel.load(out / "debiased.onnx").metadata
    assert json.loads(facts["ntkit.changes"]) == ["image:top left"]
    kept = json.loads((out / "answers.json").read_text())["answers"]
    assert [(a["name"], a["answer"]) for a in kept] == [("change image:top left", "invariant")]
    assert not list(out.parent.glob(".out*"))  # copies are kept while it runs only
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Does the repair help if image:top left must not matter?" in page
    assert "<article" not in page  # no neuron is suppressed
    for line in by_change.by_change.sentences():
        assert line.replace("'", "&#39;") in page


@pytest.mark.more
def test_a_head_that_stays_worse_than_guessing_says_that_the_embedding_may_be_the_cause(tmp_path):
    """Two neurons learned capitals and little else, so there is not enough to repair with."""
    rng = np.random.default_rng(0)

    def shouted(n, share):
        X, y = word_models.reviews(rng, n, honest=0.62)
        loud = np.where(rng.random(n) < share, y, 1 - y)
        return np.array([t.upper() if one else t for t, one in zip(X, loud, strict=True)]), y

    sets = [shouted(n, 0.97) for n in (600, 400)]
    words = TfidfVectorizer(lowercase=False)
    hidden = MLPClassifier((2,), max_iter=200, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge
        hidden.fit(words.fit_transform(sets[0][0]), sets[0][1])
    model = word_models.save_network_of_words(tmp_path / "model.onnx", words, hidden)
    sets = [(X.astype(object), y) for X, y in sets]
    result = debias(model, *sets, invariant=["case:upper", "case:lower"], device="cpu")
    assert result.written
    (groups,) = result.outcome.groups
    worst = min(groups.filled, key=lambda row: row.value)
    assert worst.value < 0.4
    told = f"{worst.name} stays surely below guessing ({100 * worst.value:.1f} % of {worst.n} "
    assert f"Note: {told}" in str(result)
    assert any(note.startswith(told) for note in result.as_dict()["notes"])


@pytest.mark.more
def test_groups_that_a_reader_tells_are_balanced_and_judge_nothing(digits, sets, by_change):
    """The class of the image that the corner comes from tells the mark of each image."""
    assert by_change.chosen.name == "groups read"
    told = next(note for note in by_change.notes if note.startswith("From copies of train"))
    share = float(re.search(r"told in (\d+) % \(mean of classes, guessing: 50 %\)", told)[1])
    (_, y_train, *_), (_, y, *_) = sets[:2]
    mark, marked = (
        groups[: len(y)] % 2
        for y, groups in ((y_train, digits.groups_train), (y, digits.groups_validation))
    )
    agrees = [(mark == c)[y_train == c].mean() for c in (0, 1)]
    assert share == pytest.approx(100 * np.mean(agrees), abs=2)
    estimated = by_change.by_change.estimated
    assert sum(row.n for row in estimated) == len(y)
    sizes = {row.name: row.n for row in estimated}
    of_value = "{} × image:top left of class {}".format
    for c, v in product((0, 1), (0, 1)):
        truth = ((y == c) & (marked == v)).sum()
        assert sizes[of_value(c, v)] == pytest.approx(truth, abs=5)
    outcome = by_change.outcome.as_dict()
    assert {each["source"] for each in outcome["groups"]} == {"copies"}
    line = next(s for s in by_change.by_change.sentences() if s.startswith("Estimated"))
    worst = min(estimated, key=lambda row: row.value)
    assert f"→ {100 * worst.value:.1f} % ({worst.name}, {worst.n} validation samples)" in line


def test_the_worst_estimated_group_before_may_be_another_one():
    rows = [
        Row("group", "a", 100, 75, lost=0, gained=25),
        Row("group", "b", 100, 70, lost=10, gained=0),
    ]
    (line,) = (s for s in ByChange((), estimated=tuple(rows)).sentences() if s.startswith("Estim"))
    assert "worst group 50.0 (a) → 70.0 % (b, 100 validation samples)" in line


@pytest.mark.more
def test_an_attribute_that_is_the_part_takes_the_place_of_what_is_read(digits, sets):
    """Crossed with it, the reader's errors would be groups; an unrelated one is balanced too."""
    mark = np.concatenate([digits.groups_train[:900], digits.groups_validation[:600]]) % 2
    coin = np.random.default_rng(0).integers(0, 2, len(mark))
    found = {}
    for name, value in {"mark": mark, "coin": coin}.items():
        facts = pd.DataFrame({name: np.array(["no", "yes"])[value]})
        result = debias(
            DIGITS, *sets[:2], test=sets[2], spurious=f"metadata:{name}", metadata=facts,
            invariant="image:top left", **QUICK,
        )  # fmt: skip
        (told,) = (note for note in result.notes if note.startswith("From copies of train"))
        candidates = {each.name: each.worst_group for each in result.candidates}
        found[name] = told, candidates, result.by_change.estimated
    told, candidates, estimated = found["mark"]
    assert told.endswith("metadata:mark tells as much, so its groups are used.")
    assert not estimated
    assert candidates["groups read"] > candidates["group-balanced"]
    assert candidates["groups read"] > 0.8
    told, candidates, estimated = found["coin"]
    assert told.endswith("ntkit reads groups from it.")
    assert len(estimated) == 4
    assert candidates["groups read"] > 0.85


@pytest.fixture(scope="session")
def random_neurons(whole, tmp_path_factory):
    """A network of random neurons, none of which stands for the mark, with a fitted last layer."""
    X, y = whole[0]
    W = np.random.default_rng(0).normal(size=(X[0].size, 512)) / 20
    Z = np.maximum(X.reshape(len(X), -1) @ W, 0)
    head = BalancedClassifier().fit(Z, y).head_
    model = parsed(
        """(float[N, 1, 20, 20] x) => (float[N, 2] logits) {
            flat = Flatten(x)  h = MatMul(flat, W)  z = Relu(h)
            logits = Gemm<transB=1>(z, V, b)
        }""",
        W=W,
        V=np.vstack([-head.coef, head.coef]) / 2,
        b=np.append(-head.intercept, head.intercept) / 2,
    )
    return save(model, tmp_path_factory.mktemp("random") / "model.onnx")


@pytest.mark.more
def test_labels_choose_the_reader_of_a_change_that_a_person_names(digits, sets, random_neurons):
    """Four labels of each group say which number of the reader is the mark."""
    groups = np.concatenate([digits.groups_train[:900], digits.groups_validation[:600]])
    labels = np.full(len(groups), None, dtype=object)
    for group in range(4):
        labels[np.flatnonzero(groups == group)[:4]] = "marked" if group % 2 else "plain"

    def repaired(**options):
        said = {"test": sets[2], "attribute": labels} | options
        result = debias(random_neurons, *sets[:2], **said, **QUICK)
        notes = "\n".join(result.notes)
        source = re.search("inferred it for the others from the (.*), with", notes)[1]
        return result.chosen, source, "Copies changed by" in notes

    alone, source, copies = repaired()
    assert (source, copies) == ("embedding", False)
    chosen, source, copies = repaired(invariant="image:top left")
    assert (source, copies) == ("reader of image:top left", True)
    assert chosen.name == alone.name == "group-balanced"
    assert chosen.worst_group > alone.worst_group + 0.2
    # A change whose donor's class cannot be told has no reader.
    assert repaired(invariant="image:bottom right") == (alone, "embedding", True)


@pytest.mark.more
def test_a_part_that_holds_the_subject_is_not_repaired_by(few, tmp_path):
    """Its reader tells the class of an image better than that of the image a copy takes it from."""
    result = debias(DIGITS, *few[:2], invariant="image:centre", **QUICK)
    assert not result.written
    assert "image:centre may hold what tells the class" in result.headline()
    with pytest.raises(InputError, match=r"'groups read' needs .* it reads more than this part"):
        debias(DIGITS, *few[:2], invariant="image:centre", method="groups read", **QUICK)
    with pytest.raises(InputError, match=r"'groups read' needs .* No change has one"):
        debias(DIGITS, *few[:2], invariant="image:jpeg", method="groups read", **QUICK)
    assert "groups read" not in {each.name for each in result.candidates}
    assert not result.by_change.estimated


@pytest.mark.more
def test_one_yes_on_a_property_and_one_on_its_copies_repair(whole):
    """Brightness above a median is not the mark; its change is, and only a person confirms it."""
    found = debias(DIGITS, *whole[:2], **QUICK)
    name = found.open[0].name
    yes = found.audit.answers(name)
    alone = debias(DIGITS, *whole[:2], test=whole[2], answers=yes, **QUICK)
    (told,) = (caution for caution in alone.cautions if "has the change" in caution)
    assert name in told
    assert '--invariant "image:top left"' in told
    assert alone.by_change is None
    both = replace(
        yes, answers=(*yes.answers, Answer.on_change("image:top left", "invariant").signed())
    )
    repaired = debias(DIGITS, *whole[:2], test=whole[2], answers=both, **QUICK)
    assert not any("has the change" in caution for caution in repaired.cautions)
    assert repaired.outcome.word == "better"
    assert repaired.chosen.worst_group > max(0.85, alone.chosen.worst_group)
    no = Answer.on_change("image:top left", "legitimate").signed()
    refused = debias(DIGITS, *whole[:2], answers=replace(yes, answers=(*yes.answers, no)), **QUICK)
    assert not any("has the change" in caution for caution in refused.cautions)
    assert refused.by_change is None


@pytest.mark.more
def test_flip_rates_are_those_of_onnx_runtime(digits, by_change):
    rate = next(r for r in by_change.by_change.flips if r.name == "image:blur")
    rows = np.sort(np.random.default_rng(0).permutation(600)[:150])
    samples = Samples(digits.X_validation[:600], digits.y_validation[:600])
    copies, at = ntkit.changes.change_named("image:blur").copies(samples, rows)
    written = by_change.path / "debiased.onnx"
    for model, share in ((DIGITS, rate.before), (written, rate.value)):
        flips = predictions(model, samples.X[at]) != predictions(model, copies.X[:])
        assert share == pytest.approx(flips.mean(), abs=1e-9)


def test_a_change_has_one_flip_rate(digits, by_change):
    """That of all copies of the validation set, whose donors are of the same half."""
    found = by_change.by_change
    (relied,), own = found.reliance, found.flips[0]
    assert (own.name, own.n, own.before) == (relied.name, relied.n, relied.value)
    assert own.name == "image:top left"
    assert own.n == 600
    samples = Samples(digits.X_validation[:600], digits.y_validation[:600])
    folds = _invariance.donor_folds(Rows.of(samples.X, samples.y), 0, 2)
    copies, at = ntkit.changes.change_named(own.name).copies(samples, folds=folds)
    flips = predictions(DIGITS, samples.X[at]) != predictions(DIGITS, copies.X[:])
    assert own.before == pytest.approx(flips.mean(), abs=1e-9)
    record = json.loads((by_change.path / "result.json").read_text())["by_change"]
    assert record["reliance"][0]["flips"] == record["flips"][0]["before"]


def test_chance_in_new_samples_does_not_exceed_the_limits_of_a_repair(digits, by_change):
    """Of 1000 sets like the validation set, 995 lose at most as much as this one."""
    X, y = digits.X_validation[:600], digits.y_validation[:600]
    old, new = (predictions(model, X) for model in (DIGITS, by_change.path / "debiased.onnx"))
    sets = np.random.default_rng(0).integers(0, 600, (1000, 600))
    drops = ((old == y).astype(int) - (new == y))[sets].mean(axis=1)
    rows = sets[np.argsort(drops)[994]]
    limits = replace(by_change.limits, changes={})
    assert (limits.over, {*limits.max_recall_drop}) == (("average",), {"0", "1"})
    judged = check_predictions(y[rows], new[rows], y_pred_before=old[rows], limits=limits)
    assert judged.outcome == "pass"


@pytest.mark.more
def test_a_change_that_has_nothing_to_do_with_anything_does_no_harm(few):
    result = debias(DIGITS, *few[:2], test=few[2], invariant="image:jpeg", **QUICK)
    if result.written:
        assert result.outcome.average.value > result.outcome.average.before - 0.01
    assert "groups read" not in {each.name for each in result.candidates}


@pytest.mark.more
def test_the_bound_that_decides_is_in_the_sentence(few):
    result = debias(DIGITS, *few[:2], invariant="image:bottom right", **QUICK)
    assert result.by_change.veto
    assert "which may be guessing (50 %)" in "".join(result.notes)
    (relied,) = result.by_change.as_dict()["reliance"]
    bound = f"lower 95 % bound of the difference is {100 * relied['surely']:.1f} percentage"
    assert bound in result.headline()
    assert "black and white" not in "".join(result.cautions)


def test_a_change_of_normalised_images_is_refused_before_anything_is_embedded(few, monkeypatch):
    for name in ("iter_batches", "outputs", "transform"):
        monkeypatch.setattr(ntkit.OnnxEmbedder, name, None)
    sets = [((X - 0.5) / 0.2, y) for X, y, *_ in few]
    for change in ("image:grey", change_from(lambda image: 255 - image, "inverted")):
        with pytest.raises(InputError, match=r"needs black and white, .* values from -2.5 to 2.5"):
            debias(DIGITS, *sets[:2], invariant=change, **QUICK)


@pytest.mark.more
def test_real_groups_judge_where_a_word_names_them(by_words):
    result = by_words
    assert result.helped
    names = {each.name for each in result.candidates}
    assert {"group-balanced", "copies", "copies and penalty", "groups and copies"} < names
    told = result.by_change.sentences()
    assert any(line.startswith("Copies by word:film|word:movie are similar") for line in told)
    assert "judged by changed copies alone" not in result.headline()
    (like,) = result.by_change.likeness
    assert max(like.aucs.values()) < 0.7
    assert set(like.small) <= {"bad × word:movie", "good × word:film"}


def group_of(row):
    return f"{row['label']} × word:{'movie' if 'movie' in row['text'].split() else 'film'}"


def test_the_worst_group_of_the_validation_set_has_no_copies(files, by_words):
    rows = read_csv(files / "validation.csv")
    groups = np.array([group_of(row) for row in rows])
    labels = np.array([row["label"] for row in rows])
    right = predicted(files / "model.onnx", [row["text"] for row in rows]) == labels
    real = {str(group): right[groups == group] for group in np.unique(groups)}
    result, small = by_words, by_words.by_change.likeness[0].small
    assert small  # copies judge these groups too
    assert min(small.values()) >= 5
    before, after = result.accuracy_cost.worst_named_before, result.accuracy_cost.worst_named
    for worst in (before, after):
        assert (worst.n, worst.n_known, worst.n_copies) == (len(real[worst.name]),) * 2 + (0,)
    lowest = min(of_group.mean() for of_group in real.values())
    (named,) = result.outcome.groups
    assert named.worst.before == before.value == pytest.approx(lowest)
    assert result.candidates[0].worst_named == before.value
    assert named.worst.value == after.value == result.chosen.worst_named
    assert "Validation set, cross-fitted: If word:film against word:movie and " in result.headline()
    assert "copies" not in result.named_outcome()
    first = str(result).partition("Groups with changed copies: mean")
    assert "mean of the groups" not in first[0] + first[2]
    assert first[2]


@pytest.mark.more
def test_a_group_of_few_samples_is_reported_with_its_copies(files, tmp_path):
    texts, y, _ = reviews(6, 400, 1.0)
    others, y_others, _ = reviews(7, 400, 0.0)
    for label in np.unique(y):
        at = np.flatnonzero(y_others == label)[:3]
        texts, y = texts + [others[i] for i in at], np.append(y, y_others[at])
    validation = write_csv(tmp_path / "validation.csv", {"text": texts, "label": y})
    change = "word:film|word:movie"
    sets = files / "train.csv", validation
    result = debias(files / "model.onnx", *sets, spurious=change, out=tmp_path / "out", **QUICK)
    assert set(result.by_change.likeness[0].small.values()) == {3}
    assert "Fewer than 5 samples show " in result.headline()
    assert "Mean of originals and changed copies, class by class: " in result.headline()
    assert result.outcome.word == "probably better"
    assert "worst group, samples and copies" in result.short_table()
    worst = json.loads((tmp_path / "out" / "result.json").read_text())["accuracy_cost"]
    worst = worst["worst_named_before"]
    assert (worst["count"] - worst["n_copies"], worst["n_known"]) == (3, 3)
    n_copies = worst["n_copies"]
    assert f"3 samples and {n_copies} changed copies of {worst['name']}" in result.named_outcome()


@pytest.mark.more
def test_copies_of_validation_samples_are_no_test_set(files, tmp_path):
    """A test set with few samples of a group does not judge, and nothing is said of it."""
    texts, y, _ = reviews(8, 300, 1.0)
    others, y_others, _ = reviews(9, 300, 0.0)
    sets = [files / "train.csv", files / "validation.csv"]
    for n, where in ((3, "validation set"), (30, "test set")):
        test = [*texts], y
        for label in np.unique(y):
            at = np.flatnonzero(y_others == label)[:n]
            test = test[0] + [others[i] for i in at], np.append(test[1], y_others[at])
        table = write_csv(tmp_path / "test.csv", {"text": test[0], "label": test[1]})
        options = {"test": table, "spurious": "word:film|word:movie"} | QUICK
        result = debias(files / "model.onnx", *sets, **options)
        assert result.outcome.where == where
        assert result.headline().count("Test set") == (where == "test set")
        told = "The test set does not judge, but validation samples do: it has too few of a group."
        assert (told in result.cautions) == (where == "validation set")


@pytest.mark.more
def test_copies_unlike_real_samples_judge_nothing(files, by_word):
    """A word that is left out does not say the other word: real samples tell the difference."""
    told = "\n".join(by_word.by_change.sentences())
    (like,) = by_word.by_change.likeness
    assert not like.judges
    assert "A classifier distinguishes copies by word:film=both from real samples" in told
    assert "only real samples judge" in told
    sets = files / "train.csv", files / "validation.csv"
    result = debias(files / "model.onnx", *sets, invariant="word:film", **QUICK)
    assert not result.by_change.likeness[0].judges
    # The change says which value a text has, so its groups are balanced too.
    assert {"group-balanced", "groups and copies"} <= {row.name for row in result.candidates}
    worst = result.accuracy_costs[0].worst_named
    groups = Counter(
        f"{row['label']} × {'' if 'film' in row['text'].split() else 'not '}word:film"
        for row in read_csv(sets[1])
    )
    assert worst.n == groups[worst.name]


@pytest.mark.more
def test_texts_with_markup_are_groups_of_real_samples(tmp_path):
    """Neither a word nor a column: what the change removes is read from the text itself."""
    sets = []
    for seed, n, share in ((0, 900, 0.92), (1, 600, 0.92), (2, 400, 0.92), (3, 400, 0.5)):
        texts, y, movie = reviews(seed, n, share)
        told = [re.sub("film|movie", "work", text) for text in texts]
        marked = [f"<b>{text}</b>" if m else text for text, m in zip(told, movie, strict=True)]
        sets.append((marked, y))
    with warnings.catch_warnings(action="ignore"):
        TEXTS.train(np.asarray(sets[0][0]), sets[0][1], 0, tmp_path / "model.onnx")
    tables = [
        write_csv(tmp_path / f"{i}.csv", {"text": texts, "label": y})
        for i, (texts, y) in enumerate(sets[1:])
    ]
    options = {"test": tables[2], "invariant": "markup=both"} | QUICK
    result = debias(tmp_path / "model.onnx", *tables[:2], **options)
    (like,) = result.by_change.likeness
    values = {name.partition(" × ")[2] for name in like.aucs}
    assert values == {"with mark-up", "without mark-up"}
    assert result.outcome.where == "test set"
    assert {row.name.partition(" × ")[2] for row in result.outcome.groups[0].rows} == values


def test_each_change_applies_to_training_samples(files):
    """Another change that applies does not hide it."""
    sets = files / "train.csv", files / "validation.csv"
    with pytest.raises(InputError, match="markup applies to none of the 600 samples"):
        debias(files / "model.onnx", *sets, invariant=["word:film|word:movie", "markup"], **QUICK)


@pytest.mark.more
def test_a_test_set_that_does_not_judge_says_why(files, few, tmp_path):
    without = read_csv(files / "validation.csv")[:100]
    columns = {"text": [row["text"].replace("film", "work") for row in without]}
    test = write_csv(tmp_path / "test.csv", columns | {"label": [row["label"] for row in without]})
    sets = files / "train.csv", files / "validation.csv"
    change = "word:film|word:movie"
    result = debias(files / "model.onnx", *sets, test=test, invariant=change, **QUICK)
    assert result.outcome.where == "validation set"
    said = "The test set does not judge, but validation samples do: "
    assert any(note.startswith(said) for note in result.cautions)
    options = {"metadata": files / "sites.csv", "spurious": "metadata:site"} | QUICK
    result = debias(files / "model.onnx", *sets, test=test, **options)
    (why,) = (note for note in result.cautions if note.startswith(said))
    assert "Metadata that you pass are not read for it" in why
    result = debias(DIGITS, *few[:2], test=few[2], invariant="image:jpeg", **QUICK)
    assert result.outcome.where == "validation set"
    assert "The test set does not judge, but changed copies of validation samples do." in (
        result.cautions
    )


@pytest.mark.more
def test_without_any_counterexample_copies_alone_repair(files, tmp_path):
    sets = []
    for name, seed, n in (("train", 5, 900), ("validation", 6, 600)):
        texts, y, _ = reviews(seed, n, 1.0)
        sets.append(write_csv(tmp_path / f"{name}.csv", {"text": texts, "label": y}))
    change = "word:film|word:movie"
    result = debias(files / "model.onnx", *sets, spurious=change, **QUICK)
    assert result.written
    assert "judged by changed copies alone" in result.headline()
    assert "Mean of originals and changed copies, class by class: " in result.headline()
    assert result.outcome.word == "probably better"
    assert any(f"{change} has one value in each class" in note for note in result.notes)
    own = next(r for r in result.by_change.flips if r.name == change)
    assert own.value < own.before / 2


def test_the_page_asks_whether_a_change_keeps_the_true_class(asked):
    page = (asked.path / "audit.html").read_text(encoding="utf-8")
    assert f"<legend>{KEEPS_THE_CLASS}</legend>" in page
    assert "change image:top left" in page
    record = json.loads((asked.path / "audit.json").read_text())
    assert "image:top left" in [change["name"] for change in record["changes"]]
    (top_left,) = (each for each in record["changes"] if each["name"] == "image:top left")
    count = f"{round(top_left['flips'] * top_left['n'])} of {top_left['n']} predictions flip"
    shown = [each for each in re.findall(r"(\d+ of \d+ predictions flip)", page) if each == count]
    assert f"After this change, {count}: the top left" in page
    assert len(shown) == 2  # of the finding and of the change


@pytest.mark.more
def test_labels_and_methods_are_not_vetoed_by_a_change(digits, few):
    groups = np.concatenate([digits.groups_train[:200], np.full(200, -1)])
    for said in ({"method": "cell-balanced"}, {"groups": groups}):
        result = debias(DIGITS, *few[:2], invariant="image:jpeg", **said, **QUICK)
        assert "rely on the change" not in result.headline()
        # Labels have groups of their own; a method is judged as what was changed is.
        assert ("copies alone" in str(result)) is ("method" in said and result.written)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "copies"}, "There is no candidate"),
        ({"method": "by change"}, "There is no candidate"),
        ({"invariant": "image:foo"}, "There is no change 'image:foo' of images"),
        ({"invariant": "metadata:site=B"}, "cannot be changed"),
        ({"invariant": "word:film"}, "changes texts"),
        ({"invariant": "column:sex"}, "changes columns"),
        ({"invariant": "folder:/nowhere"}, "does not exist"),
        ({"invariant": 3}, "A change must be a text"),
    ],
)
def test_what_cannot_be_changed_is_refused(few, options, message):
    with pytest.raises(InputError, match=message):
        debias(DIGITS, *few[:2], **options, **QUICK)


def test_an_answer_that_it_touches_the_subject_is_not_overwritten(few, tmp_path):
    answers = tmp_path / "answers.json"
    no = {"name": "change image:centre", "answer": "legitimate", "values": [["image:centre"]]}
    answers.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": [no]}))
    with pytest.raises(InputError, match="image:centre changes the true class"):
        debias(DIGITS, *few[:2], answers=answers, invariant="image:centre")


@pytest.mark.more
def test_a_function_is_a_change_and_a_row_of_the_table_can_be_ordered(sets):
    def without_mark(image):
        image = image.copy()
        image[:6, :6] = image[:6, :6].min()
        return image

    change = change_from(without_mark, "mark wiped")
    result = debias(DIGITS, *sets[:2], invariant=change, method="copies", **QUICK)
    assert result.by_change.changes == ("mark wiped",)
    assert (result.chosen.name, result.written) == ("copies", True)


@pytest.mark.more
def test_an_interrupted_run_leaves_copies_to_go_on_with_and_other_files_alone(
    few, tmp_path, monkeypatch
):
    somebodys = tmp_path / ".out.copies" / "notes.txt"
    somebodys.parent.mkdir()
    somebodys.write_text("mine")
    whole, calls = _invariance.embedded_copies, []

    def interrupted(*args, **options):
        calls.append(options["store"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **options)

    monkeypatch.setattr(_invariance, "embedded_copies", interrupted)
    given = {"invariant": "image:top left", "out": tmp_path / "out"} | QUICK
    with pytest.raises(KeyboardInterrupt):
        debias(DIGITS, *few[:2], **given)
    assert not (tmp_path / "out").exists()
    assert (calls[0] / "embeddings.npy").is_file()
    monkeypatch.setattr(_invariance, "embedded_copies", whole)
    debias(DIGITS, *few[:2], **given)
    assert [path.name for path in somebodys.parent.iterdir()] == ["notes.txt"]
    assert somebodys.read_text() == "mine"


@pytest.mark.more
def test_the_command_line_takes_changes_and_goes_on_with_them(npz, by_change, tmp_path, run):
    out = tmp_path / "out"
    sets = ("--train", npz / "train.npz", "--validation", npz / "validation.npz")
    code, text, _ = run("debias", DIGITS, *sets, "-o", out, "--device", "cpu")
    assert code == 3
    assert "--invariant image:border" in text
    # What was said is kept: the next run does the same.
    code, text, error = run("debias", "--from", out, "--answers", by_change.path / "answers.json")
    assert code == 0, error
    assert "judged by changed copies alone" in text.splitlines()[0]


@pytest.mark.more
def test_the_file_of_a_change_comes_with_the_repair(files, tmp_path, run, monkeypatch):
    """Limits are read with their own copy; answers of others read no file elsewhere."""
    monkeypatch.chdir(tmp_path)
    lines = tmp_path / "lines.txt"
    lines.write_text("movie " * 5 + "\n" + "film " * 5)
    change, out = f"append:@{lines}", tmp_path / "out"
    sets = ("--train", files / "train.csv", "--validation", files / "validation.csv")
    code, text, error = run(
        "debias", files / "model.onnx", *sets, "--invariant", change, "-o", out, "--device", "cpu"
    )
    assert code == 0, text + error
    digest = sha256(lines.read_bytes()).hexdigest()
    kept = out / f"lines-{digest[:8]}.txt"
    assert kept.read_bytes() == lines.read_bytes()
    assert digest in (out / "result.json").read_text()
    assert f'"append:@{kept.name}"' in (out / "repair-limits.toml").read_text()
    models = (files / "model.onnx", out / "debiased.onnx")
    limits = ("--limits", out / "repair-limits.toml")
    checked = run("check", *models, files / "validation.csv", *limits, "--device", "cpu", "--json")
    assert f"append:@{kept.name}" in checked[1]
    assert digest in checked[1]

    lines.write_text("a movie\na film\na book\n")
    code, _, error = run("debias", "--from", out, "--max-cost", "0.2")
    assert code == 0, error
    assert f"The file of {change} has changed since the run in {out}" in error
    assert kept.is_file()
    assert digest in (out / "result.json").read_text()
    code, _, error = run("debias", "--from", out, "--invariant", change, "-o", tmp_path / "new")
    assert code in (0, 1), error
    assert "has changed since" not in error
    moved = out.rename(tmp_path / "moved")
    kept = moved / kept.name
    result = debias(models[0], *sets[1::2], answers=moved / "answers.json", **QUICK)
    assert result.by_change.changes == (f"append:@{kept.name}",)
    kept.write_text("others")
    result = debias(models[0], *sets[1::2], answers=moved / "answers.json", **QUICK)
    assert f"Somebody changed it: its SHA-256 began with {digest[:8]}." in str(result.notes)


@pytest.mark.more
def test_answers_read_only_files_of_their_folder(files, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "lines.txt").write_text("a film\n")
    sets = files / "train.csv", files / "validation.csv"

    def with_answer(path):
        answer = {"name": f"change append:{path}", "answer": "invariant"}
        content = {"ntkit": "answers", "version": 1}
        content["answers"] = [answer | {"values": [[f"append:{path}"]]}]
        (theirs / "answers.json").write_text(json.dumps(content))
        answers = theirs / "answers.json"
        return debias(files / "model.onnx", *sets, answers=answers, **QUICK).by_change.changes

    for path in ("/etc/passwd", "../theirs.txt"):
        with pytest.raises(InputError, match="can only name files inside its folder"):
            with_answer(f"@{path}")
    assert with_answer("/etc/passwd") == ("append:/etc/passwd",)
    assert with_answer("@lines.txt") == ("append:@lines.txt",)
