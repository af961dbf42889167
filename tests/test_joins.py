"""Every table that names samples is matched in one way: what is the same, and what is refused."""

import json
import unicodedata

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import ntkit
from ntkit import FrozenModel
from ntkit.attributes.answers import content_cell
from ntkit.exceptions import InputError
from ntkit.extraction import Samples, read_samples
from ntkit.inputs.image_preprocessing import ImagePreprocessing
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.jobs.label import check_table, label_samples
from ntkit.jobs.label_tables import AnswerTable
from ntkit.samples.join import positions_in
from ntkit.samples.read import read
from tests.cases import ntkit as command
from tests.cases import read_csv, refused, write_csv
from tests.jobs.label.models import rows, write_model

N = 48
X, Y, MARK = rows(n=N)
CLASSES = np.array(["cat", "dog"])[Y]
NAMES = [f"{label}/é{i}.png" for i, label in enumerate(CLASSES)]
WRONG = np.where(np.random.default_rng(0).random(N) < 0.3, np.array(["dog", "cat"])[Y], CLASSES)
SITE = np.array(["A", "B"])[MARK]
SAMPLES = Samples(X, Y, ids=np.array(NAMES))


def check(folder, *options, **tables):
    """The result of a check of predictions, without what names the files; an error is raised."""
    plain = {
        "data": {"file_name": NAMES, "label": CLASSES, "x": range(N)},
        "new": {"file_name": NAMES, "prediction": CLASSES},
    }
    at = {n: write_csv(folder / f"{n}.csv", t) for n, t in (plain | tables).items()}
    options = [at.get(option, option) for option in options]
    code, out, err = command(
        "check", "--predictions", at["new"], at["data"], *options, "--json", "--average", 0
    )
    if code == 2:
        raise InputError(err)
    return {k: v for k, v in json.loads(out).items() if k not in ("title", "notes")}


def predictions(folder, table):
    old = {"file_name": NAMES, "prediction": CLASSES}
    return check(folder, "--before", "old", new=table, old=old)


def before(folder, table):
    return check(folder, "--before", "old", old=table)


def metadata(folder, table):
    return check(folder, "--metadata", "meta", "--slice", "metadata:value", meta=table)["rows"]


def frame(folder, table):
    """Metadata in Python, with the names as the index of a DataFrame."""
    index = pd.DataFrame(table).set_index("file_name")
    audit = ntkit.audit(Y, MARK, metadata=index, ids=NAMES)
    return audit.values("metadata:value=A").tolist()


def reader(folder, table):
    frame = pd.DataFrame(table).set_index("file_name")
    return AttributeReader([SAMPLES], frame).values("metadata:value=A").tolist()


def in_python(folder, table):
    """Metadata as columns in Python."""
    return AttributeReader([SAMPLES], table).values("metadata:value=A").tolist()


def values_in(found):
    """What a source says of the samples, without notes."""
    return found[0] if isinstance(found, tuple) else found


def in_folder(folder, table):
    """Groups of images, in the metadata.csv of their folder."""
    for i, name in enumerate(NAMES):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1), (i, i, i)).save(folder / "images" / name)
    write_csv(folder / "images" / "metadata.csv", table)
    how = ImagePreprocessing()
    return read_samples(folder / "images", preprocessing=how, group_column="value").groups.tolist()


def answers(folder, table):
    """A table of labels or groups, as debias takes them."""
    read = AnswerTable.read(write_csv(folder / "t.csv", table), "value", None)
    values, said = read.labels(AttributeReader([SAMPLES]), match_names=False)
    return values.tolist(), said


def label(folder, table):
    """The labels of a person, which `ntkit label` takes."""
    table = {"id": table["file_name"], "Which?": table["value"]}
    path = write_csv(folder / "t.csv", table)
    options = {"question": "Which?", "values": ["A", "B"], "device": "cpu", "answers": path}
    model = write_model(folder / "model.onnx")
    return label_samples(model, SAMPLES, folder / "out", **options).labels.answers


def check_of_table(folder, table):
    """Which answers of a table a person is asked about, and how many each group has."""
    table = {"attribute" if name == "value" else name: v for name, v in table.items()}
    path, model = write_csv(folder / "t.csv", table), write_model(folder / "model.onnx")
    source = AnswerTable.read(path, "attribute", None)
    found = check_table(model, SAMPLES, source, folder / "out")
    return [(row.name, n) for row, n in zip(found.groups, found.sizes, strict=True)], found.asked


# What a source says of a table without one row; "same" if the row left out is not needed.
MISSING = {
    predictions: "no prediction for 1 of the 48 samples",
    before: "no prediction for 1 of the 48 samples",
    in_folder: "has no row for",
}
SOURCES = [
    predictions, before, metadata, frame, reader, in_folder, answers, label, check_of_table,
]  # fmt: skip
OF_LABELS = [predictions, before]


def table_for(source):
    """The names of the samples, and a value of each."""
    if source in OF_LABELS:
        return {"file_name": NAMES, "prediction": WRONG}
    return {"file_name": NAMES, "value": SITE}


def with_row(table, name, value):
    """The table with one more row."""
    first, second = table.values()
    return dict(zip(table, ([*first, name], [*second, value]), strict=True))


@pytest.fixture
def place(tmp_path):
    """A new folder for every reading of a table."""
    made = iter(range(9))

    def folder():
        path = tmp_path / str(next(made))
        path.mkdir()
        return path

    return folder


@pytest.mark.parametrize("source", SOURCES)
def test_the_order_of_rows_and_the_spelling_of_names_do_not_matter(source, place):
    table = table_for(source)
    expected = source(place(), table)
    order = np.random.default_rng(1).permutation(N)
    shuffled = {name: np.asarray(values)[order] for name, values in table.items()}
    forms = {
        "shuffled": shuffled,
        "decomposed": table | {"file_name": [unicodedata.normalize("NFD", n) for n in NAMES]},
        "without folders": table | {"file_name": [n.split("/")[1] for n in NAMES]},
        "with spaces": table | {"file_name": [f" {n} " for n in NAMES]},
        "guarded": table | {"file_name": [f"'{n}" for n in NAMES]},
    }
    for name, form in forms.items():
        assert source(place(), form) == expected, name


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("form", ["{}", "'{}", " {}", "{} ", "short", "NFD"])
@pytest.mark.parametrize("where", ["first", "last"])
def test_a_name_in_two_spellings_is_a_name_twice(source, place, form, where):
    """In either order; else the later row would win."""
    name, table = NAMES[0], table_for(source)
    second = {"short": name.split("/")[1], "NFD": unicodedata.normalize("NFD", name)}
    value = next(v for v in [*table.values()][1] if v != [*table.values()][1][0])
    table = with_row(table, second.get(form, form.format(name)), value)
    if where == "first":
        table = {n: [*values][::-1] for n, values in table.items()}
    with pytest.raises(InputError, match=r"twice in|label '.' here and '.'"):
        source(place(), table)


@pytest.mark.parametrize("source", SOURCES)
def test_rows_that_are_missing_or_of_other_samples(source, place):
    table = table_for(source)
    expected = source(place(), table)
    less = {name: values[:-1] for name, values in table.items()}
    if source in MISSING:
        with pytest.raises(InputError, match=MISSING[source]):
            source(place(), less)
    else:
        assert source(place(), less) != expected
    more = with_row(table, "cat/elsewhere.png", [*table.values()][1][0])
    if source is label:  # the label of a person is never lost without a word
        with pytest.raises(InputError, match="no sample has the name 'cat/elsewhere"):
            source(place(), more)
    elif source is answers:
        values, said = source(place(), more)
        assert (values, "left out 1 of 49 labels" in said) == (expected[0], True)
    else:
        assert source(place(), more) == expected


@pytest.mark.parametrize("source", [metadata, in_python, answers, check_of_table])
def test_rows_are_not_matched_by_position_against_a_column_of_names(source, place):
    """Of any title: a shuffled table would give every sample the value of another one."""
    table = table_for(source)
    expected = source(place(), table)
    for title in ("filename", "x" if source is metadata else "path"):
        column = [*range(N)] if title == "x" else NAMES
        plain = {title: column, "value": SITE}
        assert values_in(source(place(), plain)) == values_in(expected)
        order = np.random.default_rng(1).permutation(N)
        shuffled = {name: np.asarray(values)[order] for name, values in plain.items()}
        with pytest.raises(InputError, match=f"--id-column {title}"):
            source(place(), shuffled)
    nameless = source(place(), {"value": SITE})
    assert values_in(nameless) == values_in(expected)
    if source is answers:
        assert "is matched row by row" in nameless[1]


@pytest.mark.parametrize("source", [s for s in SOURCES if s not in (predictions, before)])
def test_a_name_of_several_samples_is_refused(source, place, monkeypatch):
    """The name without its folder, if two folders have it."""
    names = [*NAMES[:-1], f"other/{NAMES[0].split('/')[1]}"]
    monkeypatch.setattr("tests.test_joins.NAMES", names)
    samples = Samples(X, Y, ids=np.array(names))
    monkeypatch.setattr("tests.test_joins.SAMPLES", samples)
    table = {"file_name": names, "value": SITE}
    source(place(), table)
    table["file_name"] = [names[0].split("/")[1], *names[1:]]
    with pytest.raises(InputError, match="2 samples have this name"):
        source(place(), table)


def test_name_and_content_of_one_table_do_not_overrule_each_other(place):
    contents = [content_cell(digest) for digest in AttributeReader([SAMPLES]).identified.digests]
    table = {
        "file_name": [*NAMES, NAMES[0]],
        "ntkit_content": [*contents, ""],
        "value": [*SITE, SITE[0]],
    }
    assert answers(place(), table)[0] == SITE.tolist()
    table["value"][-1] = "?"  # of two rows, one person knew
    assert answers(place(), table)[0] == SITE.tolist()
    table["value"][-1] = "B" if SITE[0] == "A" else "A"
    with pytest.raises(InputError, match=r"label '.' here and '.' above"):
        answers(place(), table)
    only = {"ntkit_content": contents[::-1], "value": SITE[::-1]}
    assert answers(place(), only)[0] == SITE.tolist()


def test_names_of_files_without_their_ending_say_the_order(place):
    """Ranks do not, if the files are numbered."""
    order = np.random.default_rng(1).permutation(N)
    numbered = Samples(X, Y, ids=np.array([f"{label}/{i}.png" for i, label in enumerate(CLASSES)]))
    for samples, title in ((SAMPLES, "image_id"), (SAMPLES, "id"), (numbered, "id")):
        stems = [name.split("/")[1].removesuffix(".png") for name in samples.ids]
        table = pd.DataFrame({title: stems, "value": SITE})
        values = AttributeReader([samples], table).values("metadata:value=A")
        assert values.tolist() == (SITE == "A").tolist()
        with pytest.raises(InputError, match=f"by its column '{title}', which lacks the ending"):
            AttributeReader([samples], table[::-1].reset_index(drop=True)).values(
                "metadata:value=A"
            )
    ranks = {"rank": order, "value": SITE}
    values = AttributeReader([numbered], ranks).values("metadata:value=A")
    assert values.tolist() == (SITE == "A").tolist()


def test_a_repeated_or_misspelt_name_does_not_hide_another_order(place):
    """Of the column that both tables have, and of a column with the names of files."""
    folder, order = place(), np.random.default_rng(1).permutation(N)
    names = np.array([f"p{row}" for row in range(N)])
    twice, other = names.copy(), names.copy()
    twice[1], other[1] = "p0", "?p1"
    for own, theirs in ((twice, twice), (names, other), (names, names)):
        data = {"patient_id": own, "label": Y} | dict(zip("abcdef", X.T, strict=True))
        model = FrozenModel.load(write_model(folder / "model.onnx"))
        path = write_csv(folder / "data.csv", data)
        samples = read(path, model)
        plain = {"patient_id": theirs, "a": np.round(X[:, 0], 5), "value": SITE}
        shuffled = {name: values[order] for name, values in plain.items()}
        one, two = (write_csv(folder / f"{i}.csv", t) for i, t in enumerate((plain, shuffled)))
        here = AttributeReader([samples])
        if theirs is not other:
            assert AnswerTable.read(one, "value", None).labels(here, False)[0].tolist() == [*SITE]
            found = AttributeReader([samples], one).values("metadata:value=A")
            assert found.tolist() == (SITE == "A").tolist()
        with pytest.raises(InputError, match="another order, by its column 'patient_id'"):
            AnswerTable.read(two, "value", None).labels(here, False)
        with pytest.raises(InputError, match="another order, by its column 'patient_id'"):
            AttributeReader([samples], two).values("metadata:value=A")
        with pytest.raises(InputError, match="another order, by its column 'path'"):
            answers(place(), {"path": [NAMES[0], *np.array(NAMES)[order][1:]], "value": SITE})


@pytest.mark.parametrize("form", ["id {}", "{:03}x", "{}"])
def test_a_misspelt_name_under_another_title_does_not_hide_another_order(place, form):
    """As long as the other names say it; ranks and ages are not names, and an order may agree."""
    n = np.random.default_rng(2).permutation(9000)[:N]
    names, order = [form.format(i) for i in n], np.random.default_rng(1).permutation(N)
    folder = place()
    data = {"id": names, "label": CLASSES, "prediction": CLASSES}
    meta = {"sample": [*names[:3], "zzz", *names[4:]], "value": SITE}
    options = ("--average", 20, "--slice", "metadata:value", "--json")

    def counts(table, own=data):
        paths = (write_csv(folder / f"{n}.csv", t) for n, t in (("d", own), ("m", table)))
        data, meta = paths
        code, out, err = command("check", "--predictions", data, "--metadata", meta, *options)
        if code == 2:
            raise InputError(err)
        return [row["samples"] for row in json.loads(out)["rows"] if row["kind"] == "slice"]

    expected = counts({"value": SITE})
    assert counts(meta) == expected
    with pytest.raises(InputError, match="samples have these names in 'id'"):
        counts({name: np.asarray(values)[order] for name, values in meta.items()})
    with pytest.raises(InputError, match="samples have these names in 'id'"):
        check(
            folder,
            data=data,
            new={"sample": np.array(meta["sample"])[order], "prediction": CLASSES[order]},
        )
    for rank in (range(1, N + 1), order + 1):
        assert counts({"rank": rank, "value": SITE}, data | {"id": range(N)}) == expected


def test_row_numbers_in_another_order_are_refused(place):
    """Also for arrays, which have no names; numbers of other rows say nothing."""
    folder, order = place(), np.random.default_rng(1).permutation(N)
    samples = Samples(X, Y)
    for title, start in (("row", 0), ("", 0), ("index", 1)):
        for shown in (order, np.arange(N), 7 * order + 500):
            numbers = {title: (shown + start).tolist()}
            reader = AttributeReader([samples], numbers | {"value": SITE.tolist()})
            groups = write_csv(folder / "g.csv", numbers | {"group": SITE})
            of_groups = AnswerTable.read(groups, "group", None)
            if shown is order:
                with pytest.raises(InputError, match="in another order, by its column"):
                    reader.values("metadata:value=A")
                with pytest.raises(InputError, match="in another order, by its column"):
                    of_groups.labels(reader, False)
            else:
                assert reader.values("metadata:value=A").tolist() == (SITE == "A").tolist()
                assert of_groups.labels(reader, False)[0].tolist() == SITE.tolist()


def test_groups_of_a_table_agree_with_those_of_the_samples_row_by_row(place):
    """Else its rows are in another order; unknown groups may be filled in."""
    folder, order = place(), np.random.default_rng(1).permutation(N)
    group = SITE.astype(object)
    group[::5] = "?"
    model = FrozenModel.load(write_model(folder / "model.onnx"))
    data = {"label": Y, "group": group} | dict(zip("abcdef", X.T, strict=True))
    reader = AttributeReader([read(write_csv(folder / "data.csv", data), model)])

    def labels(name, values):
        table = write_csv(folder / "g.csv", {name: values, "more": range(N)})
        return AnswerTable.read(table, "group" if name == "group" else name, None).labels(
            reader, False
        )

    assert labels("group", SITE)[0].tolist() == SITE.tolist()
    assert labels("mine", SITE[order])[0].tolist() == SITE[order].tolist()
    with pytest.raises(InputError, match="another order, by its column 'group'"):
        labels("group", SITE[order])


@pytest.mark.parametrize("cell", ["-1", "-1.0", "?", "NA"])
def test_a_group_that_is_unknown_is_no_group(place, cell):
    group = np.where(np.arange(N) % 3, "1.0", "0.0").astype(object)
    group[:5] = cell
    data = {"file_name": NAMES, "label": CLASSES, "group": group}
    found = check(place(), "--worst-group", "0", data=data)["rows"]
    names = [row["name"] for row in found if row["kind"] == "group"]
    assert names == ["0.0", "1.0"]


def test_metadata_replace_a_column_of_the_same_name_in_the_table_of_an_audit(place):
    """As in a repair; else one name would mean two columns."""
    folder, names = place(), [f"p{row}" for row in range(N)]
    model = write_model(folder / "model.onnx")
    data = {"id": names, "label": Y, "site": SITE, "place": SITE}
    path = write_csv(folder / "data.csv", data | dict(zip("abcdef", X.T, strict=True)))
    samples = read(path, FrozenModel.load(model), columns=[*"abcdef"])
    meta = {"id": names[::-1], "site": np.random.default_rng(0).permutation(SITE)}
    found = ntkit.audit_model(model, samples, metadata=meta, device="cpu", changes=0)
    assert [note for note in found.notes if "replace" in note] == [
        "The metadata replace columns of the same names in the table: 'site'."
    ]
    assert found.values("metadata:place=A").tolist() == (SITE == "A").tolist()
    assert found.values("metadata:site=A").tolist() == (meta["site"][::-1] == "A").tolist()


def test_predictions_in_another_order_are_refused_by_any_column_of_both(place):
    patient = np.array([f"p{row // 2}" for row in range(N)])
    outputs = {"prediction": CLASSES, "prob_cat": Y, "margin": np.arange(N)}
    data = {"patient": patient, "label": CLASSES, "prediction": WRONG, "prob_cat": 1 - Y}
    data["margin"] = np.arange(N)[::-1]
    new = {"patient": patient, **outputs}
    same = check(place(), data=data, new=new)
    assert same == check(place(), data={"label": CLASSES}, new=outputs)
    order = np.random.default_rng(1).permutation(N)
    with pytest.raises(InputError, match="another order, by its column 'patient'"):
        check(place(), data=data, new={name: values[order] for name, values in new.items()})


def test_a_name_and_a_content_of_two_samples_are_told(place):
    """The content says which sample was labelled, whatever the names are now."""
    contents = [content_cell(digest) for digest in AttributeReader([SAMPLES]).identified.digests]
    table = table_for(answers) | {"ntkit_content": contents}
    expected, said = answers(place(), table)
    assert (expected, said) == (SITE.tolist(), "")
    order = np.roll(np.arange(N), 1)
    table["file_name"] = np.array(NAMES)[order]
    values, said = answers(place(), table)
    assert values == expected
    assert "48 labels have the names of other samples than their content" in said
    table["file_name"] = [f"new/{i}" for i in range(N)]  # files that were renamed
    assert answers(place(), table) == (expected, "")
    # ntkit label says the same of its own tables.
    folder = place()
    options = {"device": "cpu", "question": "Which?", "values": ["A", "B"]}
    model = write_model(folder / "model.onnx")
    label_samples(model, SAMPLES, folder / "out", **options)
    asked = read_csv(folder / "out" / "questions-1.csv")
    first = [row["id"] for row in asked]
    filled = {
        "id": [*first[1:], first[0]],
        "ntkit_content": [row["ntkit_content"] for row in asked],
        "Which?": [SITE[NAMES.index(name)] for name in first],
    }
    write_csv(folder / "out" / "labels.csv", filled)
    found = label_samples(model, SAMPLES, folder / "out", device="cpu")
    assert all(SITE[NAMES.index(name)] == value for name, value in found.labels.answers.items())
    assert f"{len(asked)} labels have the names of other samples" in str(found)


@pytest.mark.parametrize("source", OF_LABELS)
@pytest.mark.parametrize("row", [0, N - 1])
def test_labels_that_differ_are_refused(source, place, row):
    table = table_for(source)
    assert source(place(), table | {"label": CLASSES}) == source(place(), table)
    other = CLASSES.copy()
    other[row] = "cat" if CLASSES[row] == "dog" else "dog"
    with pytest.raises(InputError, match="1 of 48 rows have different labels in 'label'"):
        source(place(), table | {"label": other})
    other[row] = ""  # not known in one of them
    source(place(), table | {"label": other})


def test_classes_that_are_numbered_from_0_are_not_those_from_1(tmp_path):
    """An old model with another numbering would let any new one pass."""
    rng, n = np.random.default_rng(5), 300
    y = rng.integers(1, 3, n)
    right = {
        name: np.where(rng.random(n) < share, y, 3 - y)
        for name, share in (("old", 0.9), ("new", 0.6))
    }
    write_csv(tmp_path / "data.csv", {"id": range(n), "label": y})
    for name, start in (("old", 0), ("same", 1)):
        write_csv(
            tmp_path / f"{name}.csv", {"id": range(n), "prediction": right["old"] + start - 1}
        )
    write_csv(tmp_path / "new.csv", {"id": range(n), "prediction": right["new"]})
    check = ["check", "--predictions", tmp_path / "new.csv", "--before"]
    says = "The classes seem to be numbered in another way"
    refused(*check, tmp_path / "old.csv", tmp_path / "data.csv", says=says)
    code, _, _ = command(*check, tmp_path / "same.csv", tmp_path / "data.csv")
    assert code == 1


def test_one_table_of_all_names_each_sample_once(tmp_path):
    y = np.array(["no", "yes"] * 60)
    names = np.array([f"p{i}" for i in range(120)])
    rows = np.r_[0:120, 0:40]
    for name, some, number in (("good", slice(None), 0), ("bad", rows, 2)):
        path = write_csv(
            tmp_path / f"{name}.csv",
            {"id": names[some], "label": y[some], "prediction": y[some], "old": y[some]},
        )
        check = ["check", "--predictions", path, "--average", 50]
        assert command(*check)[0] == number
        before = ["--before", path, "--prediction-column", "prediction,old"]
        assert command(*check, *before)[0] == number
    refused(*check, says="names 'p0' twice in 'id'")
    refused(*check, "--prediction-column", "label", says="'label' is the column of labels and of")


def test_labels_that_differ_only_in_writing_are_refused(tmp_path):
    y = np.array(["no", "yes", "no ", "yes "] * 60)
    plain = np.char.strip(y)
    for label, prediction, number in ((y, plain, 2), (plain, plain, 0), (y, y, 0)):
        columns = {"id": range(240), "label": label, "prediction": prediction}
        path = write_csv(tmp_path / "table.csv", columns)
        assert command("check", "--predictions", path, "--average", 50)[0] == number


def test_a_fact_that_ends_like_an_id_tells_copies_apart(tmp_path):
    """The column of sites is a slice, whatever its name."""
    text = [f"number {i}" for i in range(100)]
    for title in ("site", "site_id"):
        columns = {"id": range(200), "text": text * 2, title: ["A"] * 100 + ["B"] * 100}
        columns |= {"label": ["no", "yes"] * 100, "prediction": ["no", "yes"] * 100}
        path = write_csv(tmp_path / f"{title}.csv", columns)
        out = command(
            "check", "--predictions", path, "--slice", f"column:{title}", "--average", 50, "--json"
        )[1]
        assert '"n_samples": 200' in out


@pytest.mark.parametrize("index", ["", "index", "id"])
def test_new_row_numbers_are_not_names(tmp_path, index):
    """Each table was sorted and numbered anew: another column tells which rows belong together."""
    y, patient = np.array(["no", "yes"] * 50), np.array([f"p{i}" for i in range(100)])
    order = np.random.default_rng(0).permutation(100)
    write_csv(tmp_path / "data.csv", {index: range(100), "patient": patient, "label": y})
    for name, at in (("sorted", order), ("same", np.arange(100))):
        columns = {index: range(100), "patient": patient[at], "prediction": y[at]}
        write_csv(tmp_path / f"{name}.csv", columns)
    check = ["check", "--average", 50, tmp_path / "data.csv", "--predictions"]
    refused(*check, tmp_path / "sorted.csv", says="in another order, by its column 'patient'")
    assert command(*check, tmp_path / "same.csv")[0] == 0
    assert command(*check, tmp_path / "sorted.csv", "--id-column", "patient")[0] == 0


def test_the_table_of_two_models_does_not_say_which_is_the_old_one(tmp_path):
    """Else its new model would be compared with itself."""
    y, worse = np.array(["no", "yes"] * 60), np.array(["no"] * 120)
    columns = {"id": range(120), "label": y, "prediction": worse, "prediction_before": y}
    both = [write_csv(tmp_path / f"{name}.csv", columns) for name in ("both", "copy")]
    check = ["check", "--predictions", both[0], "--max-drop", 5, "--before"]
    assert command(*check, both[0])[0] == 1
    refused(*check, both[1], says="has predictions of two models")
    assert command(*check, both[1], "--prediction-column", "prediction,prediction_before")[0] == 1


def test_the_index_of_a_series_names_samples(tmp_path):
    """As that of a DataFrame does: ``pd.read_csv(…).set_index("id")["site"]``."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)).astype(np.float32), np.arange(60) % 2
    site = np.where(rng.random(60) < 0.5, "A", "B")
    frame = pd.DataFrame(X, columns=[*"abc"]).assign(label=y, id=[f"s{i}" for i in range(60)])
    frame.to_csv(tmp_path / "t.csv", index=False)
    samples = read_samples(tmp_path / "t.csv")
    order = rng.permutation(60)
    named = pd.Series(site[order], index=frame["id"][order])
    assert (named.to_numpy()[positions_in([samples], 60, named, "attribute")] == site).all()
    some = pd.Series(site, index=[*frame["id"][:59], "other"])
    with pytest.raises(InputError, match=r"index of attribute= names 59 of 60 samples"):
        positions_in([samples], 60, some, "attribute")
    for index in (None, range(60), [f"x{i}" for i in range(60)]):  # of no sample
        other = pd.Series(site, index=index)
        assert (positions_in([samples], 60, other, "attribute") == np.arange(60)).all()


@pytest.mark.parametrize("key", ["file_name", "id"])
def test_metadata_of_predictions_are_matched_by_either_name(key):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    pred = np.where(rng.random(400) < 0.9, y, 1 - y)
    site = np.where(pred == 1, "A", "B")
    names = [f"n{i}" for i in range(400)]
    table = pd.DataFrame({key: names, "site": site}).iloc[rng.permutation(400)]
    found = ntkit.audit(y, pred, metadata=table, ids=names).findings[0]
    assert "site" in found.name
    indexed = ntkit.audit(y, pred, metadata=table.set_index(key), ids=names)
    assert indexed.findings[0].name == found.name
    with pytest.raises(InputError, match=r"no column 'file_name' or 'id' with the names in ids="):
        ntkit.audit(y, pred, metadata=table.rename(columns={key: "n"}), ids=names)
