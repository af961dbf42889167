"""DataFrames as samples: columns count by name, as in a table, in every function."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ntkit
from ntkit import DebiasSettings, FrozenModel, NeuronTuneClassifier, OnnxEmbedder
from ntkit.changes import change_named
from ntkit.estimators import (
    AFRClassifier,
    DFRClassifier,
    GroupInference,
    SELFClassifier,
    head_of,
    match_head,
    retrain_head,
)
from ntkit.exceptions import InputError
from ntkit.extraction import Samples, read_samples
from ntkit.inspection import NeuronDisplay
from ntkit.jobs.check import check_predictions
from ntkit.jobs.label import label_samples
from ntkit.jobs.verify import check_parity
from ntkit.metrics import group_report
from ntkit.store import EmbeddingStore
from ntkit.verification import verify
from tests.models import of_columns, parsed

COLUMNS = ["f", "g", "h", "cue"]
OTHER_ORDER = ["cue", "g", "h", "f"]
CPU = {"device": "cpu"}


def draw(seed, n=300):
    """Columns of very different meaning, and labels that f and the cue agree with."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    cue = np.where(rng.random(n) < 0.9, y, 1 - y)
    X = np.column_stack([1 + y + rng.normal(size=n), rng.random(n), 3 + rng.random(n), cue])
    return pd.DataFrame(X.astype(np.float32), columns=COLUMNS), np.where(y, "pos", "neg")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model without names of columns, and the same one with them."""
    folder = tmp_path_factory.mktemp("columns")
    V, B = [[-1, 1], [0, 0], [0, 0], [-0.5, 0.5]], [1.8, -1.8]
    plain = of_columns(folder / "plain.onnx", V, B, ["neg", "pos"])
    record = {"ntkit.preprocessing": json.dumps({"columns": COLUMNS})}
    return plain, of_columns(folder / "named.onnx", V, B, ["neg", "pos"], **record)


@pytest.fixture(scope="module")
def sets():
    frame, y = draw(0)
    return (frame, y), (frame[OTHER_ORDER], y)


def test_predict_and_check_take_columns_by_name(models, sets):
    plain, named = models
    one, other = (ntkit.predict(named, each, **CPU) for each in sets)
    assert np.array_equal(one.probabilities, other.probabilities)
    assert any("'f', 'g', 'h', 'cue'" in note for note in other.notes)
    pairs = (plain, named), (named, plain)
    alike = [ntkit.check(*pair, each, **CPU) for pair in pairs for each in sets]
    assert len({result.average.value for result in alike}) == 1
    frame = sets[1][0].assign(comment="a text that the model does not read")
    more = ntkit.predict(named, frame, **CPU)
    assert np.array_equal(more.probabilities, one.probabilities)


def test_other_names_are_refused_and_numbers_are_positions(models, sets):
    named, (frame, y) = models[1], sets[0]
    for wrong in (frame.rename(columns={"f": "size"}), frame[COLUMNS[1:]]):
        with pytest.raises(InputError, match="DataFrame lacks the column 'f', which the model"):
            ntkit.predict(named, (wrong, y), **CPU)
    twice = frame.set_axis(["f", "f", "h", "cue"], axis=1)
    with pytest.raises(InputError, match="two columns of the same name"):
        ntkit.predict(named, (twice, y), **CPU)
    limits = {"limits": {"average": 50}, "slices": ["metadata:f"], **CPU}
    for facts in (twice, frame.set_axis([1, "1", "h", "cue"], axis=1)):
        for name in ("table", "metadata"):
            with pytest.raises(InputError, match="two columns of the same name, '"):
                ntkit.audit(y, y, **{name: facts})
        with pytest.raises(InputError, match="two columns of the same name, '"):
            ntkit.check(None, named, (frame, y), metadata=facts, **limits)
    assert ntkit.audit(y, y, table=frame.set_axis(["e", "f", "h", "cue"], axis=1)).findings == ()
    by_position = ntkit.predict(named, (frame, y), **CPU).probabilities
    for unnamed in (frame.to_numpy(), frame.set_axis(range(4), axis=1)):
        assert np.array_equal(ntkit.predict(named, (unnamed, y), **CPU).probabilities, by_position)


@pytest.mark.more
def test_a_repair_orders_both_sets_alike_and_records_the_columns(models, sets, tmp_path):
    plain, (frame, y) = models[0], sets[0]
    options = {
        "method": "class-balanced",
        "settings": DebiasSettings(otherwise="new head", trust_inputs=True),
        **CPU,
    }
    one, other = (
        ntkit.debias(plain, sets[0], each, out=tmp_path / f"out{i}", **options)
        for i, each in enumerate(sets)
    )
    assert np.array_equal(one.head.coef, other.head.coef)
    with pytest.raises(InputError, match="lacks the column 'f'"):
        ntkit.debias(plain, sets[0], (frame.rename(columns={"f": "size"}), y), **options)
    repaired = tmp_path / "out1" / "debiased.onnx"
    assert FrozenModel.load(repaired).inputs[0].columns == tuple(COLUMNS)
    one, other = (ntkit.predict(repaired, each, **CPU) for each in sets)
    assert np.array_equal(one.probabilities, other.probabilities)


def test_audit_and_label_and_report(models, sets, tmp_path):
    named = models[1]
    one, other = (ntkit.audit_model(named, each, changes=0, **CPU) for each in sets)
    assert one.as_dict()["accuracy"] == other.as_dict()["accuracy"]
    assert [each.name for each in one.all_findings] == [each.name for each in other.all_findings]
    pages = [tmp_path / f"{i}.html" for i in range(2)]
    for i, each in enumerate(sets):
        ntkit.write_report(*models[::-1], each, pages[i], **CPU)
        label_samples(named, each, tmp_path / f"label{i}", question="Is it so?", **CPU)
    assert pages[0].read_text(encoding="utf-8") == pages[1].read_text(encoding="utf-8")
    asked = [(tmp_path / f"label{i}" / "questions-1.csv").read_bytes() for i in range(2)]
    assert asked[0] == asked[1]


def test_embeddings_verification_and_recordings(models, sets, tmp_path):
    plain, named = models
    (frame, _), (other, _) = sets
    embedder = OnnxEmbedder(named, **CPU)
    Z = embedder.transform(frame)
    assert np.array_equal(embedder.transform(other), Z)
    assert np.array_equal(np.concatenate([*embedder.iter_batches(other)]), Z)
    with pytest.raises(InputError, match="lacks the column 'f'"):
        embedder.transform(other.rename(columns={"f": "size"}))
    store = EmbeddingStore.write(tmp_path / "store", embedder, Samples(other))
    assert np.array_equal(store.X, Z)
    head = FrozenModel.load(named).head
    logits = head.logits(Z)
    for each in (frame, other):
        result = verify(plain, named, each, head=head, **CPU)
        assert result.passed
        assert check_parity(named, {"logits": logits, "X": each}, **CPU).matched
        assert check_parity(named, {"logits": logits}, data=each, **CPU).matched


def test_samples_of_a_table_in_another_order(models, sets, tmp_path):
    """Samples that were read without the model are in the order of their table."""
    frame, y = sets[1]
    frame.assign(label=y).to_csv(tmp_path / "t.csv", index=False)
    samples = read_samples(tmp_path / "t.csv")
    assert samples.columns == tuple(OTHER_ORDER)
    right = ntkit.predict(models[1], sets[0], **CPU).probabilities
    assert np.array_equal(ntkit.predict(models[1], samples, **CPU).probabilities, right)
    own = read_samples(tmp_path / "t.csv", columns=["f", "g", "h", "cue"])
    assert np.array_equal(ntkit.predict(models[1], own, **CPU).probabilities, right)


def test_copies_of_a_frame_keep_its_names(models, sets):
    """A change of a column makes the same copies, and predictions, in any order of columns."""
    change = change_named("column:cue=0")
    one, other = (change.copies(Samples(frame), range(20))[0] for frame, _ in sets)
    assert (one.columns, other.columns) == (tuple(COLUMNS), tuple(OTHER_ORDER))
    expected = sets[0][0][:20].assign(cue=np.float32(0))[sets[0][0]["cue"][:20] != 0]
    right = ntkit.predict(models[1], expected, **CPU).probabilities
    for copies in (one, other):
        assert np.array_equal(ntkit.predict(models[1], copies, **CPU).probabilities, right)


def test_each_of_several_inputs_takes_the_column_of_its_name(tmp_path):
    text = """(float[N, 1] age, float[N, 1] size) => (float[N, 2] logits) {
        c = Concat <axis: int = 1> (age, size)
        z = Relu(c)
        logits = Gemm(z, V, B)
    }"""
    onnx.save(parsed(text, V=[[-1, 1], [0, 0]], B=[0.5, -0.5]), tmp_path / "m.onnx")
    age, size = np.linspace(0, 1, 40, dtype=np.float32), np.ones(40, np.float32)
    frame = pd.DataFrame({"size": size, "age": age})
    arrays = {"age": age[:, None], "size": size[:, None]}
    by_name, by_array = (ntkit.predict(tmp_path / "m.onnx", X, **CPU) for X in (frame, arrays))
    assert np.array_equal(by_name.probabilities, by_array.probabilities)
    with pytest.raises(InputError, match="DataFrame has no column 'age'"):
        ntkit.predict(tmp_path / "m.onnx", frame.rename(columns={"age": "years"}), **CPU)


def test_an_index_in_another_order_is_refused(models):
    """Labels that were shuffled or sorted apart from their rows belong to other samples."""
    frame, y = draw(2)
    labels = pd.Series(y, index=frame.index)
    expected = ntkit.predict(models[1], (frame, labels), **CPU)
    with pytest.raises(InputError, match="y has the samples of X in another order, by its index"):
        ntkit.predict(models[1], (frame, labels.sample(frac=1, random_state=0)), **CPU)
    with pytest.raises(InputError, match="y has the samples of X in another order"):
        ntkit.predict(models[1], Samples(frame, labels.sample(frac=1, random_state=0)), **CPU)
    part = frame[50:], labels[50:].reset_index(drop=True)  # other names, not another order
    found = ntkit.predict(models[1], part, **CPU)
    assert np.array_equal(found.y, expected.y[50:])
    assert any("y and X are matched by position; their" in note for note in found.notes)
    assert not any("by position" in note for note in expected.notes)
    other = frame[50:], labels[:250].set_axis(range(1000, 1250))
    with pytest.raises(InputError, match="y has samples that X lacks, such as 1000, by its index"):
        ntkit.predict(models[1], other, **CPU)


def test_an_index_with_a_part_of_the_samples_is_refused():
    """Rows that were left out of one table but not of the other; 0, 1, 2 … may be no names."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"y": rng.integers(0, 2, 300), "site": rng.integers(0, 3, 300)})
    frame["new"] = np.where(rng.random(300) < 0.8, frame.y, 1 - frame.y)
    one, other = frame[20:220], frame[30:230]
    limits = {"average": 50}
    says = "has samples that y(_true)? lacks, such as 220, by its index"
    with pytest.raises(InputError, match=f"pred {says}"):
        ntkit.audit(one.y, other.new, table=one[["site"]])
    with pytest.raises(InputError, match=f"table {says}"):
        ntkit.audit(one.y, one.new, table=other[["site"]])
    with pytest.raises(InputError, match=f"y_pred {says}"):
        check_predictions(one.y, other.new, limits=limits)
    with pytest.raises(InputError, match="table has samples that y lacks, such as 230"):
        ntkit.audit(one.y, one.new, table=frame[["site"]][-200:].set_axis(range(230, 430)))
    with pytest.raises(InputError, match="table has samples that y has less often, such as 21, by"):
        ntkit.audit(one.y, one.new, table=one[["site"]].set_axis([21, *range(21, 220)]))
    numbered, note = one.reset_index(drop=True), "are matched by position; their indexes differ."
    as_texts = one.set_axis(one.index.astype(str))
    with pytest.raises(InputError, match="table has the samples of y in another order"):
        ntkit.audit(one.y, one.new, table=as_texts[["site"]].sort_index())
    for table, n in ((one, 0), (numbered, 1), (as_texts, 0)):
        found = ntkit.audit(one.y, one.new, table=table[["site"]])
        assert sum(note in each for each in found.notes) == n
        checked = check_predictions(one.y, table.new, limits=limits)
        assert sum(note in each for each in checked.notes) == n
        assert checked.average.value == (one.y == one.new).mean()


def test_indexes_are_compared_with_each_other(models):
    """An index of its own in X, or in y, does not hide that two others are in different orders."""
    frame, y = draw(8)
    labels = pd.Series(y, index=frame.index + 1000)
    sites = pd.Series(np.where(frame.g > 0.5, "u", "v"), index=labels.index)
    shuffled = sites.sample(frac=1, random_state=0)
    limits = {"limits": {"average": 50}, **CPU}
    aligned, plain = (
        ntkit.check(None, models[1], (frame, labels, values), **limits)
        for values in (sites, sites.to_numpy())
    )
    assert str(aligned) == str(plain)
    says = r"has the samples of y\w* in another order, by its index"
    with pytest.raises(InputError, match=f"groups {says}"):
        ntkit.check(None, models[1], (frame, labels, shuffled), **limits)
    named = {"slices": ["metadata:site"], "metadata": pd.DataFrame({"site": shuffled})}
    with pytest.raises(InputError, match=f"metadata {says}"):
        ntkit.check(None, models[1], (frame, labels), **named, **limits)
    with pytest.raises(InputError, match=f"groups {says}"):
        DFRClassifier().fit(frame, labels, groups=shuffled)
    for values in ({"groups": shuffled}, {"attribute": shuffled}):
        with pytest.raises(InputError, match=says):
            group_report(pd.Series(y), labels, **values)
    with pytest.raises(InputError, match=f"groups {says}"):
        check_predictions(pd.Series(y), labels, groups=shuffled, limits={"average": 50})


def test_an_index_with_the_name_of_a_column_names_the_samples(models):
    """As it is in a table whose index was reset, metadata are matched by it."""
    frame, y = draw(9)
    names = pd.Index([f"k{i}" for i in range(len(y))], name="id")
    table = pd.DataFrame({"id": names, "site": np.where(frame.g > 0.5, "u", "v")})
    shuffled = table.sample(frac=1, random_state=1).reset_index(drop=True)

    def rows(data, metadata, **key):
        options = {"limits": {"average": 50}, "slices": ["metadata:site"], **key, **CPU}
        result = ntkit.check(None, models[1], data, metadata=metadata, **options)
        return [(row.name, row.n, row.value) for row in result.rows]

    expected = rows((frame, y), table[["site"]])  # row by row
    for data in ((frame.set_axis(names), y), (frame, pd.Series(y, index=names))):
        assert rows(data, shuffled) == rows(data, shuffled.set_index("id")) == expected
    data = (frame.set_axis(names.rename("key")), y)
    assert rows(data, shuffled.rename(columns={"id": "key"}), key="key") == expected
    part = rows((frame.set_axis(names), y), shuffled[:200])
    assert sum(n for name, n, _ in part if "site" in name) == 200


def test_a_validation_set_with_an_index_in_another_order_is_refused(sets):
    frame, y = sets[0]
    labels = pd.Series(y, index=frame.index)
    plain, aligned = (
        AFRClassifier(random_state=0).fit(frame, y, X_val=frame, y_val=each).coef_
        for each in (y, labels)
    )
    assert np.array_equal(plain, aligned)
    with pytest.raises(InputError, match="y_val has the samples of X_val in another order"):
        AFRClassifier().fit(frame, y, X_val=frame, y_val=labels[::-1])


def test_heads_and_inferred_attributes_compare_indexes(sets):
    frame, y = sets[0]
    labels = pd.Series(y, index=frame.index)
    known = pd.Series(np.where(np.arange(len(y)) < 150, frame.cue, -1), index=frame.index)
    retrain_head(frame, labels)
    inference = GroupInference(random_state=0).fit(frame, labels, known)
    inference.predict(frame, labels)
    with pytest.raises(InputError, match="y has the samples of X in another order"):
        retrain_head(frame, labels[::-1])
    other = "has the samples of feature_sets in another order"
    with pytest.raises(InputError, match=f"attribute {other}"):
        GroupInference().fit(frame, labels, known[::-1])
    with pytest.raises(InputError, match=f"y {other}"):
        GroupInference().fit(frame, labels[::-1], known)
    with pytest.raises(InputError, match=f"y {other}"):
        inference.predict(frame, labels[::-1])


@pytest.mark.more
@pytest.mark.parametrize("by", ["attribute", "attribute table", "metadata"])
def test_an_attribute_with_an_index_in_another_order_is_refused(models, by):
    """An index is compared also for values of several sets, and of labels next to an array."""
    sets = [draw(seed) for seed in (5, 6)]
    facts = pd.concat([frame.cue.map({0: "no", 1: "yes"}) for frame, _ in sets])
    shuffled, what = facts.sample(frac=1, random_state=0), by.split()[0]
    named = {"spurious": "metadata:mark=yes"} if by == "metadata" else {}

    def repaired(values, keep=lambda frame: frame, form=tuple):
        values = values if by == "attribute" else values.to_frame("mark")
        pairs = [form((keep(frame), pd.Series(y, index=frame.index))) for frame, y in sets]
        return ntkit.debias(models[1], *pairs, **{what: values}, **named, **CPU)

    with pytest.raises(InputError, match=f"{what} has the samples of X in another order, by"):
        repaired(shuffled, form=lambda pair: Samples(*pair))
    for keep in (lambda frame: frame, pd.DataFrame.to_numpy):
        with pytest.raises(InputError, match=f"{what} has the samples of [Xy] in another order"):
            repaired(shuffled, keep)
    aligned, plain = repaired(facts), repaired(facts.reset_index(drop=True))
    assert aligned.candidates == plain.candidates


@pytest.mark.more
@pytest.mark.parametrize("what", ["attribute", "groups"])
def test_a_repair_says_that_an_index_of_other_labels_is_matched_by_position(models, what):
    frame, y = draw(9)
    frame, y = frame.reset_index(drop=True), pd.Series(y)
    sites = pd.Series(np.where(frame.g > 0.5, "u", "v"))
    sites = sites + y.astype(str) if what == "groups" else sites
    note = f"{what} and y are matched by position; their indexes differ."
    for index, n in ((y.index, 0), (y.index + 1000, 1), (y.index.astype(str), 0)):
        values = {what: sites.set_axis(index)}
        found = ntkit.debias(models[1], (frame.to_numpy(np.float32), y), **values, **CPU)
        assert sum(note in each for each in found.notes) == n


def test_an_audit_of_arrays_compares_indexes():
    frame, y = draw(7)
    y = pd.Series(y, index=frame.index)
    shuffled = frame.sample(frac=1, random_state=0)
    whole = {"table": {name: frame[name].to_numpy() for name in frame}}
    weight = pd.Series(1.0, index=shuffled.index)
    for facts in (
        {"metadata": shuffled}, {"table": shuffled},
        {"table": {name: shuffled[name] for name in shuffled}},
        {"sample_weight": weight, **whole}, {"arrays": {"own": shuffled}},
    ):  # fmt: skip
        with pytest.raises(InputError, match="has the samples of y in another order, by its index"):
            ntkit.audit(y, np.array(y), **facts)
    with pytest.raises(InputError, match=r"^embeddings has the samples of y in another order"):
        ntkit.audit(y, embeddings=shuffled, **whole)
    assert ntkit.audit(y, np.array(y), metadata=frame).feature_sets[0].n_samples == len(y)


def test_a_check_of_predictions_compares_indexes():
    y = pd.Series(np.arange(300) % 2)
    shuffled, limits = y.sample(frac=1, random_state=0), {"limits": {"average": 50}}
    for name in ("y_pred_before", "groups", "slices"):
        values = {"site": shuffled} if name == "slices" else shuffled
        with pytest.raises(InputError, match="in another order, by its index"):
            check_predictions(y, y, **{name: values}, **limits)
        aligned = {"site": y} if name == "slices" else y
        assert check_predictions(y, y, **{name: aligned}, **limits).exit_code == 0


def test_a_head_and_new_embeddings_have_the_columns_of_the_rows(sets):
    (frame, y), (reordered, _) = sets
    head = LogisticRegression().fit(frame, y)
    same = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y)
    options = {"C": 1.0, "random_state": 0}
    for good in (head, same, head_of(head)):
        AFRClassifier(head=good, **options).fit(frame, y)
        AFRClassifier(head=good, **options).fit(frame.to_numpy(), y)
    for wrong in ({"head": head}, {"head": same}):
        with pytest.raises(InputError, match="head has the columns 'f', 'g', 'h', 'cue', and X "):
            AFRClassifier(**wrong, **options).fit(reordered, y)
    with pytest.raises(InputError, match="early_head has the columns"):
        SELFClassifier(early_head=head, random_state=0).fit(reordered, y)
    with pytest.raises(InputError, match="X_before has the columns"):
        match_head(head_of(head), reordered, frame)
    with pytest.raises(InputError, match="y has the samples of X in another order"):
        AFRClassifier(**options).fit(frame, pd.Series(y).sample(frac=1, random_state=0))


def test_an_embedder_in_a_pipeline_keeps_the_order_of_its_columns(models, sets):
    """A model that names columns decides by itself."""
    (frame, y), (reordered, _) = sets
    for model in models:
        embedder = OnnxEmbedder(model, **CPU)
        pipeline = make_pipeline(embedder, LogisticRegression()).fit(frame, y)
        wanted = pipeline.decision_function(frame)
        assert np.array_equal(pipeline.decision_function(reordered), wanted)
        assert np.array_equal(pipeline.decision_function(frame.to_numpy()), wanted)
        with pytest.raises(InputError, match="column 'f'"):
            pipeline.predict(frame.rename(columns={"f": "F"}))
    assert "feature_names_in_" not in vars(embedder.fit(frame.to_numpy()))


def test_inferred_attributes_and_plots_of_neurons_take_columns_by_name(sets):
    (frame, y), (reordered, _) = sets
    known = np.where(np.arange(len(y)) < 150, frame.cue, -1)
    inference = GroupInference(random_state=0).fit(frame, y, known)
    assert np.mean(inference.predict(frame, y) == frame.cue) > 0.9
    with pytest.raises(ValueError, match="feature names should match"):
        inference.predict(reordered, y)
    fitted = NeuronTuneClassifier(identification="train", threshold=1e9).fit(frame, y)
    ax = Figure().add_subplot()
    one, other = (
        NeuronDisplay.from_estimator(fitted, each, y, neuron="cue", ax=ax)
        for each in (frame, reordered)
    )
    assert np.array_equal(one.activations, other.activations)
    assert np.array_equal(one.y_pred, other.y_pred)


@pytest.mark.parametrize(
    "form", [pd.Series, pd.Categorical, lambda y: y.astype(object), lambda y: y[:, None]]
)
def test_labels_of_pandas_name_the_classes_of_a_model_like_arrays(models, form, tmp_path):
    model = onnx.load(models[0])
    model.metadata_props.clear()
    onnx.save(model, tmp_path / "m.onnx")
    frame, y = draw(1)
    wanted, found = (
        ntkit.predict(tmp_path / "m.onnx", (frame, each), **CPU) for each in (y, form(y))
    )
    assert wanted.classes.tolist() == found.classes.tolist() == ["neg", "pos"]
    assert wanted.notes == found.notes
    assert np.array_equal(wanted.y, found.y)


def test_columns_with_a_1_for_the_class_are_refused_in_a_sentence(models, sets):
    frame, y = sets[0]
    one_hot = (y[:, None] == np.unique(y)).astype(int)
    for use in (ntkit.predict, lambda *given, **more: ntkit.check(None, *given, **more)):
        for each in (one_hot, pd.DataFrame(one_hot)):
            with pytest.raises(InputError, match=r"have the shape \(300, 2\)\. Pass one class"):
                use(models[0], (frame, each), **CPU)
    with pytest.raises(InputError, match="Pass one class for each sample"):
        ntkit.debias(models[0], (frame, one_hot), **CPU)
