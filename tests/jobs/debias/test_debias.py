"""A repair from start to end, on the included model."""

import json
import re
import shutil
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from ntkit import (
    DebiasSettings,
    FrozenModel,
    NeuronTuneClassifier,
    OnnxEmbedder,
    audit_model,
    debias,
)
from ntkit.estimators import (
    AutoDebiasClassifier,
    BalancedClassifier,
    DFRClassifier,
    GroupDROClassifier,
    GroupInference,
    LEACEClassifier,
    head_of,
)
from ntkit.exceptions import InputError, VerificationError
from ntkit.export import to_onnx, write_onnx
from ntkit.extraction import ImagePreprocessing, Samples, read_samples
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.jobs.audit import read_answers
from ntkit.jobs.audit.from_model import like_a_guess
from ntkit.store import EmbeddingStore
from ntkit.study import group_balanced
from ntkit.verification import Verification
from tests import models
from tests.cases import settings, write_images
from tests.jobs.debias.conftest import DIGITS, QUICK
from tests.jobs.label import models as rows_of_label

SCORE = "worst_class_correctness_group_accuracy"


def run(*sets, settings=None, **options):
    """What is found to be better has tests of its own."""
    settings = settings or DebiasSettings(otherwise="new head")
    options = {"method": SCORE, "settings": settings} | options
    return debias(DIGITS, *sets, **(QUICK | options))


@pytest.fixture(scope="module")
def written(whole, tmp_path_factory):
    """By the whole table of candidates."""
    train, validation, test = whole
    out = tmp_path_factory.mktemp("debias") / "out"
    return run(train, validation, test=test, out=out)


@pytest.mark.more
def test_the_written_file_predicts_what_the_table_says(written, digits):
    session = ort.InferenceSession(written.path / "debiased.onnx")
    (logits,) = session.run(["logits"], {"image": digits.X_test})
    right = logits.argmax(axis=1) == digits.y_test
    worst = min(right[digits.groups_test == g].mean() for g in range(4))
    assert worst == pytest.approx(written.chosen.worst_group)
    assert right.mean() == pytest.approx(written.chosen.average)
    assert worst > written.candidates[0].worst_group + 0.2


def test_the_deployment_contract_is_kept_and_provenance_says_what_was_done(written):
    before, after = FrozenModel.load(DIGITS), FrozenModel.load(written.path / "debiased.onnx")
    for fact in ("nodes", "inputs", "outputs", "opset_imports", "ir_version"):
        assert getattr(after, fact) == getattr(before, fact)
    check = written.verification
    assert isinstance(check, Verification)
    assert (check.passed, check.kept.nodes, check.embedding_difference) == (True, True, 0)
    facts = after.metadata
    assert facts["ntkit.method"] == written.chosen.name
    assert json.loads(facts["ntkit.suppressed_neurons"]) == written.suppressed.tolist()
    assert facts["ntkit.source_sha256"] == before.sha256()
    silent = np.flatnonzero((written.head.coef == 0).all(axis=0))
    assert set(written.suppressed.tolist()) <= set(silent.tolist())


def test_table_holds_every_control(written):
    names = [c.name for c in written.candidates]
    assert names[0] == "original head"
    controls = {"class-balanced", "class-balanced-validation", "class-balanced-both"}
    assert controls | {"cell-balanced", "neurontune", "auto"} <= set(names)
    random = next(c for c in written.candidates if c.name.startswith("random mask"))
    assert random.n_suppressed == written.chosen.n_suppressed > 0
    assert random.spread["worst_group"] >= 0
    assert sum(c.chosen for c in written.candidates) == 1
    rivals = [c for c in written.candidates[1:] if not c.name.startswith("random")]
    assert written.chosen.score == max(c.score for c in rivals)
    assert json.loads((written.path / "result.json").read_text())["chosen"] == written.chosen.name
    assert written.table() in (written.path / "table.md").read_text()
    assert not [p for p in written.path.parent.iterdir() if p.name.startswith(".ntkit")]


@pytest.mark.more
def test_choice_does_not_see_the_test_set_or_the_groups_and_stores_give_the_same(
    whole, written, tmp_path, all_candidates
):
    embedder = OnnxEmbedder(DIGITS, device="cpu")
    for name, (X, y) in zip(("train", "validation"), whole[:2], strict=True):
        EmbeddingStore.write(tmp_path / name, embedder, Samples(X, y))
    blind = run(tmp_path / "train", tmp_path / "validation")
    assert blind.chosen.name == written.chosen.name
    assert np.array_equal(blind.head.coef, written.head.coef)
    assert (blind.chosen.worst_group, blind.shared) == (None, 0)
    assert any("no test set" in note for note in blind.notes)


def test_a_method_is_ordered_and_the_verdict_compares_it_with_plain_retraining(few):
    result = run(*few[:2], method="neurontune")
    assert (result.chosen.name, result.shared) == ("neurontune", 0)
    scores = {c.name: 0.8 for c in result.candidates} | {"neurontune": 0.9}
    scores |= {result.candidates[0].name: 0.85, "class-balanced": 0.81}
    made = [replace(c, score=scores[c.name]) for c in result.candidates]
    made = [replace(c, n_suppressed=3) if c.name == "neurontune" else c for c in made]
    verdict = replace(result, candidates=made).verdict()
    assert "helped, by" in verdict
    assert "(class-balanced) has 0.810" in verdict


@pytest.mark.more
@pytest.mark.parametrize(
    "own",
    [
        NeuronTuneClassifier(0.4, min_misclassified=1, max_cost=None, C=0.01, random_state=0),
        GridSearchCV(
            make_pipeline(MinMaxScaler(), RidgeClassifier()), {"ridgeclassifier__alpha": [0.1, 10]}
        ),
    ],
    ids=["NeuronTune", "search over a pipeline"],
)
def test_own_estimator_is_the_faithful_pipeline(few, own, tmp_path):
    """debias equals the steps done by hand: embed, standardise, fit, fold, put back."""
    train, validation, _ = few
    model, out = FrozenModel.load(DIGITS), tmp_path / "out"
    result = run(train, validation, method=own, max_cost=1.0, out=out)
    assert result.chosen.name == "yours"
    assert json.loads((out / "result.json").read_text(encoding="utf-8"))["chosen"] == "yours"
    Z, Z_val = (OnnxEmbedder(model, device="cpu").transform(X) for X, _ in (train, validation))
    mean, std = Z.mean(axis=0, dtype=float), Z.std(axis=0, dtype=float)
    std[std == 0] = 1
    scaled, scaled_val = (((each - mean) / std).astype(Z.dtype) for each in (Z, Z_val))
    found = FrozenModel.load(out / "debiased.onnx").head.predict(Z_val)
    if isinstance(own, NeuronTuneClassifier):
        clf = clone(own).set_params(head=model.head.scaled(std, -mean / std))
        clf.fit(scaled, train[1], X_val=scaled_val, y_val=validation[1])
        by_hand = clf.head_.scaled(1 / std, mean)
        assert np.allclose(result.head.coef, by_hand.coef, atol=1e-5)
        assert np.allclose(
            result.head.predict_proba(Z_val), by_hand.predict_proba(Z_val), atol=1e-4
        )
    else:
        clf = clone(own).fit(scaled, train[1])
        assert result.suppressed.tolist() == []
    assert np.array_equal(found, result.head.predict(Z_val))
    same = head_of(result.estimator).predict(scaled_val) == clf.predict(scaled_val)
    assert np.mean(same) > 0.995  # but for ties


def test_new_head_for_other_labels(few):
    """The plain one, where nobody ordered more."""
    names = np.array(["small", "large"])
    train, validation, test = [(s[0], names[s[1]], *s[2:]) for s in few]
    model = FrozenModel.load(DIGITS)
    head = type(model.head)(np.ones((5, model.head.n_neurons)), np.zeros(5), np.arange(5))
    wide = model.with_head(head)
    with pytest.raises(InputError, match="new-head"):
        debias(wide, train, validation, device="cpu")
    result = debias(
        wide, train, validation, test=test, settings=DebiasSettings(new_head=True), **QUICK
    )
    assert result.candidates[0].name == "ERM head"
    assert "no method was ordered" in result.headline() or result.written
    assert result.model.head.classes.tolist() == ["large", "small"]
    assert result.model.outputs[0].shape[-1] == 2
    assert any("has 2 classes, and the original head has 5" in note for note in result.notes)


def nothing(*_, **__):
    pytest.fail("it began to work")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t, h: ((t[0], t[1] + 3), (h[0], h[1] + 3)),
            r"\(3, 4\) has the class 3 .and 1 more., which the model's head \(0, 1\) lacks",
        ),
        (lambda t, h: ((t[0], t[1] * 0), (h[0], h[1] * 0)), "only one class"),
        (lambda t, h: (t, (h[0], h[1] * 0)), "no sample of class 1 of the training set"),
        (lambda t, h: (t, (h[0][:, :, :5], h[1])), "has shape"),
        (lambda t, h: (t, (h[0][:-1], h[1])), "labels"),
        (lambda t, h: (t, (np.where(h[0] > 0.9, np.nan, h[0]), h[1])), "NaN or infinite"),
        (lambda t, h: ((t[0] * 0, t[1]), h), "are the same"),
        (lambda t, h: ((t[0] * np.nan, t[1]), h), "hold only NaN"),
        (lambda t, h: ((t[0], 1 - t[1]), (h[0], 1 - h[1])), "order|below|guessing"),
        (lambda t, h: (([t[0][0]] * 3, [0, 1, 1]), h), "1 sample of class 0"),
        (lambda t, h: ("nowhere.npz", h), "does not exist"),
        (lambda t, h: (t[0], h), r"\(X, y\)"),
        (lambda t, h: (t, Samples(h[0])), "no labels"),
        (lambda t, h: (t, (h[0], None)), "no labels"),
    ],
)
def test_bad_input_gets_one_sentence_and_writes_nothing(few, tmp_path, change, message):
    train, validation = change(*few[:2])
    with pytest.raises(InputError, match=message):
        debias(DIGITS, train, validation, device="cpu", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": 7}, r"or a classifier\. Got "),
        ({"method": AutoDebiasClassifier}, r"or a classifier\. Got "),
        ({"method": "magic"}, "no candidate 'magic'"),
        ({"method": "luck"}, "worst_class_accuracy"),
        ({"max_cost": 3}, "from 0 to 1"),
    ],
)
def test_wrong_options_are_refused_before_the_work(options, message, monkeypatch):
    monkeypatch.setattr(FrozenModel, "load", nothing)
    with pytest.raises(InputError, match=message):
        debias(DIGITS, None, None, **options)


def test_what_is_not_linear_is_refused(few, tmp_path):
    with pytest.raises(InputError, match="GaussianNB is not one linear layer"):
        run(*few[:2], method=GaussianNB(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tables_of_embeddings_by_path(tmp_path):
    """The model's inputs decide which columns of a table go into it, in Python as well."""
    rng, paths = np.random.default_rng(0), []
    for name in ("train", "validation"):
        y = rng.integers(0, 2, 300)
        Z = (rng.normal(size=(300, 3)) + y[:, None]).astype(np.float32)
        rows = (f"{i},{a},{b},{c},{k}" for i, ((a, b, c), k) in enumerate(zip(Z, y, strict=True)))
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text("\n".join(["row,a,b,c,label", *rows]))
    write_onnx(to_onnx(BalancedClassifier().fit(Z, y)), tmp_path / "head.onnx")
    result = debias(tmp_path / "head.onnx", *paths, method="auto", **QUICK)
    assert result.head.n_neurons == 3
    assert sum("left out the column 'row'" in note for note in result.notes) == 2


# -- folders ------------------------------------------------------------------------------------


def test_folders_that_hold_something_else_are_refused(few, written, tmp_path, monkeypatch):
    """A model that an earlier run wrote is ntkit's own file, and yet the only copy."""
    out, link, mine = tmp_path / "out", tmp_path / "link.onnx", tmp_path / "mine"
    shutil.copytree(written.path, out)
    link.symlink_to(out / "debiased.onnx")
    before = models.contents(out)
    for model in (out / "debiased.onnx", link):
        with pytest.raises(InputError, match=r"out contains .*an input of this job"):
            debias(model, *few[:2], device="cpu", out=out, force=True)
    assert models.contents(out) == before
    mine.mkdir()
    (mine / "thesis").write_text("precious")
    monkeypatch.setattr(OnnxEmbedder, "transform", nothing)
    with pytest.raises(InputError, match="--force"):
        run(*few[:2], out=mine)
    assert (mine / "thesis").read_text() == "precious"
    with pytest.raises(InputError, match="does not exist"):
        run(*few[:2], out=tmp_path / "no" / "such")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"not enough disk space for .*new: it needs about 16\.9"):
        run(*few[:2], out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_force_replaces_what_ntkit_wrote_and_verified_and_nothing_else(few, written, tmp_path):
    def again():
        return run(*few[:2], out=out, force=True, method="class-balanced")

    def fail(*_, **__):
        raise VerificationError("differs")

    out = shutil.copytree(written.path, tmp_path / "out")
    before = models.contents(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ntkit.jobs.debias._job.save_verified", fail)
        with pytest.raises(VerificationError):
            again()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert models.contents(out) == before
    (out / "thesis.txt").write_text("precious")
    before = models.contents(out)
    with pytest.raises(InputError, match=r"out contains thesis\.txt, which ntkit did not write"):
        again()
    assert models.contents(out) == before
    (out / "thesis.txt").unlink()
    (out / "README.md").write_text("My notes on this model")
    with pytest.raises(InputError, match=r"README\.md, which ntkit wrote, but somebody changed"):
        again()
    (out / "README.md").unlink()
    assert again().chosen.name == "class-balanced"
    assert json.loads((out / "result.json").read_text())["chosen"] == "class-balanced"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.more
def test_answers_of_a_person_outlive_force_and_the_run_can_go_on(few, written, tmp_path):
    """Twice: a name on the command line that the folder has an answer on stays one answer."""
    out = shutil.copytree(written.path, tmp_path / "out")
    named = {"out": out, "spurious": "image:top left brightness above the median"}
    run(*few[:2], **named, settings=DebiasSettings(resume=out, otherwise="new head"))
    before = models.contents(out)
    with pytest.raises(InputError, match=r"answers\.json, which --force does not replace.*--from"):
        run(*few[:2], **named, force=True)
    assert models.contents(out) == before
    for _ in range(2):
        run(*few[:2], **named, settings=DebiasSettings(resume=out, otherwise="new head"))
        (answer,) = read_answers(out / "answers.json").answers
        assert (answer.name, answer.answer) == (named["spurious"], "spurious")


# -- samples in two sets ------------------------------------------------------------------------


def test_names_in_a_config_json_decide_not_the_alphabet(few, tmp_path):
    names = np.array(["zero to four", "five to nine"])
    model = shutil.copy(DIGITS, tmp_path / "model.onnx")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(names))}))
    sets = [(X, names[y]) for X, y in few[:2]]
    result = debias(
        model,
        *sets,
        method="class-balanced",
        settings=DebiasSettings(otherwise="new head"),
        **QUICK,
    )
    assert result.model.head.classes.tolist() == names.tolist()
    assert "sorted order" not in " ".join(result.notes)
    assert min(c.average for c in result.candidates) > 0.5  # of original and new heads


def test_samples_in_two_sets_are_counted_one_by_one(few, written, tmp_path):
    """Of a model without class names; labels as text stand for its classes in sorted order."""
    names = np.array(["a: 0-4", "b: 5-9"])
    train, validation, _ = ((part[0], names[part[1]]) for part in few)
    again = tuple(np.concatenate([validation[i], train[i][:12]]) for i in (0, 1))
    result = run(train, again, test=(train[0][:9], train[1][:9]), method="class-balanced")
    assert result.head.classes.tolist() == names.tolist()
    notes = " ".join(result.notes)
    assert "sorted order" in notes
    said = f"12 of {len(again[1])} validation samples (5.7 %) are also in the training set"
    assert f"{said}, by content, so ntkit left them out there" in notes
    said = "9 of 9 test samples (100 %) are also in the validation set, by content"
    assert f"{said}: the test set does not judge" in notes
    assert "Test set" not in str(result)
    assert "also in" not in " ".join(written.notes)
    embedder = OnnxEmbedder(DIGITS, device="cpu")
    stores = {"train": train, "validation": validation, "half": [each[:100] for each in train]}
    for name, (X, y) in stores.items():
        EmbeddingStore.write(tmp_path / name, embedder, Samples(X, y))
    sets = [tmp_path / name for name in stores]
    notes = run(*sets[:2], test=sets[2], method="class-balanced").notes
    assert [n for n in notes if "also in" in n] == [
        "100 of 100 test samples (100 %) are also in the training set, by embedding: the test set "
        "does not judge."
    ]


def test_image_files_that_are_rows_of_an_array_do_not_judge(few, tmp_path):
    train, validation, _ = few
    folder = write_images(tmp_path / "train", *train, names=("0", "1"))
    files = read_samples(
        folder, preprocessing=ImagePreprocessing.for_model(FrozenModel.load(DIGITS))
    )
    test = (files.X[:][::4] * np.float32(1 + 1e-6), files.y[::4])  # decoded elsewhere
    result = run(folder, validation, test=test, method="class-balanced")
    said = "(100 %) are also in the training set, by embedding: the test set does not judge."
    assert said in " ".join(result.notes)
    assert "Test set" not in str(result)


@pytest.mark.parametrize("C", [1e-3, 0.5])
def test_a_penalty_of_the_user_is_that_of_balanced_groups_too(sets, C):
    """The head is scikit-learn's optimum of the balanced rows with this C."""
    train, validation, _ = sets
    name, both = (
        "image:top left brightness above the median",
        [Samples(*train), Samples(*validation)],
    )
    mark = AttributeReader(both).values(name)
    settings = DebiasSettings(C=C, interpolation=1.0, otherwise="new head")
    result = debias(DIGITS, train, validation, spurious=name, settings=settings, device="cpu")
    assert result.chosen.name == "group-balanced"
    embedder = OnnxEmbedder(DIGITS, device="cpu")
    Z, first = (
        embedder.transform(X).astype(float)
        for X in (np.concatenate([train[0], validation[0]]), train[0])
    )
    mean, std = first.mean(axis=0), first.std(axis=0)
    std[std == 0] = 1
    y = np.concatenate([train[1], validation[1]])
    weight = group_balanced(np.ones(len(y)), y, mark[:, None])
    wanted = LogisticRegression(C=C, max_iter=5000, tol=1e-8).fit((Z - mean) / std, y, weight)
    margin = result.head.decision_function(Z)
    margin = margin[:, 1] - margin[:, 0] if margin.ndim == 2 else margin
    assert np.allclose(margin, wanted.decision_function((Z - mean) / std), rtol=0.01, atol=0.02)


@pytest.mark.parametrize("same", ["train", "validation", "test"])
def test_numbers_of_float16_are_those_of_float32(few, same):
    """Rounded to half precision, samples of one set are still those of another."""
    train, validation, test = few
    half = (train[0].astype(np.float16), train[1])
    sets = {"train": (train, validation, test), "validation": (train, half, test)}
    sets["test"] = train, validation, half
    first, second, third = sets[same]
    result = run(first, second, test=third, method="class-balanced")
    said = "in the training set, by embedding"
    assert (said in " ".join(result.notes)) == (same != "train")
    assert ("Test set" in str(result)) == (same != "test")


def test_nothing_is_shown_on_samples_that_trained_the_head(few, tmp_path):
    result = run(few[0], few[0], method="auto", settings=DebiasSettings(), out=tmp_path / "out")
    assert not result.helped
    assert "100 % of the validation samples are in the training set" in result.headline()
    assert "are also in the training set" in "\n".join(str(result).splitlines()[4:6])
    assert not (tmp_path / "out" / "debiased.onnx").exists()


# -- inputs that are likely not the model's own ---------------------------------------------------

HINT = "preprocessing may differ from the model's.*--preprocessing.*ntkit parity.*--trust-inputs"


@pytest.fixture(scope="module")
def folders(sets, tmp_path_factory):
    """Images of both sets, of the first under other names, and others of its names and labels."""
    place = tmp_path_factory.mktemp("images")
    (X, y), (other, of_other) = (tuple(each[:240] for each in part) for part in sets[:2])
    made = {"train": (X, y), "validation": (other, of_other), "copies": (X[::-1], y[::-1])}
    made |= {"namesakes": (other, y)}
    return {name: write_images(place / name, *arrays) for name, arrays in made.items()}


@pytest.mark.parametrize(
    ("mean", "std", "problem"),
    [
        (2, 1, "right on none of the .* of class 'zlarge'"),
        (0.5, 0.5, "mean class accuracy on the validation set is .*; guessing has"),
    ],
)
def test_wrong_preprocessing_stops_it(folders, mean, std, problem):
    steps = ImagePreprocessing((20, 20), channels=1, mean=(mean,), std=(std,))
    wrong = {"preprocessing": steps, "device": "cpu"}
    settings = DebiasSettings(preprocessing=steps)
    sets = folders["train"], folders["validation"]
    with pytest.raises(InputError, match=f"{problem}.*{HINT}"):
        debias(DIGITS, *sets, method="neurontune", settings=settings, device="cpu")
    if mean == 2:
        with pytest.raises(InputError, match=f"{problem}.*{HINT}"):
            audit_model(DIGITS, folders["validation"], **wrong)
        trusted = audit_model(DIGITS, folders["validation"], **wrong, trust_inputs=True, changes=0)
        assert any("guessing" in note for note in trusted.notes)


@pytest.mark.more
def test_quiet_hides_no_assumption_and_no_overlap(folders, tmp_path, run):
    """The command goes on if told to, and says what is doubtful on either stream."""
    job = ["debias", DIGITS, "--train", folders["train"], "--validation", folders["copies"]]
    job += ["--test", folders["namesakes"], "--quiet", "--method", "class-balanced"]
    code, _, err = run(*job, "-o", tmp_path / "no", "--preprocessing", "mean=2", "--device", "cpu")
    assert (code, "right on none" in err) == (2, True)
    for more in ([], ["--preprocessing", "mean=2", *settings(trust_inputs=True), "--json"]):
        place = tmp_path / f"out{len(more)}"
        code, out, err = run(*job, "-o", place, *more, "--device", "cpu")
        assert code in (0, 1), err
        told = err if more else out
        table = (place / "table.md").read_text("utf-8")
        assert "Images: resized to 20 x 20" in (told if more else table)
        assert ("right on none" in told) == bool(more)
        assert "240 of 240 validation samples (100 %) are also in the training set" in told
        assert "test samples" not in told  # those of equal names are others


@pytest.mark.parametrize(
    ("n_of_class", "n_right", "stops"),
    [
        ((300, 300), (150, 150), False),  # a shortcut alone decides; in both classes, on one side
        ((300, 300), (300, 6), True),  # nearly always the same class
        ((300, 3), (290, 0), False),  # too few to tell
        ((300, 20), (290, 0), True),
    ],
)
def test_a_biased_model_and_a_tiny_class_go_on(n_of_class, n_right, stops):
    y = np.repeat([0, 1], n_of_class)
    right = np.concatenate([np.arange(n) < k for n, k in zip(n_of_class, n_right, strict=True)])
    pred, good = np.where(right, y, 1 - y), np.tile([0, 1], 300)
    assert (like_a_guess(y, pred, 2, (good, good)) is not None) == stops
    assert (like_a_guess(y, pred, 2) is not None) == stops


# -- one run reads the model once, looks for its head once, and hands its sessions on ---

OPENED = []
sys.addaudithook(lambda event, args: OPENED.append(str(args[0])) if event == "open" else None)


@contextmanager
def counted(path):
    """How often the file is opened, and the functions that search and make sessions are called."""
    calls, found = Counter(), {}

    def note(frame, event, argument):
        if event == "call":
            calls[frame.f_code.co_name] += 1

    OPENED.clear()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)
    found |= {"opened": OPENED.count(str(path)), "searched": calls["find_head"]}
    found["sessions"] = calls["make_session"]


@pytest.mark.more
def test_a_repair_reads_the_model_once(few, tmp_path):
    train, validation, test = few
    given = shutil.copy(DIGITS, tmp_path / "given.onnx")
    with counted(given) as found:
        audit_model(given, validation, device="cpu")
    assert found == {"opened": 1, "searched": 1, "sessions": 3}
    options = {"test": test, "spurious": "image:top left brightness high"} | QUICK
    with counted(given) as found:
        result = debias(
            given,
            train,
            validation,
            settings=DebiasSettings(otherwise="new head"),
            out=tmp_path / "out",
            **options,
        )
    assert result.written
    # The graph with the new head is searched too, and the written file, when it is read back; once
    # more for the limits of a check that belong to it, if the head is better.
    assert found == {"opened": 1, "searched": 3 + (result.limits is not None), "sessions": 3}


def test_embeddings_whose_squares_overflow_are_refused(tmp_path):
    path = rows_of_label.write_model(tmp_path / "model.onnx")
    X, y, _ = rows_of_label.rows()
    large = X * np.float32(1e20)
    with pytest.raises(InputError, match="embedding of the train set has values up to"):
        debias(path, (large, y), (large[:100] + 1e18, y[:100]), method="auto", **QUICK)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"otherwise": "new_head"}, "'original', 'new head' or None. Got 'new_head'"),
        ({"C": -1}, "C must be a number above 0, or None. Got -1"),
        ({"C": "1"}, "C must be a number above 0, or None. Got '1'"),
        ({"random_state": -1}, "random_state must be a whole number from 0. Got -1"),
        ({"random_state": None}, "random_state must be a whole number from 0. Got None"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, says, sets):
    with pytest.raises(InputError, match=re.escape(says)):
        DebiasSettings(**wrong)
    with pytest.raises(InputError, match="not dict; pass settings=DebiasSettings"):
        debias(DIGITS, *sets[:2], settings=wrong)


def test_former_keywords_are_settings_for_one_release(sets):
    """Each former keyword does what its setting does, and a warning names the new place."""
    train, validation, _ = sets
    job = {"method": "class-balanced", "device": "cpu"}
    settings = DebiasSettings(C=0.01, random_state=3, otherwise="new head")
    now = debias(DIGITS, train, validation, settings=settings, **job)
    with pytest.warns(FutureWarning) as warned:
        before = debias(
            DIGITS, train, validation, C=0.01, random_state=3, even_if_worse=True, n_random=2, **job
        )
    assert np.array_equal(before.head.coef, now.head.coef)
    says = [str(each.message) for each in warned]
    assert len(says) == 4
    assert "Pass settings=DebiasSettings(C=…)." in says[0]
    assert 'DebiasSettings(otherwise="new head")' in says[2]
    with pytest.raises(TypeError, match="unexpected keyword argument 'labl'"):
        debias(DIGITS, train, validation, labl="even", **job)


@pytest.mark.parametrize("method", [DFRClassifier(), GroupDROClassifier(), GroupInference()])
def test_a_method_that_needs_groups_is_refused_in_a_sentence(few, method):
    for spurious in (None, "image:top left brightness high"):
        with pytest.raises(InputError, match=r"needs groups.*spurious= or attribute="):
            run(*few[:2], method=method, spurious=spurious)


def test_leace_erases_errors_whether_something_is_named_or_not(few):
    """And never the groups that judge it."""
    options = {"method": LEACEClassifier()}
    alone = run(*few[:2], **options)
    named = run(*few[:2], spurious="image:top left brightness high", **options)
    grouped = [(X, y, np.arange(len(y)) % 4) for X, y, *_ in few[:2]]
    judged = run(*grouped, **options)
    for other in (named, judged):
        np.testing.assert_allclose(other.estimator.coef_, alone.estimator.coef_)
