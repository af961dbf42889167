"""Copies of a sample count once, and never judge what they fitted."""

import json
import re

import numpy as np
import onnx
import pandas as pd
import pytest
from scipy.sparse import csr_array
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import (
    DebiasSettings,
    FrozenModel,
    NeuronTuneClassifier,
    OnnxEmbedder,
    audit_model,
    check,
    check_predictions,
    debias,
    predict,
)
from ntkit import audit as ntkit_audit
from ntkit import study as _study
from ntkit.estimators import BalancedClassifier
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.export import to_onnx
from ntkit.extraction import Samples
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.label import label_samples
from ntkit.samples.copies import sample_digests
from ntkit.samples.read import read
from ntkit.scorers import CorrectnessGroupScorer
from ntkit.store import EmbeddingStore
from tests.cases import done, ntkit, write_csv, write_images
from tests.jobs.debias.conftest import DIGITS, QUICK
from tests.jobs.label.models import rows, write_model

NAMED = "metadata:patch=yes"


@pytest.fixture(scope="module")
def some(digits):
    """Validation samples of the four groups: how many of each, and how often each is there."""
    rng = np.random.default_rng(1)

    def chosen(sizes, times=1, seed=None):
        groups = digits.groups_validation
        rows = [rng.permutation(np.flatnonzero(groups == k))[:n] for k, n in enumerate(sizes)]
        rows = np.repeat(np.concatenate(rows), times)
        if seed is not None:
            rows = np.random.default_rng(seed).permutation(rows)
        patch = np.where(groups[rows] % 2 == 1, "yes", "no")
        return (digits.X_validation[rows], digits.y_validation[rows]), {"patch": patch}

    return chosen


def repeated(data, table, times, seed=None):
    """Every sample so often, in random order, but the first of each in the order that it was in."""
    rows = np.arange(len(data[1]))
    more = np.random.default_rng(seed).permutation(np.repeat(rows, times - 1))
    rows = np.concatenate([rows, more])
    return tuple(part[rows] for part in data), {n: values[rows] for n, values in table.items()}


@pytest.mark.parametrize("seed", [None, 0])
def test_copies_do_not_make_a_rare_group_large_enough(some, seed):
    """Two rare samples are too few, and so are copies of them."""
    data, table = some((120, 2, 2, 120))
    for each in ((data, table), repeated(data, table, 5, seed)):
        with pytest.raises(InputError, match=r"has 2 of 244 distinct samples.*at least 5"):
            debias(DIGITS, each[0], metadata=each[1], spurious=NAMED, **QUICK)


@pytest.mark.more
def test_a_set_of_copies_is_repaired_like_the_set(some, digits):
    data, table = some((120, 12, 12, 120))
    test = (digits.X_test[:400], digits.y_test[:400], digits.groups_test[:400])
    results = [
        debias(DIGITS, each, test=test, metadata=facts, spurious=NAMED, **QUICK)
        for each, facts in ((data, table), repeated(data, table, 3, 0))
    ]
    left = {"notes": (), "answers": ()}  # the latter have their time
    once, often = ({**json.loads(json.dumps(r.as_dict())), **left} for r in results)
    assert often == once
    said = "528 of 792 samples are copies of others. Each content counts once."
    assert said in " ".join(results[1].notes)
    assert "copies" not in " ".join(results[0].notes)


@pytest.mark.more
def test_a_sample_of_two_sets_stays_in_the_one_that_judges(some):
    data, table = some((120, 12, 12, 120))
    more, facts = some((100, 10, 10, 100))
    train = tuple(
        np.concatenate([a, b]) for a, b in zip(more, (data[0][:40], data[1][:40]), strict=True)
    )
    patch = np.concatenate([facts["patch"], table["patch"][:40], table["patch"]])
    result = debias(DIGITS, train, data, metadata={"patch": patch}, spurious=NAMED, **QUICK)
    n_shared = len({x.tobytes() for x in train[0]} & {x.tobytes() for x in data[0]})
    said = f"{n_shared} of {len(data[1])} validation samples.*left them out there"
    assert re.search(said, " ".join(result.notes))


def test_one_content_with_two_labels_is_said_whichever_comes_first(some):
    (X, y), _ = some((60, 5, 5, 60))
    two, labels = np.concatenate([X, X[:1]]), np.concatenate([y, 1 - y[:1]])
    for order in (slice(None), slice(None, None, -1)):
        data = (two[order], labels[order])
        result = check(DIGITS, DIGITS, data, limits={"max_drop": 2}, device="cpu")
        notes = " ".join(result.notes)
        assert "1 content with more than one label, such as '" in notes


def test_check_counts_each_content_once(digits):
    """40 samples are too few for a verdict, and so are copies of them."""
    X, y = digits.X_test[:40], digits.y_test[:40]
    once, often = (
        check(
            DIGITS,
            DIGITS,
            (np.tile(X, (n, 1, 1, 1)), np.tile(y, n)),
            limits={"max_drop": 2},
            device="cpu",
        )
        for n in (1, 15)
    )
    assert often.outcome == once.outcome == "too few"
    assert "560 of 600 samples are copies of others" in " ".join(often.notes)


def test_predictions_have_a_row_for_every_copy(digits):
    X = digits.X_test[:5]
    done = predict(DIGITS, np.concatenate([X, X]), device="cpu")
    assert done.labels[:5].tolist() == done.labels[5:].tolist()
    assert len(done.labels) == 10


@pytest.mark.more
def test_an_audit_and_questions_count_each_content_once(digits, tmp_path):
    X, y = digits.X_validation[:300], digits.y_validation[:300]
    often = np.concatenate([X, X[::-1]]), np.concatenate([y, y[::-1]])
    one, two = (audit_model(DIGITS, d, changes=0, device="cpu") for d in ((X, y), often))
    assert [f.as_dict() for f in one.findings] == [f.as_dict() for f in two.findings]
    question = {"question": "A bright corner?", "values": ["yes", "no"], "device": "cpu"}
    asked = [
        label_samples(DIGITS, d, tmp_path / str(i), **question).asked
        for i, d in enumerate(((X, y), often))
    ]
    assert asked[0] == asked[1]


def test_coarse_columns_are_no_copies(tmp_path, rng):
    """Equal rows with different labels are different people: each of them counts."""
    X = rng.integers(0, 5, size=(400, 2)).astype(np.float32)
    y = np.where(rng.random(400) < 0.2 + 0.15 * X[:, 0], "in", "out")
    model = two_columns(tmp_path / "model.onnx")
    result = check(model, model, (X, y), limits={"max_drop": 5}, device="cpu")
    assert result.n_samples == 400
    assert "400 of 400 samples have the inputs of others" in " ".join(result.notes)
    frame = pd.DataFrame(X, columns=["a", "b"])
    joined = ColumnTransformer([("all", StandardScaler(), ["a", "b"])])
    fitted = make_pipeline(joined, LogisticRegression()).fit(frame, y)
    of_each = [(name, FloatTensorType([None, 1])) for name in ("a", "b")]  # an input for a column
    options = {"initial_types": of_each, "options": {"zipmap": False}}
    onnx.save(convert_sklearn(fitted, **options), model)
    frame.assign(label=y).to_csv(tmp_path / "rows.csv", index=False)
    result = check(None, model, tmp_path / "rows.csv", limits={"average": 5}, device="cpu")
    assert result.n_samples == 400
    assert "have the inputs of others" in " ".join(result.notes)


def two_columns(path):
    """A model of two columns, as a file."""
    X = np.array([[0, 0], [1, 1]] * 5, dtype=np.float32)
    clf = BalancedClassifier(C=1.0).fit(X, ["out", "in"] * 5)
    onnx.save(to_onnx(clf), path)
    return path


@pytest.mark.more
def test_no_content_is_on_both_sides_of_a_fold(some, digits, monkeypatch):
    """A spy on all heads that judge: embeddings of theirs are not among those that they saw."""
    seen = {"halves": 0, "folds": 0}
    row, logits_of_folds = Comparison.row, _study.logits_of_folds

    def apart(one, two):
        assert {x.tobytes() for x in one}.isdisjoint({x.tobytes() for x in two})

    def spied_row(self, *args, **options):
        for fitted, scored in self.halves:
            apart(self.validation.X[fitted], self.validation.X[scored])
            if not self.pool.one_set:  # else folds keep apart what fits and what judges
                apart(self.train.X, self.validation.X[scored])
            seen["halves"] += 1
        return row(self, *args, **options)

    def spied_folds(rows, folds, heads):
        for fitted, tested in folds:
            apart(rows.X[fitted], rows.X[tested])
            seen["folds"] += 1
        return logits_of_folds(rows, folds, heads)

    monkeypatch.setattr(Comparison, "row", spied_row)
    monkeypatch.setattr(_study, "logits_of_folds", spied_folds)
    data, table = repeated(*some((120, 12, 12, 120)), 3, 0)
    debias(DIGITS, data, metadata=table, spurious=NAMED, **QUICK)
    debias(DIGITS, data, invariant="image:top left", **QUICK)
    debias(
        DIGITS,
        (digits.X_train[:600], digits.y_train[:600]),
        data,
        spurious="image:top left brightness above the median",
        **QUICK,
    )
    assert min(seen.values()) > 0


@pytest.mark.more
@pytest.mark.parametrize("form", ["float64", "frame", "store"])
def test_one_sample_in_two_forms_is_one(form, tmp_path, rng):
    """Numbers are those that the model takes, and an embedding stands for its sample."""
    X, y, mark = rows()
    X[:, 5] = np.where(X[:, 5] > 0, X[:, 5], 0)
    model, other = write_model(tmp_path / "model.onnx"), (np.where(X == 0, -0.0, X), y)
    if form == "frame":
        other = pd.DataFrame(X.astype(np.float64), columns=[*range(6)]), y
    elif form == "store":
        embedder = OnnxEmbedder(FrozenModel.load(model), device="cpu")
        other = EmbeddingStore.write(tmp_path / "store", embedder, Samples(X, y)).path
    named = {"attribute": np.append(mark, mark), "settings": DebiasSettings(trust_inputs=True)}
    for sets in (((X, y), other), (other, (X, y))):
        result = debias(model, *sets, **named, **QUICK)
        assert result.shared == 1
        assert not result.written


def test_facts_of_copies_complete_each_other_however_a_slice_is_named(tmp_path, digits):
    """The first copy's site is unknown; and where copies contradict each other, it stays so."""
    X, y = digits.X_test[:60], digits.y_test[:60]
    site = np.array(["A"] * 30 + ["B"] * 30, dtype=object)
    data = np.concatenate([X, X]), np.concatenate([y, y])
    limits = {"average": 2, "slices": {"metadata:site=B": {"accuracy": 2}}}
    by_limit = {"limits": limits}
    by_name = {"limits": {"average": 2}, "slices": ["metadata:site=B"]}
    for how in (by_limit, by_name):
        for first, n in (
            (np.where(site == "B", "", site), 30),
            (np.where(site == "B", "A", site), 0),
        ):
            table = {"site": np.concatenate([first, site])}
            found = check(DIGITS, DIGITS, data, metadata=table, device="cpu", **how)
            assert next((r.n for r in found.rows if r.name == "metadata:site=B"), 0) == n
            told = "Copies of 30 samples differ in 'site', which is unknown for them."
            assert (told in " ".join(found.notes)) == (n == 0)


@pytest.mark.more
def test_labels_of_copies_complete_each_other_also_across_sets(rng, tmp_path):
    """A label of a training sample is that of its copy in the validation set."""
    X, y, mark = rows(n=400)
    model = write_model(tmp_path / "model.onnx")
    train = np.concatenate([X[:200], X[200:240]]), np.append(y[:200], y[200:240])
    validation = X[200:], y[200:]
    of_train = np.append(mark[:200], mark[200:240])
    for told, n_known in ((mark[200:240], 400), (1 - mark[200:240], 360)):
        here = told if n_known < 400 else np.full(40, -1)
        of_validation = np.append(here, mark[240:])
        values = np.append(of_train, of_validation)
        result = debias(
            model,
            train,
            validation,
            attribute=values,
            settings=DebiasSettings(trust_inputs=True),
            **QUICK,
        )
        notes = " ".join(result.notes)
        assert ("Copies of 40 samples differ" in notes) == (n_known < 400)
        assert ("which are all" in notes) == (n_known == 400)


def test_rows_of_one_text_and_other_columns_are_not_copies(tmp_path):
    """A table of predictions does not say which columns its model reads."""
    n = 200
    label = ["in", "out"] * (n // 2)
    texts = [f"no comment of those {each}" for each in label]
    data = {"id": [*range(n)], "text": texts, "age": [*range(n)], "label": label}
    for name, ages in (("other", data["age"]), ("same", [30] * n)):
        write_csv(tmp_path / f"{name}.csv", data | {"age": ages})
        write_csv(tmp_path / "p.csv", {"id": data["id"], "prediction": data["label"]})
        command = ["check", "--predictions", tmp_path / "p.csv", tmp_path / f"{name}.csv"]
        _, out, _ = ntkit(*command, "--average", 50, "--json")
        assert json.loads(out)["n_samples"] == (n if name == "other" else 2)
    # A comment is not a text that a model reads, and files are different samples.
    for title, key in (("comment", "id"), ("text", "file_name")):
        renamed = {"text": title, "id": key}
        table = {renamed.get(name, name): values for name, values in data.items()}
        names = [f"{i}.png" for i in range(n)]
        write_csv(tmp_path / "same.csv", table | {"age": [30] * n, key: names})
        write_csv(tmp_path / "p.csv", {key: names, "prediction": label})
        _, out, _ = ntkit(*command, "--average", 50, "--json")
        assert json.loads(out)["n_samples"] == n


def test_facts_of_image_files_that_are_copies_complete_each_other(digits, tmp_path):
    """Those of the folder's own metadata.csv, as those that a user passes."""
    folder = write_images(tmp_path / "set", digits.X_test[:40], digits.y_test[:40])
    lines = ["file_name,site"]
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        copy = path.with_name(f"copy{path.name}")
        copy.write_bytes(path.read_bytes())
        lines += [f"{path.relative_to(folder).as_posix()}," + ("A" if i < 20 else "")]
        lines += [f"{copy.relative_to(folder).as_posix()}," + ("A" if i < 10 else "B")]
    (folder / "metadata.csv").write_text("\n".join(lines))
    names = {"slices": ["metadata:site=A", "metadata:site=B"], "device": "cpu"}
    for table in (None, folder / "metadata.csv"):
        classes = {"classes": ["zlarge", "small"]}
        model = FrozenModel.load(DIGITS, **classes)
        found = check(model, model, folder, limits={"max_drop": 90}, metadata=table, **names)
        sizes = {
            row.name: row.n for row in found.rows if row.kind == "slice" and row.within is None
        }
        assert sizes == {"metadata:site=A": 10, "metadata:site=B": 20}
        assert "Copies of 10 samples differ in 'site'" in " ".join(found.notes)


def test_an_empty_set_is_not_called_a_set_of_copies(digits):
    X, y = digits.X_validation[:40], digits.y_validation[:40]
    for sets in (((X[:0], y[:0]), (X, y)), ((X[:0], y[:0]),)):
        with pytest.raises(InputError) as refused:
            debias(DIGITS, *sets, method="auto", **QUICK)
        assert "are the same" not in str(refused.value)
    with pytest.raises(InputError, match="All 40 samples of the train set are the same"):
        debias(DIGITS, (np.zeros_like(X), y), (X, y), method="auto", **QUICK)


def test_inputs_that_are_computed_when_they_are_read_are_not_copies_across_sets(digits):
    class Computed:
        def __init__(self, X):
            self.X = X

        def __len__(self):
            return len(self.X)

        def __getitem__(self, rows):
            return self.X[rows]

    train = digits.X_train[:300], digits.y_train[:300]
    validation = digits.X_validation[:700], digits.y_validation[:700]
    results = [
        debias(DIGITS, *sets, method="class-balanced-validation", **QUICK)
        for sets in (
            (train, validation),
            [(Computed(X), y) for X, y in (train, validation)],
        )
    ]
    assert results[0].headline() == results[1].headline()
    assert "also in the" not in " ".join(results[1].notes)


def coarse_rows(n, seed):
    """Columns of 0 and 1, so that equal rows have both labels; and what nobody sees in them."""
    X, y, mark = rows(seed, n, share=0.85)
    fact = np.where(
        np.random.default_rng(seed + 50).random(n) < 0.5 + 0.3 * (2 * y - 1), "yes", "no"
    )
    return (X > [0.7, 3, 0, 0, 0, 0]).astype(np.float32), y, mark, fact


@pytest.mark.more
def test_coarse_rows_are_different_samples_in_every_fold_and_set(tmp_path):
    """They fit and judge like rows that a last digit tells apart; one set given twice is one."""
    model, noise = write_model(tmp_path / "model.onnx"), np.random.default_rng(9)
    sets = [coarse_rows(n, seed)[:3] for seed, n in enumerate((400, 300, 300))]
    fine = [(X + 1e-5 * noise.random(X.shape, dtype=np.float32), *of) for X, *of in sets]
    for n_given in (2, 1):
        results = []
        for some in (sets, fine):
            names = ("train", "validation")[:n_given]
            given = {name: each[:2] for name, each in zip(names, some, strict=False)}
            marks = np.concatenate([each[2] for each in some[:n_given]])
            more = {
                "attribute": marks,
                "settings": DebiasSettings(trust_inputs=True, otherwise="new head"),
            }
            results.append(debias(model, test=some[2][:2], **given, **more, **QUICK))
        notes = " ".join(results[0].notes)
        assert "Each of them counts" in notes
        assert "left them out" not in notes
        assert results[0].shared == 0
        np.testing.assert_allclose(results[0].head.coef, results[1].head.coef, atol=0.01)
        costs = [each.accuracy_cost.worst_named.n for each in results]
        assert costs[0] == costs[1]
    twice = debias(model, sets[0][:2], sets[0][:2], attribute=np.tile(sets[0][2], 2),
                   settings=DebiasSettings(trust_inputs=True), **QUICK)  # fmt: skip
    assert (twice.shared, twice.written) == (1, False)


def test_few_coarse_rows_are_coarse_in_every_set(tmp_path):
    """A small test set has few repeated rows of its own, and they are the same kind of rows."""
    model = write_model(tmp_path / "model.onnx")
    train, validation, test = (coarse_rows(n, seed) for seed, n in enumerate((400, 300, 16)))
    marks = np.append(train[2], validation[2])
    result = debias(model, train[:2], validation[:2], test=test[:2], attribute=marks,
                    settings=DebiasSettings(trust_inputs=True), **QUICK)  # fmt: skip
    assert "16 of 16 samples have the inputs of others" in " ".join(result.notes)
    assert "copies of others" not in " ".join(result.notes)


@pytest.mark.more
def test_copies_whose_labels_a_second_annotator_changed_are_copies(tmp_path):
    """Rows that are equal only across sets are the same samples, whatever their labels."""
    model, rng = write_model(tmp_path / "model.onnx"), np.random.default_rng(3)
    train, validation, test = (rows(seed, n, share=0.85) for seed, n in enumerate((400, 400, 200)))
    leaked = [np.concatenate([t, v[:150], u[:50]])
              for t, v, u in zip(test, validation, train, strict=True)]  # fmt: skip
    X, y, marks = validation
    y = np.where(rng.random(len(y)) < 0.3, 1 - y, y)
    options = {
        "attribute": np.append(train[2], marks),
        "settings": DebiasSettings(trust_inputs=True),
        **QUICK,
    }
    result = debias(model, train[:2], (X, y), test=tuple(leaked[:2]), **options)
    notes = " ".join(result.notes)
    assert "150 of 400 test samples (37.5 %) are also in the validation set" in notes
    assert "50 of 400 test samples (12.5 %) are also in the training set" in notes
    assert "Each of them counts" not in notes

    of_each = [coarse_rows(n, seed)[:3] for seed, n in enumerate((400, 300, 200))]
    options["attribute"] = np.append(of_each[0][2], of_each[1][2])
    result = debias(model, of_each[0][:2], of_each[1][:2], test=of_each[2][:2], **options)
    first, second, third = (set(map(bytes, np.ascontiguousarray(X))) for X, *_ in of_each)
    (told,) = [note for note in result.notes if note.startswith("The test set: ")]
    keys = [*map(bytes, np.ascontiguousarray(of_each[2][0]))]
    n_equal = sum(key in first | second for key in keys)
    assert len(third) < 70
    assert f" {n_equal} equal samples of the training or validation set." in told


@pytest.mark.more
@pytest.mark.parametrize("named", ["id", "id of each file", None])
def test_labels_of_coarse_rows_stay_with_their_samples(tmp_path, named):
    """A person labels some customers; nobody else with the same columns gets their labels."""
    model, question = write_model(tmp_path / "model.onnx"), "A VIP?"
    facts, tables = [], []
    for part, (n, first) in enumerate(((400, 0), (300, 1000))):
        X, y, _, fact = coarse_rows(n, part)
        first = first if named == "id" else 0
        ids = {} if named is None else {"id": [*range(first, first + n)]}
        columns = {f"x{i}": X[:, i] for i in range(6)}
        tables.append(write_csv(tmp_path / f"{part}.csv", ids | columns | {"label": y}))
        facts.append(fact)
    ask = ["label", model, tables[0], "-o", tmp_path / "q", "--quiet", "--batch", 60]
    done(*ask, "--question", question)
    asked = pd.read_csv(tmp_path / "q" / "questions-1.csv")
    asked[question] = facts[0][asked["id"]]
    asked.to_csv(tmp_path / "q" / "labels.csv", index=False)
    told = json.loads(done(*ask, "--json")[0])
    assert told["n_answers"] == 60
    assert sum(group["n_known"] for group in told["groups"]) == 60
    answers = tmp_path / "q" / "answers.json"
    sets = {"train": tables[0], "validation": tables[1]}
    more = {"answers": answers, "settings": DebiasSettings(trust_inputs=True)}
    result = debias(model, **sets, **more, **QUICK)
    assert "60 labels): known for 60 training and 0 validation samples" in " ".join(result.notes)

    # Another row at the top: a customer keeps the label, and a number of a row is another customer.
    lines = tables[0].read_text().splitlines()
    first = ",".join(["9999"] * (named is not None) + ["1", "0", "1", "1", "1", "0", "1"])
    tables[0].write_text("\n".join([lines[0], first, *lines[1:]]))
    if named is None:
        code, _, err = ntkit(*ask)
        assert (code, "None of 60 digests" in err) == (2, True)
        with pytest.raises(InputError, match="None of 60 digests"):
            debias(model, **sets, **more, **QUICK)
    else:
        assert json.loads(done(*ask, "--json")[0])["n_answers"] == 60

    # A file of a run that took equal rows for one sample names the samples as well.
    kept = json.loads(answers.read_text())
    digests = sample_digests(read(tables[0], FrozenModel.load(model)))
    names = [str(name) for name in pd.read_csv(tables[0]).get("id", pd.Series(range(401)))]
    content_of = dict(zip(names, digests.tolist(), strict=True))
    entries = {content_of[e["name"]]: e for e in kept["answers"]}
    kept["answers"] = [e | {"content": content.hex()} for content, e in entries.items()]
    answers.write_text(json.dumps(kept))
    if named is None:
        with pytest.raises(InputError, match=f"None of {len(entries)} digests"):
            debias(model, **sets, **more, **QUICK)
    elif named == "id":
        said = f"{len(entries)} labels): known for {len(entries)} training"
        assert said in " ".join(debias(model, **sets, **more, **QUICK).notes)


def test_estimators_tell_coarse_rows_apart():
    """Their folds are those of rows that differ in what no head can read."""
    rng = np.random.default_rng(0)
    Z = rng.integers(0, 2, (600, 4)).astype(float)
    y = (rng.random(600) < 0.2 + 0.5 * Z[:, 0]).astype(int)
    fine = Z + 1e-9 * rng.normal(size=Z.shape)
    clf = NeuronTuneClassifier(max_cost=None, random_state=0)
    with pytest.warns(SuppressionWarning):
        heads = [clf.fit(X, y).head_.coef for X in (Z, fine)]
    np.testing.assert_allclose(*heads, atol=1e-4)
    scores = [CorrectnessGroupScorer()(clf, X, y) for X in (Z, fine)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


# -- predictions in Python -------------------------------------------------------------------------


def reviews(seed, n=300):
    """Distinct texts, labels, and predictions whose errors depend on nothing."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    film = np.where(rng.random(n) < 0.65, y, 1 - y)
    wrong = rng.random(n) < 0.2
    texts = [f"review number {i} of a {('movie', 'film')[f]} was seen" for i, f in enumerate(film)]
    classes = np.array(["bad", "good"])
    return np.array(texts), classes[y], classes[np.where(wrong, 1 - y, y)]


def thrice(values):
    return np.concatenate([np.asarray(values)] * 3)


LEFT_OUT = "600 of 900 samples are copies of others. Each content counts once."


def numbers(audit):
    return json.loads(json.dumps({**audit.as_dict(), "notes": None}))


@pytest.mark.parametrize("seed", [0, 1])
def test_copies_of_texts_make_no_finding(seed):
    """Errors of 300 texts depend on nothing; three copies of each do not change that."""
    texts, y, pred = reviews(seed)
    once = ntkit_audit(y, pred, texts=texts)
    often = ntkit_audit(thrice(y), thrice(pred), texts=thrice(texts))
    assert numbers(often) == numbers(once)
    assert not often.findings
    assert often.notes == (LEFT_OUT, *once.notes)
    once, often = (
        ntkit_audit(each[1], each[2], table={"text": each[0]})
        for each in ((texts, y, pred), map(thrice, (texts, y, pred)))
        for each in [[*each]]
    )
    assert (numbers(often), often.notes) == (numbers(once), (LEFT_OUT, *once.notes))


def test_the_command_and_python_count_the_same_samples(tmp_path):
    texts, y, pred = reviews(2)
    pred = np.where(np.char.find(texts, "film") > 0, "good", pred)  # the errors depend on the word
    site = np.where(np.arange(300) % 2, "A", "B")
    parts = {"text": texts, "site": site, "label": y, "prediction": pred}
    parts = {name: thrice(values) for name, values in parts.items()}
    parts["id"] = np.array([f"r{i}" for i in range(900)])
    table = write_csv(tmp_path / "table.csv", parts)
    done("audit", "--predictions", table, table, "-o", tmp_path / "out")
    of_command = json.loads((tmp_path / "out" / "audit.json").read_text())
    found = ntkit_audit(
        parts["label"], parts["prediction"], texts=parts["text"],
        table={"site": parts["site"], "id": parts["id"]}, ids=[*parts["id"]],
    )  # fmt: skip
    assert found.findings
    assert LEFT_OUT in found.notes
    assert numbers(found)["findings"] == of_command["findings"]
    assert numbers(found)["samples"] == of_command["samples"] == 300


def test_weights_of_an_audit_are_for_all_rows_that_were_passed():
    """A fit on all rows, copies among them, is that on the distinct rows."""
    texts, y, pred = reviews(3)
    pred = np.where(np.char.find(texts, "film") > 0, "good", pred)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(300), 1 + np.arange(300) % 3))
    audits = ntkit_audit(y, pred, texts=texts), ntkit_audit(y[rows], pred[rows], texts=texts[rows])
    name = audits[0].findings[0].name
    of_each, weights = (each.weights(name) for each in audits)
    assert len(weights) == len(rows) == len(audits[1].groups(name))
    assert np.bincount(rows, weights) == pytest.approx(of_each)
    assert (audits[1].values(name) == audits[0].values(name)[rows]).all()
    assert (weights > 0).sum() == 300
    weight = np.random.default_rng(1).integers(
        0, 3, 300
    )  # of copies with one weight, the mean is it
    weighted = [
        ntkit_audit(y, pred, texts=texts, sample_weight=weight),
        ntkit_audit(y[rows], pred[rows], texts=texts[rows], sample_weight=weight[rows]),
    ]
    groups = [[(g.name, g.n, g.value) for g in each.findings[0].groups] for each in weighted]
    assert groups[1] == groups[0]
    scores = [each.findings[0].score for each in weighted]
    assert scores[1] == pytest.approx(scores[0])


@pytest.mark.parametrize("kind", ["images", "an iterator of images", "embeddings", "arrays"])
def test_copies_of_images_and_rows_count_once_in_audits(kind):
    rng = np.random.default_rng(0)
    y, images = np.arange(100) % 2, rng.integers(0, 255, (100, 8, 8)).astype(np.uint8)
    images[y == (rng.random(100) < 0.9)] //= 2
    pred = np.where(rng.random(100) < 0.3, 1 - y, y)
    Z = images.reshape(100, -1).astype(np.float32)
    given = {
        "images": lambda at: {"pred": pred[at], "images": images[at]},
        "an iterator of images": lambda at: {"pred": pred[at], "images": iter(images[at])},
        "embeddings": lambda at: {"embeddings": Z[at], "table": {"dark": Z[at].mean(axis=1)}},
        "arrays": lambda at: {"pred": pred[at], "arrays": {"pixel": Z[at]}},
    }[kind]
    rows = np.arange(100)
    once, often = (ntkit_audit(y[at], **given(at)) for at in (rows, thrice(rows)))
    assert numbers(often) == numbers(once)
    assert "200 of 300 samples are copies of others. Each content counts once." in often.notes
    assert len(often.predictions.weight) == 300


def test_metadata_in_which_copies_differ_is_unknown_in_audits():
    texts, y, pred = reviews(4)
    site = np.where(np.char.find(texts, "film") > 0, "A", "B")
    metadata = {"site": np.concatenate([site, ["B"] * 30, site[30:]])}
    audit = ntkit_audit(*(np.tile(v, 2) for v in (y, pred)), texts=np.tile(texts, 2),
                        metadata=metadata)  # fmt: skip
    n = int((site[:30] == "A").sum())
    assert f"Copies of {n} samples differ in 'site', which is unknown for them." in audit.notes
    unknown = np.tile(np.r_[site[:30] == "A", [False] * 270], 2)
    assert (audit.values("metadata:site=B")[unknown] != 1).all()


class Remembers:
    """A classifier by the first column."""

    def predict(self, X):
        return (np.asarray(X)[:, 0] > 0).astype(int)


@pytest.mark.parametrize("form", ["array", "frame", "sparse", "list"])
def test_copies_of_rows_do_not_let_a_check_pass(form):
    """Sixty rows are too few for a limit; five copies of each are too few as well."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    X[:, 0] = np.where(rng.random(60) < 0.92, 2 * y - 1, 1 - 2 * y) * np.abs(X[:, 0])
    old, group = (
        np.where(rng.random(60) < 0.1, 1 - y, y),
        np.array(["a", "b", "-1"])[y + y * (X[:, 1] > 0)],
    )
    as_form = {"array": np.asarray, "frame": pd.DataFrame, "list": lambda X: X.tolist(),
               "sparse": csr_array}[form]  # fmt: skip
    model = Remembers()
    if form == "sparse":
        model.predict = lambda X: (X.toarray()[:, 0] > 0).astype(int)
    results = [
        check_predictions(
            y[rows], model, y_pred_before=old[rows], X=as_form(X[rows]), groups=group[rows],
            slices={"s": X[rows, 1] > 0}, flips={"f": X[rows, 2] > 1.5},
            flips_before={"f": X[rows, 2] > 9}, limits={"average": 82, "max_drop": 30},
        )
        for rows in (np.arange(60), np.tile(np.arange(60), 5))
    ]  # fmt: skip
    once, often = ({**json.loads(json.dumps(r.as_dict())), "notes": None} for r in results)
    assert often == once
    assert results[1].outcome == "too few"
    assert "240 of 300 samples are copies of others. Each content counts once." in results[1].notes
    assert results[1].new_errors.tolist() == results[0].new_errors.tolist()


def test_copies_in_checks_of_classifiers_keep_their_labels_groups_and_names():
    """As in check, copies with different labels or groups count once for each."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(50, 3)), 2, axis=0)
    y = (X[:, 0] > 0).astype(int)
    y[1] = 1 - y[1]
    groups = np.array(["a"] * 100)
    groups[3] = "b"
    slices = {"s": [1, 0] * 50}
    result = check_predictions(y, Remembers(), X=X, y_pred_before=y, groups=groups, slices=slices,
                               names=[f"n{i}" for i in range(100)],
                               limits={"average": 10})  # fmt: skip
    assert result.n_samples == 52
    assert result.new_errors.tolist() == [1]
    assert tuple(result.new_error_names) == ("n1",)
    told = " ".join(result.notes)
    assert "48 of 100 samples are copies of others" in told
    assert "1 content with more than one label, such as '0'" in told
    assert "Copies of 48 samples differ in 's', which is unknown for them." in told
    several = np.stack([y, 1 - y], axis=1).astype(float)
    several[5] = np.nan  # known of its copy
    found = check_predictions(
        several, np.stack([y, 1 - y], axis=1), y_pred_before=Both(), X=X, labels=["p", "q"],
        limits={"average": 10},
    )  # fmt: skip
    assert found.n_samples == 51
    texts = [f"text {i}" for i in range(40)] * 3
    of_texts = check_predictions([0, 1] * 60, OfTexts(), X=texts, limits={"average": 10})
    assert of_texts.n_samples == 40


class Both:
    def predict(self, X):
        first = (X[:, 0] > 0).astype(int)
        return np.stack([first, 1 - first], axis=1)


class OfTexts:
    def predict(self, X):
        return np.array([int(text[-1]) % 2 for text in X])
