"""A DataFrame with columns that the model does not take: they name samples, as those of a file."""

import numpy as np
import onnx
import pandas as pd
import pytest

import ntkit
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.label import label_samples
from tests.models import of_columns, parsed

CPU = {"device": "cpu"}
N = 300


def numbers(folder, rng):
    """A model of two named columns."""
    V, B = [[-1, 1], [-0.5, 0.5]], [1, -1]
    record = {"ntkit.preprocessing": '{"columns": ["f", "cue"]}'}
    return of_columns(folder / "numbers.onnx", V, B, ["neg", "pos"], **record)


def inputs(folder, rng):
    """A model of two inputs, a column each."""
    body = """(float[N,1] f, float[N,1] cue) => (float[N,2] logits)
    <float[2,2] W = {-1, 1, -0.5, 0.5}, float[2] b = {1, -1}> {
        X = Concat<axis = 1>(f, cue)
        z = Relu(X)
        logits = Gemm(z, W, b)
    }"""
    model = parsed(body)
    onnx.helper.set_model_props(model, {"ntkit.classes": '["neg", "pos"]'})
    onnx.save(model, folder / "inputs.onnx")
    return folder / "inputs.onnx"


@pytest.fixture(scope="module", params=[numbers, inputs], ids=["columns", "inputs"])
def model(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("further"), None)


@pytest.fixture(scope="module")
def frame():
    """Samples whose site decides how often the model is right."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, N)
    site = rng.choice(["north", "south"], N)
    other = np.where(site == "north", rng.random(N) < 0.4, rng.random(N) < 0.05)
    f = np.where(other, 1 - y, y) * 2 - 0.0 + rng.random(N) / 4
    columns = {"id": [f"p{i}" for i in range(N)], "f": f.round(4), "cue": y * 0.1 + f / 9}
    return pd.DataFrame(columns | {"site": site, "label": np.where(y, "pos", "neg")})


def rate(model, data, metadata, **options):
    """Accuracy on the samples of the north, and the notes."""
    limits = {"slices": ["metadata:site=north"], "limits": {"average": 10}}
    done = ntkit.check(None, model, data, metadata=metadata, **limits, **options, **CPU)
    (row,) = (row for row in done.rows if row.kind == "slice")
    return (row.n, float(row.value)), done.notes


@pytest.fixture(scope="module")
def of_file(model, frame, tmp_path_factory):
    """What the file of the same table has."""
    path = tmp_path_factory.mktemp("file") / "data.csv"
    frame.drop(columns="site").to_csv(path, index=False)
    return rate(model, path, frame[["id", "site"]][::-1])[0]


@pytest.mark.parametrize(
    "also", [{}, {"key": "id"}, {"rows": 0.5}, {"labels": True}, {"numbers": True}]
)
def test_metadata_are_matched_by_a_column_that_the_model_does_not_take(
    model, frame, of_file, also, tmp_path
):
    table = frame.assign(id=10**8 + np.arange(N)) if "numbers" in also else frame
    X = table.drop(columns=["site"] if "labels" in also else ["site", "label"])
    metadata = table[["id", "site"]][::-1].reset_index(drop=True)
    options = {"key": also["key"]} if "key" in also else {}
    if "rows" in also:
        metadata = metadata[metadata.site == "north"]
    for facts in (metadata, tmp_path / "facts.csv"):
        metadata.to_csv(tmp_path / "facts.csv", index=False)
        found, notes = rate(model, (X, frame.label), facts, **options)
        assert found == of_file
        n = len(metadata)
        assert any(f"by its column 'id': it names {n} of {N} samples" in note for note in notes)


def test_another_column_is_matched_by_key_or_refused(model, frame, of_file):
    X = frame.drop(columns=["site", "label"]).rename(columns={"id": "person"})
    metadata = frame[["id", "site"]][::-1].rename(columns={"id": "person"}).reset_index(drop=True)
    assert rate(model, (X, frame.label), metadata, key="person")[0] == of_file
    with pytest.raises(InputError, match=r"another order, by its column 'person'.*--id-column"):
        rate(model, (X, frame.label), metadata)
    same = metadata[::-1].reset_index(drop=True)
    assert rate(model, (X, frame.label), same)[0] == of_file
    with pytest.raises(InputError, match=r"no column 'name'"):
        rate(model, (X, frame.label), metadata, key="name")


def test_a_column_of_both_tables_must_agree_next_to_an_index(model, frame):
    """The inputs count as well if the index has a name."""
    X = frame[["f", "cue"]].set_index(frame.id)
    metadata = frame[["f", "site"]][::-1].reset_index(drop=True)
    with pytest.raises(InputError, match="in another order, by its column 'f'"):
        rate(model, (X, frame.label.to_numpy()), metadata)


def test_columns_that_the_model_does_not_take_are_metadata(model, frame, of_file, tmp_path):
    X = frame.drop(columns=["label"])
    assert rate(model, (X, frame.label), None)[0] == of_file
    assert rate(model, Samples(X, frame.label.to_numpy()), None)[0] == of_file
    # Of rows that are the same for the model, a fact that differs is unknown.
    twice = pd.concat([X, X[:30].assign(site="east")], ignore_index=True)
    y = pd.concat([frame.label, frame.label[:30]], ignore_index=True)
    twice.assign(label=y).to_csv(tmp_path / "twice.csv", index=False)
    one, other = rate(model, (twice, y), None), rate(model, tmp_path / "twice.csv", None)
    assert one[0] == other[0]
    assert any("differ in 'site'" in note for note in one[1])


def test_labels_and_groups_are_matched_by_it(model, frame, tmp_path):
    """Those of a repair, in another order than both sets."""
    parts = [frame[:200], frame[200:].reset_index(drop=True)]
    sets = [(part.drop(columns=["site", "label"]), part.label.to_numpy()) for part in parts]
    files = []
    for i, part in enumerate(parts):
        part.drop(columns="site").to_csv(tmp_path / f"{i}.csv", index=False)
        files.append(tmp_path / f"{i}.csv")
    shuffled = frame[["id", "site"]].sample(frac=1, random_state=0).reset_index(drop=True)
    for options in (
        {"metadata": shuffled, "spurious": "metadata:site"},
        {"groups": shuffled.rename(columns={"site": "group"})},
    ):
        options |= {"method": "group-balanced", **CPU}
        one, other = (ntkit.debias(model, *data, **options) for data in (sets, files))
        assert np.array_equal(one.head.coef, other.head.coef)


def test_an_audit_of_predictions_has_metadata_in_the_order_of_the_table_or_refuses(frame):
    y, pred = frame.label, np.where(frame.f > 1, "pos", "neg")
    table, metadata = frame[["id", "f"]], frame[["id", "site"]]
    back = metadata[::-1].reset_index(drop=True)
    one, other = (
        ntkit.audit(y, pred, table=table, metadata=each).as_dict()["findings"]
        for each in (metadata, back)
    )
    assert one == other
    with pytest.raises(InputError, match=r"in another order, by its column 'id'.*ids="):
        ntkit.audit(y.to_numpy(), pred, table=table.set_index("id"), metadata=back)
    named = ntkit.audit(y, pred, table=table[["f"]], metadata=back, ids=frame.id)
    plain = ntkit.audit(y, pred, table=table[["f"]], metadata=metadata[["site"]])
    assert [one.name for one in named.findings] == [one.name for one in plain.findings]


def test_questions_about_a_data_frame_have_its_names(model, frame, tmp_path):
    """A person who looks a sample up by its id must find this sample."""
    named = frame.assign(id=np.random.default_rng(2).permutation(len(frame)))
    data = named[["id", "f", "cue"]], named.label
    label_samples(model, data, tmp_path / "asked", question="Is it odd?", **CPU)
    asked = pd.read_csv(tmp_path / "asked" / "questions-1.csv")
    of_id = named.set_index("id").loc[asked.id]
    np.testing.assert_allclose(asked.f, of_id.f, atol=1e-3)


def test_an_index_with_a_name_hides_no_column(model, frame):
    """``set_index("id")`` is a habit: columns of the model and further ones are still named."""
    y = frame.label
    plain, indexed = frame.drop(columns=["id", "label"]), frame.drop(columns="label")
    for X in (plain, indexed.set_index("id"), plain.rename_axis("patient")):
        data = X, y.set_axis(X.index)
        slices = ["column:site=north", "column:f>=0.5"]
        done = ntkit.check(None, model, data, slices=slices, limits={"average": 10}, **CPU)
        found = {row.title: row.n for row in done.rows if row.kind == "slice"}
        counts = [(frame.site == "north").sum(), (frame.f >= 0.5).sum()]
        assert found == dict(zip(slices, counts, strict=True))


def test_labels_in_another_order_say_that_rows_are(model, frame, tmp_path):
    """A table of metadata may repeat the labels; corrected ones are not another order."""
    frame[["f", "cue", "label"]].to_csv(tmp_path / "data.csv", index=False)
    facts = frame[["site", "label"]]
    found = rate(model, tmp_path / "data.csv", facts)[0]
    with pytest.raises(InputError, match="another order, by its column 'label'"):
        rate(model, tmp_path / "data.csv", facts[::-1].reset_index(drop=True))
    corrected = facts.assign(label=facts.label.where(np.arange(N) % 50 > 0, "pos"))
    assert rate(model, tmp_path / "data.csv", corrected)[0] == found


@pytest.mark.parametrize("missing", [None, np.nan, ""])
def test_a_missing_label_is_refused_where_labels_are_needed(model, frame, missing):
    """A cell that pandas reads as NaN, or that fillna emptied, is not a class."""
    X, y = frame[["f", "cue"]], frame.label.astype(object)
    y.loc[3:5] = missing
    says = "have no class for 3 samples, first in row 4"
    with pytest.raises(InputError, match=says):
        ntkit.check(None, model, (X, y), limits={"average": 10}, **CPU)
    with pytest.raises(InputError, match=says):
        ntkit.debias(model, (X, frame.label), (X, y), spurious="column:f>=0.5", **CPU)
    with pytest.raises(InputError, match=says):
        ntkit.audit_model(model, (X, y), **CPU)
    assert len(ntkit.predict(model, (X, y), **CPU)) == N
