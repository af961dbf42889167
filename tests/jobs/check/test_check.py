"""Two models on the same samples: what is matched, what is refused, and which slices are read."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper

import ntkit
from ntkit import FrozenModel
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import TextPreprocessing, read_samples
from ntkit.head import LinearHead
from ntkit.store import EmbeddingStore
from tests import models, texts

LOOSE = {"max_drop": 90}
NAMES = ["cat", "dog", "eel"]
X = models.inputs(300)


def permuted(folder, order, names, name="new.onnx"):
    """A classifier that predicts each class as often, its logits in some order."""
    graph = models.body()
    W, _ = models.weights(3)
    b = -np.median(models.embedding(models.classifier(3), X) @ W.T, axis=0)
    graph.constant("fc.weight", W[order])
    graph.constant("fc.bias", b[order])
    graph.add("Gemm", ["z", "fc.weight", "fc.bias"], "logits", transB=1)
    graph.output("logits", ["batch", 3])
    return FrozenModel.load(models.save(graph.model(), folder / name, names))


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return permuted(tmp_path_factory.mktemp("old"), [0, 1, 2], None, "old.onnx")


@pytest.fixture(scope="module")
def y(old):
    """What the model itself says of the inputs."""
    return models.run(old.path, X)["logits"].argmax(axis=1)


def check(old, new, data, limits=LOOSE, **options):
    return ntkit.check(old, new, data, limits=limits, device="cpu", **options)


def test_a_model_in_its_own_place_breaks_nothing(old, y):
    groups = np.where(np.arange(300) % 3 == 0, "-1", "known")
    found = check(old, old, (X, y, groups), {"max_drop": 5, "max_new_errors": 5})
    assert len(found.new_errors) == 0
    assert {row.change for row in found.rows} == {0.0}
    assert found.average.outcome == "pass"
    assert [(row.title, row.n) for row in found.rows][-1:] == [("group known", 200)]
    assert any("100 of 300 samples have an unknown group" in n for n in found.notes)
    found = check(old, old, (X, y), None)  # without limits, two models may lose five points
    assert {v.bound for row in found.rows for v in row.verdicts} == {0.05}
    assert any("a drop of 5 percentage points" in note for note in found.notes)


def test_a_better_model_passes_and_the_reverse_fails(digits):
    model = FrozenModel.load(marked_digits_model_path())
    suppressed = model.with_head(model.head.scaled(np.arange(64) % 2 == 0))
    data = [part[:400] for part in (digits.X_test, digits.y_test, digits.groups_test)]
    limits = {"max_drop": 1, "over": "average"}
    there, back = (check(*both, tuple(data), limits)
                   for both in ((suppressed, model), (model, suppressed)))  # fmt: skip
    for row in there.rows:
        other = back.row(row.title)
        assert row.change == pytest.approx(-other.change)
        assert (row.lost, row.gained) == (other.gained, other.lost)
    right = model.head.predict(ntkit.OnnxEmbedder(model, device="cpu").transform(data[0]))
    assert there.average.value == np.mean(right == data[1])
    assert back.exit_code == 1


def test_classes_are_matched_by_name_and_lent_to_a_model_that_has_none(tmp_path, y):
    first = permuted(tmp_path, [0, 1, 2], NAMES, "old.onnx")
    second = permuted(tmp_path, [2, 0, 1], ["eel", "cat", "dog"])
    data = X, np.asarray(NAMES)[y]
    found = check(first, second, data)
    assert found.average.before == found.average.value == 1.0
    assert len(found.new_errors) == 0
    found = check(first, permuted(tmp_path, [0, 1, 2], None, "none.onnx"), data)
    assert found.average.value == 1.0
    assert any("takes those of the first model" in note for note in found.notes)


def test_an_old_model_without_names_is_not_read_in_the_order_of_the_new_one(tmp_path, y):
    plain = permuted(tmp_path, [0, 1, 2], None, "plain.onnx").path
    data = X, np.asarray(NAMES)[y]
    turned = permuted(tmp_path, [2, 0, 1], ["eel", "cat", "dog"], "turned.onnx").path
    with pytest.raises(InputError, match=r"plain\.onnx does not name its classes.*--classes"):
        check(plain, turned, data)
    sure = FrozenModel.load(plain, classes=NAMES)
    assert check(sure, turned, data).average.before == 1
    same = permuted(tmp_path, [0, 1, 2], NAMES, "same.onnx").path
    found = check(plain, same, data)
    assert found.average.before == 1
    assert any("used the labels in sorted order" in note for note in found.notes)
    few = y != 2  # labels without a class do not name all
    found = check(plain, same, (X[few], data[1][few]))
    assert found.average.before == 1
    assert any("takes those of the second model" in note for note in found.notes)
    misread = permuted(tmp_path, [1, 0, 2], NAMES, "misread.onnx").path
    with pytest.raises(InputError, match="another order"):
        check(permuted(tmp_path, [1, 0, 2], None, "odd.onnx").path, misread, (X[few], data[1][few]))


def test_classes_that_overrule_those_of_the_old_file_are_said(tmp_path, y):
    old = permuted(tmp_path, [2, 0, 1], ["eel", "cat", "dog"], "old.onnx").path
    new, data = permuted(tmp_path, [0, 1, 2], NAMES), (X, np.asarray(NAMES)[y])
    for classes, n in ((NAMES, 1), (["eel", "cat", "dog"], 0)):
        found = check(FrozenModel.load(old, classes=classes), new, data)
        assert sum("file has them in another order" in note for note in found.notes) == n


def test_a_model_that_ntkit_made_from_another_has_its_order(tmp_path, y):
    plain = permuted(tmp_path, [2, 0, 1], None, "plain.onnx")
    named = FrozenModel.load(plain.path, classes=["eel", "cat", "dog"])
    made = named.with_head(named.head).save(tmp_path / "made.onnx")
    found = check(plain.path, made, (X, np.asarray(NAMES)[y]))
    assert found.average.before == found.average.value == 1


def test_an_old_model_that_is_misread_is_refused(tmp_path, old, y):
    second = permuted(tmp_path, [2, 0, 1], None)
    with pytest.raises(InputError, match=r"new\.onnx: .* another order"):
        check(second, old, (X, y))
    found = check(old, second, (X, y))  # the new one fails by itself
    assert found.exit_code == 1
    assert any("another order" in note for note in found.notes)
    sure = FrozenModel.load(second.path, classes=[0, 1, 2])
    assert check(sure, old, (X, y), {"average": 99}).exit_code == 0
    named = [
        permuted(tmp_path, order, NAMES, f"{order[0]}.onnx") for order in ([2, 0, 1], [0, 1, 2])
    ]
    data = X, np.asarray(NAMES)[y]  # labels are evidence against names in a file as well
    with pytest.raises(InputError, match=r"2\.onnx: .* another order"):
        check(*named, data)
    sure = FrozenModel.load(named[0].path, classes=NAMES)
    assert check(sure, named[1], data, {"average": 99}).exit_code == 0


def test_more_classes_than_before(old, y, tmp_path):
    wider = models.save(models.classifier(4), tmp_path / "four.onnx")
    found = check(old, wider, (X, y), {"worst_class": 1.5})
    assert found.row("class 3").n == 0
    assert found.row("class 3").outcome == "too few"
    assert found.exit_code in (1, 3)


def test_models_of_other_inputs(old, y, tmp_path):
    other = onnx.load(old.path)
    other.graph.input[0].name = other.graph.node[0].input[0] = "w"
    file = models.save(other, tmp_path / "renamed.onnx")
    found = check(old, file, (X, y))  # one array fits any one input
    assert found.average.value == 1.0
    assert not any("take different inputs" in note for note in found.notes)
    with pytest.raises(InputError, match="also needs the input 'w'"):
        check(old, file, ({"x": X}, y))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"new": "two.onnx"}, r"has the class 2, which two\.onnx \(0, 1\) lacks"),
        ({"old": None, "y": np.full(300, 7)}, r"has the class 7, which old\.onnx"),
        ({"new": marked_digits_model_path(), "y": np.arange(300) % 2}, r"shape \(batch, 1, 20, 20"),
        ({"X": np.where(np.arange(300)[:, None] == 7, np.nan, X)}, r"infinite \(rows \[7\]\)"),
        ({"y": None}, "no labels"),
        ({"X": X[:0], "y": []}, "no samples"),
        ({"old": None, "limits": None}, "No limit is set"),
        ({"old": None, "limits": {"worst_group": 80}}, "have none"),
        ({"slices": ["word:film"]}, "needs texts"),
        ({"slices": ["column:sight=A"]}, "no column 'sight'"),
        ({"slices": ["column:f0"]}, "different values"),
        ({"slices": ["nonsense"]}, "cannot be read"),
        ({"slices": ["image:brightness high"]}, "needs images"),
    ],
)
def test_refused(old, y, table, tmp_path, monkeypatch, change, told):
    monkeypatch.chdir(tmp_path)
    models.save(models.classifier(2), tmp_path / "two.onnx")
    if change.get("old", old) is None:
        change = {"limits": {"average": 80}} | change
    options = {"old": old, "new": old, "X": X, "y": y} | change
    data = options.pop("X"), options.pop("y")
    with pytest.raises(InputError, match=told):
        check(data=table if "slices" in change else data, **options)


# -- slices -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(old, y, tmp_path_factory):
    """A table of the model's inputs, with a site that some rows lack."""
    columns = [f"f{i}" for i in range(6)]
    frame = pd.DataFrame(X, columns=columns)
    frame["label"], frame["id"] = y, [f"s{i}" for i in range(300)]
    frame["site"] = np.where(np.arange(300) % 10 == 0, None, np.where(np.arange(300) < 3, "B", "A"))
    path = tmp_path_factory.mktemp("table") / "data.csv"
    frame.to_csv(path, index=False)
    return read_samples(path, inputs=old.inputs, columns=columns)


def test_slices_of_some_rows_of_a_table_are_of_these(old, table):
    """In any order, and not of as many rows of the file."""
    order = np.random.default_rng(0).permutation(300)
    for rows in (order, order[:200]):
        found = check(old, old, table.take(rows), slices=["metadata:site"], limits={"average": 50})
        in_site = rows[table.table.columns["site"][rows] == "A"]
        right = ntkit.predict(old, table.X[in_site], device="cpu").labels == table.y[in_site]
        row = found.row("metadata:site=A")
        assert (row.n, row.value) == (len(in_site), pytest.approx(np.mean(right)))


def test_slices_of_a_table(old, table):
    found = check(
        old, old, table, {"max_drop": 5, "slices": {"column:site": {"accuracy": 80}}},
        slices=["column:f0>=0", "column:site=C", "metadata:site=A", "column:site missing"],
    )  # fmt: skip
    whole = [row for row in found.rows if row.kind == "slice" and row.within is None]
    sizes = {row.name: (row.n, row.outcome) for row in whole}
    above = int((table.X[:, 0] >= 0).sum())
    assert sizes == {
        "column:site=A": (268, "pass"),
        "column:site=B": (2, "too few"),  # row 0 has no site
        "column:f0>=0": (above, "pass"),
        "column:site=C": (0, "pass"),  # both models predict alike on all samples
        "metadata:site=A": (268, "pass"),
        "column:site missing": (30, "pass"),
    }
    assert [v.limit for v in found.row("column:site=B").verdicts] == ["accuracy", "max_drop"]
    assert any("column:site=C" in note for note in found.notes)  # says that nobody has it
    assert found.exit_code == 3
    own = {"column:site=A": {"accuracy": 60}, "column:site": {"accuracy": 90}}
    for slices in (own, dict(reversed(own.items()))):  # limits of a value precede its column's
        found = check(None, old, table, {"slices": slices})
        assert found.row("column:site=A").verdicts[0].bound == 0.6
        assert found.row("column:site=B").verdicts[0].bound == 0.9
    whole = {"column:site": {"accuracy": 90, "min_recall": {"0": 50, "1": 50}}}
    for more in ({}, {"column:site=B": {}}, {"column:site=B": {"min_recall": {"0": 60}}}):
        found = check(None, old, table, {"slices": whole | more}, slices=["column:site=B"])
        assert found.row("column:site=B").verdicts[0].bound == 0.9  # those that it does not state
        bounds = {r.title: r.verdicts[0].bound for r in found.rates if "site=B" in r.title}
        assert [*bounds.values()] == [0.6 if any(more.values()) else 0.5, 0.5]


@pytest.mark.parametrize(
    "written", [[True, False], ["TRUE", "FALSE"], ["true", "false"], ["1", "0"]]
)
def test_a_truth_value_is_named_in_any_case(old, y, written):
    metadata = {"vip": np.resize(written, 300)}
    names = ["1"] if written[0] == "1" else ["True", "TRUE", "true"]
    for name in (f"metadata:vip={each}" for each in names):
        found = check(None, old, (X, y), {"average": 5}, slices=[name], metadata=metadata)
        assert found.row(name).n == 150


def test_a_value_that_others_differ_from_only_in_writing_is_told(old, y):
    """Also if it is the only one that is named, and once only."""
    metadata = {"town": np.resize(["Café", "CAFÉ", "Rue", "Rue"], 300)}
    one, other = ("metadata:town=Café", "metadata:town=CAFÉ")
    told = (
        "Values of 'metadata:town' that differ only in writing count separately: 'CAFÉ' and 'Café'."
    )

    def noted(*slices):
        options = {"limits": {"average": 5}, "slices": slices, "metadata": metadata}
        return [note for note in check(None, old, (X, y), **options).notes if "writing" in note]

    assert noted(one) == noted(other) == noted(one, "metadata:town=Rue") == [told]
    assert noted("metadata:town=Rue") == []
    for slices in ((one, other), ("metadata:town",)):
        assert [note.partition(" ")[0] for note in noted(*slices)] == ["Slices"]


def test_metadata_that_lack_rows(old, table, tmp_path):
    file = tmp_path / "m.csv"
    file.write_text("id,device\n" + "".join(f"s{i},new\n" for i in range(200)))
    found = check(None, old, table, {"average": 5}, slices=["metadata:device"], metadata=file)
    assert found.row("metadata:device=new").n == 200
    found = check(None, old, table, {"average": 5}, metadata=file)
    assert any("metadata are not used" in note for note in found.notes)


def test_metadata_that_replace_a_column_of_the_samples_are_told(old, table):
    metadata = pd.DataFrame({"id": [f"s{i}" for i in range(300)], "site": ["A", "B"] * 150})
    options = {"limits": {"average": 5}, "metadata": metadata.assign(device="new")}
    told = "The metadata replace columns of the same names in the table: 'site'."
    found = check(None, old, table, slices=["metadata:site=B"], **options)
    assert (found.row("metadata:site=B").n, [*found.notes].count(told)) == (150, 1)
    found = check(None, old, table, slices=["metadata:device", "column:site=B"], **options)
    assert (found.row("column:site=B").n, [*found.notes].count(told)) == (2, 0)


def test_answers_of_an_audit_are_classes_by_sides(old, table, tmp_path):
    file = tmp_path / "answers.json"

    def slices_of(**answers):
        answers = [{"name": name, "answer": answer} for name, answer in answers.items()]
        file.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": answers}))
        found = check(None, old, table, {"average": 5}, answers=file)
        return found, [row for row in found.rows if row.kind == "slice"]

    found, rows = slices_of(
        **{"column:site=B": "spurious", "column:f0>=0": "legitimate", "layer:relu #3": "spurious"}
    )
    assert [row.name for row in rows] == [
        f"{label} × {side}" for side in ("column:site=B", "not column:site=B") for label in range(3)
    ]
    assert sum(row.n for row in rows) == 270  # of the others the site is not known
    assert any("layer:relu #3 makes no slice" in note for note in found.notes)
    both = {
        "name": "column:site=B",
        "answer": "spurious",
        "values": [["column:site=B", "layer:relu #3 high"]],
    }
    file.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": [both]}))
    found = check(None, old, table, {"average": 5}, answers=file)
    assert any("leave out 'layer:relu #3 high': it is an att" in note for note in found.notes)
    _, rows = slices_of(**{"column:site": "spurious"})
    assert {row.name.partition(" × ")[2] for row in rows} == {"column:site=A", "column:site=B"}
    assert sum(row.n for row in rows) == 270


def test_values_of_an_answer_that_samples_have_together_are_refused(old, table, tmp_path):
    """A threshold holds every higher one, so the higher one would be an empty slice."""
    file = tmp_path / "answers.json"
    both = {"name": "column:f0>=0", "answer": "spurious"}
    both["values"] = [["column:f0>=0"], ["column:f0>=-1"]]
    file.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": [both]}))
    with pytest.raises(InputError, match="have both 'column:f0>=0' and 'column:f0>=-1'"):
        check(None, old, table, {"average": 5}, answers=file)
    for names in ("column:f0>=0|column:f0>=-1", "column:f0>=-1|column:f0>=0"):
        with pytest.raises(InputError, match="they are not two values of one attribute"):
            check(None, old, table, {"average": 5}, slices=[names])


def test_answers_with_one_value_of_two_findings_make_slices_of_each(old, table, tmp_path):
    file = tmp_path / "answers.json"
    one = {"name": "column:site=A", "answer": "spurious"}
    other = {"name": "column:f0>=0", "answer": "spurious"}
    other["values"] = [["column:f0>=0"], ["column:site=A"]]
    sizes = []
    for answers in ([one], [one, other], [other, one]):
        file.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": answers}))
        found = check(None, old, table, {"average": 5}, answers=file)
        sizes.append(sorted(row.n for row in found.rows if row.kind == "slice"))
    assert len(sizes[1]) == len(sizes[0]) + 6
    assert not [n for n in sizes[0] if n not in sizes[1]]
    assert sizes[1] == sizes[2]


def test_metadata_of_copies_are_shared_if_limits_name_the_slice(old, y):
    data, site = (np.tile(X[:100], (2, 1)), np.tile(y[:100], 2)), [None] * 100 + ["B"] * 100
    metadata = {"site": np.array(site, dtype=object)}
    limits = {"average": 5, "slices": {"metadata:site=B": {}}}
    for options in ({"limits": limits}, {"slices": ["metadata:site=B"], "limits": {"average": 5}}):
        found = check(None, old, data, metadata=metadata, **options)
        assert found.row("metadata:site=B").n == 100


def test_a_store_of_embeddings(old, table, tmp_path):
    store = EmbeddingStore.write(tmp_path / "s.store", ntkit.OnnxEmbedder(old, device="cpu"), table)
    head = old.head.scaled(np.arange(5) != 1)
    old.with_head(head, provenance={"source_sha256": old.sha256()}).save(tmp_path / "new.onnx")
    of_store, of_table = (check(old, tmp_path / "new.onnx", each) for each in (store.path, table))
    assert of_store.new_errors.tolist() == of_table.new_errors.tolist() != []
    other = permuted(tmp_path, [0, 1, 2], ["0", "1", "2"], "other.onnx")
    with pytest.raises(InputError, match="was made with another model"):
        check(old, other, store.path)


# -- texts --------------------------------------------------------------------------------------


def test_texts_their_words_and_their_tokenizers(tmp_path):
    """A new model without a tokenizer gets the inputs of the old one."""
    backbone = texts.text_model(tmp_path / "old")
    texts.word_pieces().save(str(tmp_path / "old" / "tokenizer.json"))
    head = LinearHead(np.random.default_rng(1).normal(size=(2, 6)), [0.0, 0.1], [0, 1])
    backbone.with_head(head).save(tmp_path / "old" / "model.onnx", force=True)
    (tmp_path / "new").mkdir()
    backbone.with_head(head.scaled(np.arange(6) != 2)).save(tmp_path / "new" / "debiased.onnx")
    rng = np.random.default_rng(0)
    words = [word for word in texts.WORDS if word.isalpha()]
    rows = [" ".join(rng.choice(words, rng.integers(2, 12))) for _ in range(300)]
    rows = [*dict.fromkeys(rows)]
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "".join(f"{text},{i % 2}\n" for i, text in enumerate(rows)))
    both = tmp_path / "old" / "model.onnx", tmp_path / "new" / "debiased.onnx", data
    found = check(*both, slices=["word:fox", "word:nobody"])
    assert found.row("word:fox").n == sum("fox" in text.split() for text in rows)
    assert found.row("word:nobody").outcome == "too few"
    assert found.title == "debiased.onnx compared with model.onnx"
    slices = ["word:fox|word:dog", "not word:fox", "not (word:fox and word:dog)"]
    found = check(*both, slices=slices, limits={"max_drop": 90, "slices": {slices[0]: {}}})
    has = np.array([[word in text.split() for word in ("fox", "dog")] for text in rows])
    one = has.sum(axis=1) == 1
    assert found.row(f"word:fox of {slices[0]}").n == (has[:, 0] & one).sum()
    assert found.row(f"word:dog of {slices[0]}").n == (has[:, 1] & one).sum()
    assert found.row(slices[1]).n == (~has[:, 0]).sum()
    assert found.row(slices[2]).n == (~has.all(axis=1)).sum()
    assert not {"word:fox", "word:dog"} & {row.name for row in found.rows}
    before = ntkit.predict(both[0], data, device="cpu")
    assert found.average.before == np.mean(before.labels == before.y)

    content = json.loads((tmp_path / "old" / "tokenizer.json").read_text())
    content["normalizer"]["lowercase"] = False
    (tmp_path / "new" / "tokenizer.json").write_text(json.dumps(content))
    assert any("different preprocessing" in note for note in check(*both).notes)


def test_texts_are_cut_where_each_model_says_itself(tmp_path):
    backbone = texts.text_model(tmp_path)
    texts.word_pieces().save(str(tmp_path / "tokenizer.json"))
    head = LinearHead(np.random.default_rng(1).normal(size=(2, 6)), [0.0, 0.1], [0, 1])
    steps, files = TextPreprocessing.for_model(backbone), {}
    for length in (None, 3, 5):
        file = files[length] = backbone.with_head(head).save(tmp_path / f"to_{length}.onnx")
        if length is not None:
            model = onnx.load(file)
            recorded = json.dumps(replace(steps, max_length=length).as_dict())
            helper.set_model_props(model, {"ntkit.preprocessing": recorded})
            onnx.save(model, file)
    rng = np.random.default_rng(0)
    words = [word for word in texts.WORDS if word.isalpha()]
    rows = [" ".join(rng.choice(words, rng.integers(4, 12))) for _ in range(400)]
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "".join(f"{row},{i % 2}\n" for i, row in enumerate(rows)))
    alone = {n: check(None, each, data, {"average": 2}).average.value for n, each in files.items()}
    assert len({*alone.values()}) == 3
    for old, new in ((3, 5), (5, 3)):
        found = check(files[old], files[new], data)
        assert (found.average.before, found.average.value) == (alone[old], alone[new])
        assert f"to_{old}.onnx: Texts: at most {old} tokens" in str(found.notes)
    for old, new in ((None, 3), (3, None)):  # the record is on one network
        found = check(files[old], files[new], data)
        assert found.average.before == found.average.value == alone[3]


def test_a_slice_of_an_image_property_says_that_its_cut_is_that_of_the_samples(digits):
    """The median of other images is another one."""
    data, model = (digits.X_test[:200], digits.y_test[:200]), marked_digits_model_path()
    name = "image:top left brightness above the median"
    found = check(model, model, data, limits={"max_drop": 50}, slices=[name])
    assert found.row(name).n == 100
    assert any("is cut by the values of these 200 samples" in note for note in found.notes)
