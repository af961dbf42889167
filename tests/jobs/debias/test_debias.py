"""A repair from start to end, on the included model."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image
from sklearn.base import clone

from ntkit import FrozenModel, NeuronTuneClassifier, OnnxEmbedder, debias
from ntkit.datasets import marked_digits_model_path
from ntkit.estimators import AutoDebiasClassifier, BalancedClassifier
from ntkit.exceptions import InputError, VerificationError
from ntkit.export import to_onnx, write_onnx
from ntkit.extraction import EmbeddingStore, Samples
from ntkit.verification import Verification
from tests import models


def run(*sets, **options):
    options.setdefault("method", "worst_class_correctness_group_accuracy")
    options.setdefault("even_if_worse", True)  # what is found to be better has tests of its own
    return debias(marked_digits_model_path(), *sets, device="cpu", **options)


@pytest.fixture(scope="module")
def sets(digits):
    return (
        (digits.X_train, digits.y_train),
        (digits.X_validation, digits.y_validation),
        (digits.X_test, digits.y_test, digits.groups_test),
    )


@pytest.fixture(scope="module")
def few(sets):
    """Enough for what does not depend on how good a head is."""
    return [tuple(each[:400] for each in part) for part in sets]


@pytest.fixture(scope="module")
def written(sets, tmp_path_factory):
    out = tmp_path_factory.mktemp("debias") / "out"
    train, validation, test = sets
    return run(train, validation, test=test, out=out)


def test_the_written_file_predicts_what_the_table_says(written, digits):
    session = ort.InferenceSession(
        str(written.path / "debiased.onnx"), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(["logits"], {"image": digits.X_test})
    pred = logits.argmax(axis=1)
    worst = min((pred == digits.y_test)[digits.groups_test == g].mean() for g in range(4))
    assert worst == pytest.approx(written.chosen.worst_group)
    assert (pred == digits.y_test).mean() == pytest.approx(written.chosen.average)
    assert worst > written.candidates[0].worst_group + 0.2


def test_the_deployment_contract_is_kept(written):
    before = FrozenModel.load(marked_digits_model_path())
    after = FrozenModel.load(written.path / "debiased.onnx")
    for fact in ("nodes", "inputs", "outputs", "opset_imports", "ir_version"):
        assert getattr(after, fact) == getattr(before, fact)
    assert isinstance(written.verification, Verification)
    assert written.verification.passed
    assert written.verification.same_nodes
    assert written.verification.embedding_difference == 0


def test_provenance_says_what_was_done(written):
    facts = FrozenModel.load(written.path / "debiased.onnx").metadata
    assert facts["ntkit.method"] == written.chosen.name
    assert json.loads(facts["ntkit.suppressed_neurons"]) == written.suppressed.tolist()
    assert facts["ntkit.source_sha256"] == FrozenModel.load(marked_digits_model_path()).sha256()
    silent = np.flatnonzero((written.head.coef == 0).all(axis=0))
    assert set(written.suppressed.tolist()) <= set(silent.tolist())


def test_table_holds_every_control(written):
    names = [c.name for c in written.candidates]
    assert names[0] == "original head"
    controls = {
        "class-balanced",
        "class-balanced-validation",
        "class-balanced-both",
        "cell-balanced",
    }
    assert controls | {"neurontune", "auto"} <= set(names)
    random = next(c for c in written.candidates if c.name.startswith("random mask"))
    assert random.n_suppressed == written.chosen.n_suppressed > 0
    assert random.spread["worst_group"] >= 0
    assert sum(c.chosen for c in written.candidates) == 1
    assert json.loads((written.path / "result.json").read_text())["chosen"] == written.chosen.name
    assert written.table() in (written.path / "table.md").read_text()
    assert not [p for p in written.path.parent.iterdir() if p.name.startswith(".ntkit")]


def test_choice_does_not_see_the_test_set_or_the_groups(sets, written):
    train, validation, _ = sets
    blind = run(train, validation)
    assert blind.chosen.name == written.chosen.name
    assert np.array_equal(blind.head.coef, written.head.coef)
    assert blind.chosen.worst_group is None
    assert any("no test set" in note for note in blind.notes)


def test_a_label_free_score_can_choose(few):
    train, validation, _ = few
    result = run(train, validation, method="worst_class_accuracy")
    rivals = [c for c in result.candidates[1:] if not c.name.startswith("random")]
    assert result.chosen.score == max(c.score for c in rivals)
    with pytest.raises(InputError, match="worst_class_accuracy"):
        run(train, validation, method="luck")


def test_method_forces_a_candidate(few):
    train, validation, _ = few
    for method in ("neurontune", "class-balanced-validation", "jtt"):
        forced = run(train, validation, method=method)
        assert forced.chosen.name == method
        assert forced.verdict()
    with pytest.raises(InputError, match="no candidate 'magic'"):
        debias(marked_digits_model_path(), train, validation, method="magic", device="cpu")


@pytest.mark.parametrize("method", [7, AutoDebiasClassifier])
def test_what_is_no_method_is_refused_before_the_work(method, monkeypatch):
    monkeypatch.setattr(FrozenModel, "load", lambda *_: pytest.fail("it began to work"))
    with pytest.raises(InputError, match=r"or a classifier\. Got "):
        debias(marked_digits_model_path(), None, None, method=method)


def test_own_estimator_is_the_faithful_pipeline(few):
    """debias equals the steps done by hand: embed, standardise, fit, fold, put back."""
    train, validation, _ = few
    model = FrozenModel.load(marked_digits_model_path())
    own = NeuronTuneClassifier.as_published(threshold=0.4, standardize=True, C=0.01, random_state=0)
    result = debias(model, train, validation, method=own, even_if_worse=True, device="cpu")
    assert result.chosen.name == "yours"
    embedder = OnnxEmbedder(model, device="cpu")
    Z, Z_val = embedder.transform(train[0]), embedder.transform(validation[0])
    mean, std = Z.mean(axis=0, dtype=float), Z.std(axis=0, dtype=float)
    std[std == 0] = 1
    clf = clone(own).set_params(head=model.head.scaled(std, -mean / std))
    clf.fit(
        ((Z - mean) / std).astype(Z.dtype),
        train[1],
        X_val=((Z_val - mean) / std).astype(Z.dtype),
        y_val=validation[1],
    )
    by_hand = clf.head_.scaled(1 / std, mean)
    assert np.allclose(result.head.coef, by_hand.coef, atol=1e-5)
    assert np.allclose(result.head.predict_proba(Z_val), by_hand.predict_proba(Z_val), atol=1e-4)


def test_embedding_stores_give_the_same_head(sets, written, tmp_path):
    train, validation, _ = sets
    embedder = OnnxEmbedder(FrozenModel.load(marked_digits_model_path()), device="cpu")
    stores = []
    for name, (X, y) in (("train", train), ("validation", validation)):
        EmbeddingStore.write(tmp_path / name, embedder, Samples(X, y))
        stores.append(tmp_path / name)
    result = run(*stores)
    assert np.array_equal(result.head.coef, written.head.coef)


def test_new_head_for_other_labels(few):
    train, validation, test = few
    names = np.array(["small", "large"])
    relabelled = [(s[0], names[s[1]], *s[2:]) for s in (train, validation, test)]
    model = FrozenModel.load(marked_digits_model_path())
    wide = model.with_head(
        type(model.head)(np.ones((5, model.head.n_neurons)), np.zeros(5), np.arange(5))
    )
    with pytest.raises(InputError, match="new-head"):
        debias(wide, *relabelled[:2], device="cpu")
    result = debias(wide, *relabelled[:2], test=relabelled[2], new_head=True, device="cpu")
    assert result.candidates[0].name == "ERM head"
    assert result.model.head.classes.tolist() == ["large", "small"]
    assert result.model.outputs[0].shape[-1] == 2
    assert any("has 2 classes, and the original head has 5" in note for note in result.notes)


def test_unnamed_classes_take_text_labels_in_sorted_order(few):
    train, validation, _ = few
    names = np.array(["a: 0-4", "b: 5-9"])
    result = debias(
        marked_digits_model_path(),
        (train[0], names[train[1]]),
        (validation[0], names[validation[1]]),
        method="auto",
        device="cpu",
    )
    assert result.head.classes.tolist() == names.tolist()
    assert any("sorted order" in note for note in result.notes)


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
        (lambda t, h: ("nowhere.npz", h), "does not exist"),
        (lambda t, h: (t[0], h), r"\(X, y\)"),
    ],
)
def test_bad_input_gets_one_sentence_and_writes_nothing(sets, tmp_path, change, message):
    train, validation = change(*sets[:2])
    with pytest.raises(InputError, match=message):
        debias(marked_digits_model_path(), train, validation, device="cpu", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_samples_without_labels_are_refused(sets):
    train, validation, _ = sets
    for bare in (Samples(validation[0]), (validation[0], None)):
        with pytest.raises(InputError, match="no labels"):
            debias(marked_digits_model_path(), train, bare, device="cpu")


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
    result = debias(tmp_path / "head.onnx", *paths, method="auto", device="cpu")
    assert result.head.n_neurons == 3
    assert sum("left out the column 'row'" in note for note in result.notes) == 2


def test_an_existing_folder_is_kept(sets, tmp_path):
    train, validation, _ = sets
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InputError, match="--force"):
        debias(marked_digits_model_path(), train, validation, device="cpu", out=tmp_path)
    assert (tmp_path / "mine").read_text() == "precious"
    with pytest.raises(InputError, match="does not exist"):
        debias(marked_digits_model_path(), train, validation, out=tmp_path / "no" / "such")


def test_a_failed_verification_leaves_nothing(few, written, tmp_path, monkeypatch):
    train, validation, _ = few

    def fail(*_, **__):
        raise VerificationError("differs")

    monkeypatch.setattr("ntkit.jobs.debias._job.save_verified", fail)
    out = tmp_path / "out"
    shutil.copytree(written.path, out)
    before = models.contents(out)
    with pytest.raises(VerificationError):
        run(train, validation, out=out, force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert models.contents(out) == before


def test_force_replaces_what_ntkit_wrote_and_nothing_else(few, written, tmp_path):
    train, validation, _ = few
    out = tmp_path / "out"
    shutil.copytree(written.path, out)

    def again():
        return run(train, validation, out=out, force=True, method="class-balanced")

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
    again()


def test_no_room_is_found_before_the_work(sets, tmp_path, monkeypatch):
    train, validation, _ = sets
    monkeypatch.setattr(OnnxEmbedder, "transform", lambda *_: pytest.fail("it began to work"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(
        InputError, match=r"not enough disk space for .*out: it needs about 16\.9 MB, and 1 kB are"
    ):
        run(train, validation, out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_what_is_read_is_never_replaced(sets, written, tmp_path):
    """The model that an earlier run wrote is ntkit's own file, and yet the only copy."""
    train, validation, _ = sets
    out, link = tmp_path / "out", tmp_path / "link.onnx"
    shutil.copytree(written.path, out)
    link.symlink_to(out / "debiased.onnx")
    before = models.contents(out)
    for model in (out / "debiased.onnx", link):
        with pytest.raises(InputError, match=r"out contains .*an input of this job"):
            debias(model, train, validation, device="cpu", out=out, force=True)
    assert models.contents(out) == before


def test_samples_in_two_sets_are_counted_one_by_one(few):
    train, validation, test = few
    again = (
        np.concatenate([validation[0], train[0][:12]]),
        np.append(validation[1], train[1][:12]),
    )
    notes = " ".join(run(train, again, test=(train[0][:9], train[1][:9])).notes)
    share = f"{1200 / len(again[1]):.1f}".removesuffix(".0")
    assert (
        f"12 of {len(again[1])} validation samples ({share} %) are also in the training set, "
        "by content: errors on the validation set are not those" in notes
    )
    assert "9 of 9 test samples (100 %) are also in the training set, by content" in notes
    assert "9 of 9 test samples (100 %) are also in the validation set, by content" in notes
    assert "also in" not in " ".join(run(train, validation, test=test).notes)


def test_files_of_equal_names_and_labels_are_not_the_same_samples(sets, tmp_path):
    """And copies under other names are."""

    def folder(name, X, y, stem):
        for i, (image, label) in enumerate(zip(X[:60], y[:60], strict=True)):
            path = tmp_path / name / str(label) / f"{stem}{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 255).round().astype(np.uint8)).save(path)
        return tmp_path / name

    (X, y), (other, _), _ = sets
    train = folder("train", X, y, "a")
    namesakes = folder("namesakes", other, y, "a")
    copies = folder("copies", X, y, "b")
    notes = run(train, namesakes, test=copies).notes
    said = [note for note in notes if "also in" in note]
    assert len(said) == 1
    assert said[0].startswith("60 of 60 test samples (100 %) are also in the training set")


def test_stores_are_compared_by_embedding(few, tmp_path):
    train, validation, _ = few
    embedder = OnnxEmbedder(marked_digits_model_path(), device="cpu")
    for name, (X, y) in {
        "train": train,
        "validation": validation,
        "half": (train[0][:300], train[1][:300]),
    }.items():
        EmbeddingStore.write(tmp_path / name, embedder, Samples(X, y))
    notes = run(tmp_path / "train", tmp_path / "validation", test=tmp_path / "half").notes
    assert [n for n in notes if "also in" in n] == [
        "300 of 300 test samples (100 %) are also in the training set, by embedding: the results "
        "are too good."
    ]
    assert not any("also in" in n for n in run(tmp_path / "train", validation).notes)  # two kinds
