"""Two models on the same samples: what is matched, what is refused, and which slices are read."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper

import ntkit
from ntkit import FrozenModel
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore, read_samples
from ntkit.head import LinearHead
from tests import models, texts

LOOSE = {"max_drop": 90}


@pytest.fixture
def old(tmp_path):
    return FrozenModel.load(permuted(tmp_path, [0, 1, 2], None, "old.onnx"))


def check(old, new, data, **options):
    return ntkit.check(old, new, data, device="cpu", **options)


def labelled(model, n=300, classes=None):
    """Inputs, and what the model itself says of them."""
    X = models.inputs(n)
    index = models.run(model.path, X)["logits"].argmax(axis=1)
    return X, index if classes is None else np.asarray(classes)[index]


def permuted(tmp_path, order, names, name="new.onnx"):
    """A classifier that predicts each class as often, its logits in some order."""
    graph = models.body()
    W, _ = models.weights(3)
    b = -np.median(models.embedding(models.classifier(3), models.inputs(300)) @ W.T, axis=0)
    graph.constant("fc.weight", W[order])
    graph.constant("fc.bias", b[order])
    graph.add("Gemm", ["z", "fc.weight", "fc.bias"], "logits", transB=1)
    graph.output("logits", ["batch", 3])
    model = graph.model()
    helper.set_model_props(model, {} if names is None else {"names": json.dumps(names)})
    return models.save(model, tmp_path / name)


def test_a_model_in_its_own_place_breaks_nothing(old):
    found = check(old, old, labelled(old), limits={"max_drop": 5, "max_new_errors": 5})
    assert len(found.new_errors) == 0
    assert {row.change for row in found.rows} == {0.0}
    assert found.average.outcome == "pass"


def test_a_better_model_passes_and_the_reverse_fails(digits):
    model = FrozenModel.load(marked_digits_model_path())
    suppressed = model.with_head(model.head.scaled(np.arange(64) % 2 == 0))
    data = (digits.X_test, digits.y_test, digits.groups_test)
    there = check(suppressed, model, data, limits={"max_drop": 1})
    back = check(model, suppressed, data, limits={"max_drop": 1})
    for row in there.rows:
        other = back.row(row.title)
        assert row.change == pytest.approx(-other.change)
        assert (row.new_errors, row.fixed) == (other.fixed, other.new_errors)
    right = model.head.predict(ntkit.OnnxEmbedder(model, device="cpu").transform(digits.X_test))
    assert there.average.accuracy == np.mean(right == digits.y_test)
    assert back.exit_code == 1


def test_classes_in_another_order_are_matched_by_their_names(tmp_path):
    names = ["cat", "dog", "eel"]
    first = permuted(tmp_path, [0, 1, 2], names, "old.onnx")
    second = permuted(tmp_path, [2, 0, 1], ["eel", "cat", "dog"])
    data = labelled(FrozenModel.load(first), classes=names)
    found = check(first, second, data, limits=LOOSE)
    assert found.average.before == found.average.accuracy == 1.0
    assert len(found.new_errors) == 0


def test_an_old_model_that_is_misread_is_refused(tmp_path):
    first = permuted(tmp_path, [0, 1, 2], None, "old.onnx")
    second = permuted(tmp_path, [2, 0, 1], None)
    data = labelled(FrozenModel.load(first))
    with pytest.raises(InputError, match=r"new\.onnx: .* another order"):
        check(second, first, data, limits=LOOSE)
    found = check(first, second, data, limits=LOOSE)  # the new one fails by itself
    assert found.exit_code == 1
    assert any("another order" in note for note in found.notes)
    sure = FrozenModel.load(second, classes=[0, 1, 2])
    assert check(sure, first, data, limits={"average": 99}).exit_code == 0


def test_names_are_lent_to_a_model_that_has_none(tmp_path):
    names = ["cat", "dog", "eel"]
    first = permuted(tmp_path, [0, 1, 2], names, "old.onnx")
    second = permuted(tmp_path, [0, 1, 2], None)
    data = labelled(FrozenModel.load(first), classes=names)
    found = check(first, second, data, limits=LOOSE)
    assert found.average.accuracy == 1.0
    assert any("takes those of the first model" in note for note in found.notes)


def test_more_classes_than_before(old, tmp_path):
    wider = models.save(models.classifier(4), tmp_path / "four.onnx")
    X, y = labelled(old)
    found = check(old, wider, (X, y), limits={"worst_class": 1.5})
    assert found.row("class 3").n == 0
    assert found.row("class 3").outcome == "too few"
    assert found.exit_code in (1, 3)


def test_labels_that_a_model_does_not_know(old, tmp_path):
    narrow = models.save(models.classifier(2), tmp_path / "two.onnx")
    X, y = labelled(old)
    with pytest.raises(InputError, match=r"has the class 2, which two\.onnx \(0, 1\) lacks"):
        check(old, narrow, (X, y), limits=LOOSE)
    with pytest.raises(InputError, match=r"has the class 7, which old\.onnx"):
        check(None, old, (X, np.where(y == 2, 7, y)), limits={"average": 80})


def test_models_of_other_inputs(old, tmp_path):
    other = onnx.load(old.path)
    other.graph.input[0].name = other.graph.node[0].input[0] = "w"
    file = models.save(other, tmp_path / "renamed.onnx")
    X, y = labelled(old)
    found = check(old, file, (X, y), limits=LOOSE)  # one array fits any one input
    assert found.average.accuracy == 1.0
    assert any("take different inputs" in note for note in found.notes)
    with pytest.raises(InputError, match="also needs the input 'w'"):
        check(old, file, ({"x": X}, y), limits=LOOSE)


def test_inputs_of_another_width(old, tmp_path):
    X, y = labelled(old)
    with pytest.raises(InputError, match=r"has shape \(batch, 1, 20, 20\)"):
        check(old, marked_digits_model_path(), (X[y < 2], y[y < 2]), limits=LOOSE)


def test_nan_is_named(old):
    X, y = labelled(old)
    X[7] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinite \(rows \[7\]\)"):
        check(old, old, (X, y), limits=LOOSE)


def test_no_labels_no_samples_no_limits(old):
    X, y = labelled(old)
    with pytest.raises(InputError, match="no labels"):
        check(old, old, (X, None), limits=LOOSE)
    with pytest.raises(InputError, match="no samples"):
        check(old, old, (X[:0], y[:0]), limits=LOOSE)
    with pytest.raises(InputError, match="No limit is set"):
        check(None, old, (X, y))
    with pytest.raises(InputError, match="have none"):
        check(None, old, (X, y), limits={"worst_group": 80})
    for kind in ("slice", "group"):  # of which there are none: everything would pass
        with pytest.raises(InputError, match=f"samples have no {kind}"):
            check(old, old, (X, y), limits={"max_drop": 2, "over": (kind, "average")})


def test_without_limits_two_models_may_lose_five_points(old):
    found = check(old, old, labelled(old))
    assert {v.bound for row in found.rows for v in row.verdicts} == {0.05}
    assert any("a drop of 5 percentage points" in note for note in found.notes)


def test_groups_of_some_rows_only(old):
    X, y = labelled(old)
    groups = np.where(np.arange(300) % 3 == 0, "-1", "known")
    found = check(old, old, (X, y, groups), limits=LOOSE)
    assert [(row.title, row.n) for row in found.rows if row.kind == "group"] == [
        ("group known", 200)
    ]
    assert any("100 of 300 samples have an unknown group" in n for n in found.notes)


# -- slices -------------------------------------------------------------------------------------


@pytest.fixture
def table(old, tmp_path):
    """A table of the model's inputs, with a site that some rows lack."""
    X, y = labelled(old)
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(6)])
    frame["label"] = y
    frame["id"] = [f"s{i}" for i in range(300)]
    frame["site"] = np.where(np.arange(300) % 10 == 0, None, np.where(np.arange(300) < 3, "B", "A"))
    frame.to_csv(tmp_path / "data.csv", index=False)
    columns = [f"f{i}" for i in range(6)]
    return read_samples(tmp_path / "data.csv", inputs=old.inputs, columns=columns, keep_table=True)


def test_slices_of_a_table(old, table):
    found = check(
        old, old, table, limits={"max_drop": 5, "slices": {"column:site": {"accuracy": 80}}},
        slices=["column:f0>=0", "column:site=C", "metadata:site=A", "column:site missing"],
    )  # fmt: skip
    whole = [row for row in found.rows if row.kind == "slice" and row.within is None]
    sizes = {row.name: (row.n, row.outcome) for row in whole}
    above = int((table.X[:, 0] >= 0).sum())
    assert sizes == {
        "column:site=A": (268, "pass"),
        "column:site=B": (2, "too few"),  # row 0 has no site
        "column:f0>=0": (above, "pass"),
        "column:site=C": (0, "too few"),
        "metadata:site=A": (268, "pass"),
        "column:site missing": (30, "too few"),
    }
    assert [v.limit for v in found.row("column:site=B").verdicts] == ["accuracy", "max_drop"]
    assert any("column:site=C" in note for note in found.notes)  # says that nobody has it
    assert found.exit_code == 3


def test_limits_of_a_value_go_before_those_of_its_column(old, table):
    own = {"column:site=A": {"accuracy": 60}, "column:site": {"accuracy": 90}}
    for slices in (own, dict(reversed(own.items()))):
        found = check(None, old, table, limits={"slices": slices})
        assert found.row("column:site=A").verdicts[0].bound == 0.6
        assert found.row("column:site=B").verdicts[0].bound == 0.9


def test_metadata_that_lack_rows(old, table, tmp_path):
    (tmp_path / "m.csv").write_text("id,device\n" + "".join(f"s{i},new\n" for i in range(200)))
    found = check(old, old, table, limits=LOOSE, slices=["metadata:device"],
                  metadata=tmp_path / "m.csv")  # fmt: skip
    assert found.row("metadata:device=new").n == 200
    found = check(old, old, table, limits=LOOSE, metadata=tmp_path / "m.csv")
    assert any("metadata are not used" in note for note in found.notes)


def test_answers_of_an_audit_are_classes_by_sides(old, table, tmp_path):
    answers = [
        {"name": "column:site=B", "answer": "spurious"},
        {"name": "column:f0>=0", "answer": "legitimate"},
        {"name": "layer:relu #3", "answer": "spurious"},
    ]
    file = tmp_path / "answers.json"
    file.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": answers}))
    found = check(old, old, table, limits=LOOSE, answers=file)
    rows = [row for row in found.rows if row.kind == "slice"]
    assert [row.name for row in rows] == [
        f"{label} × {side}" for side in ("column:site=B", "not column:site=B") for label in range(3)
    ]
    assert sum(row.n for row in rows) == 270  # of the others the site is not known
    assert any("layer:relu #3 makes no slice" in note for note in found.notes)
    answers = [{"name": "column:site", "answer": "spurious"}]
    file.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": answers}))
    found = check(old, old, table, limits=LOOSE, answers=file)
    rows = [row for row in found.rows if row.kind == "slice"]
    assert {row.name.partition(" × ")[2] for row in rows} == {"column:site=A", "column:site=B"}
    assert sum(row.n for row in rows) == 270


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("word:film", "needs texts"),
        ("column:sight=A", "no column 'sight'"),
        ("column:f0", "different values"),
        ("nonsense", "cannot be read"),
        ("image:brightness high", "needs images"),
    ],
)
def test_slices_that_cannot_be_read(old, table, name, told):
    with pytest.raises(InputError, match=told):
        check(old, old, table, limits=LOOSE, slices=[name])


def test_a_store_of_embeddings(old, table, tmp_path):
    store = EmbeddingStore.write(tmp_path / "s.store", ntkit.OnnxEmbedder(old, device="cpu"), table)
    head = old.head.scaled(np.arange(5) != 1)
    old.with_head(head, provenance={"source_sha256": old.sha256()}).save(tmp_path / "new.onnx")
    of_store = check(old, tmp_path / "new.onnx", store.path, limits=LOOSE)
    of_table = check(old, tmp_path / "new.onnx", table, limits=LOOSE)
    assert of_store.new_errors.tolist() == of_table.new_errors.tolist() != []
    other = permuted(tmp_path, [0, 1, 2], ["0", "1", "2"], "other.onnx")
    with pytest.raises(InputError, match="was made with another model"):
        check(old, other, store.path, limits=LOOSE)


# -- texts --------------------------------------------------------------------------------------


@pytest.fixture
def reviews(tmp_path):
    """A text model with its tokenizer, a copy in another folder, and a table."""
    backbone = texts.text_model(tmp_path / "old")
    texts.word_pieces().save(str(tmp_path / "old" / "tokenizer.json"))
    head = LinearHead(np.random.default_rng(1).normal(size=(2, 6)), [0.0, 0.1], [0, 1])
    backbone.with_head(head).save(tmp_path / "old" / "model.onnx", force=True)
    (tmp_path / "new").mkdir()
    suppressed = head.scaled(np.arange(6) != 2)
    backbone.with_head(suppressed).save(tmp_path / "new" / "debiased.onnx")
    rng = np.random.default_rng(0)
    words = [word for word in texts.WORDS if word.isalpha()]
    rows = [" ".join(rng.choice(words, rng.integers(2, 12))) for _ in range(300)]
    (tmp_path / "data.csv").write_text(
        "text,label\n" + "".join(f"{text},{i % 2}\n" for i, text in enumerate(rows))
    )
    return tmp_path, rows


def test_texts_and_their_words(reviews):
    """The new model has no tokenizer, so it gets the inputs of the old one."""
    folder, rows = reviews
    found = check(
        folder / "old" / "model.onnx", folder / "new" / "debiased.onnx", folder / "data.csv",
        limits=LOOSE, slices=["word:fox", "word:nobody"],
    )  # fmt: skip
    assert found.row("word:fox").n == sum("fox" in text.split() for text in rows)
    assert found.row("word:nobody").outcome == "too few"
    assert found.title == "debiased.onnx compared with model.onnx"
    before = ntkit.predict(folder / "old" / "model.onnx", folder / "data.csv", device="cpu")
    assert found.average.before == np.mean(before.labels == before.y)


def test_another_tokenizer_of_the_new_model_is_its_own(reviews):
    folder, _ = reviews
    with (folder / "old" / "tokenizer.json").open() as file:
        content = json.load(file)
    content["normalizer"]["lowercase"] = False
    (folder / "new" / "tokenizer.json").write_text(json.dumps(content))
    found = check(
        folder / "old" / "model.onnx", folder / "new" / "debiased.onnx", folder / "data.csv",
        limits=LOOSE,
    )  # fmt: skip
    assert any("different preprocessing" in note for note in found.notes)
