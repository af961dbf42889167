"""From a finding to a repaired model: attributes that are named, or answered."""

import json
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier

import ntkit
from ntkit import DebiasSettings, FrozenModel, debias
from ntkit.attributes.answers import Answer, Answers
from ntkit.attributes.feature_set import FEWEST, Rule
from ntkit.attributes.image_statistics import STATISTICS
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, Samples, read_samples
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.samples.read import read
from tests import models as zoo
from tests.cases import read_csv, write_csv, write_rows
from tests.jobs.debias.conftest import (
    N_VALIDATION,
    QUICK,
    predicted,
    reviews,
    worst_of_texts,
)
from tests.jobs.label.models import rows
from tests.jobs.label.models import write_model as write_model_of_rows


def job(files, sites="", **options):
    sets = (files / f"{name}{sites}.csv" for name in ("train", "validation"))
    return debias(files / "model.onnx", *sets, **QUICK, **options)


def column(path, *names):
    return [[row[name] for row in read_csv(path)] for name in names]


def command(files, sites=""):
    sets = [word for n in ("train", "validation") for word in (f"--{n}", files / f"{n}{sites}.csv")]
    return ["debias", files / "model.onnx", *sets, "--quiet"]


def answers_of(path, *sides, answer="spurious"):
    entries = [{"name": s[0][0], "answer": answer, "values": s} for s in sides]
    path.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": entries}))
    return path


@pytest.mark.more
def test_from_predictions_to_a_repaired_model(files, tmp_path, run):
    validation, out = files / "validation.csv", tmp_path / "out"
    ids, texts, labels = column(validation, "id", "text", "label")
    columns = {"id": ids, "label": labels, "prediction": predicted(files / "model.onnx", texts)}
    predictions = write_csv(tmp_path / "p.csv", columns)
    code, _, err = run("audit", "--predictions", predictions, validation, "-o", tmp_path / "audit")
    assert code == 0, err
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())["findings"][0]
    assert {found["name"], *found["opposed"]} == {"word:film", "word:movie"}
    answers = answers_of(tmp_path / "answers.json", [[found["name"]], found["opposed"]])
    code, printed, err = run(*command(files), "--answers", answers, "-o", out, "--verbose")
    assert code == 0, err
    headline, head, *_ = printed.splitlines()
    assert (
        "Validation set, cross-fitted: If word:film against word:movie and the class were unrel"
        in headline
    )
    assert head.startswith("copies")  # films are swapped for movies
    assert run("verify", files / "model.onnx", out / "debiased.onnx", validation)[0] == 0
    assert worst_of_texts(files / "model.onnx") < 0.5
    assert worst_of_texts(out / "debiased.onnx") > worst_of_texts(files / "model.onnx") + 0.3


@pytest.mark.more
def test_named_groups_are_shown_with_an_interval(by_word):
    said, out = by_word.summary(verbose=True), by_word.path
    assert (by_word.chosen.name, by_word.balanced_over) == ("group-balanced", "word:film")
    assert by_word.helped
    assert "group-balanced is over class × word:film;" in said
    assert "named or answered chose the head" in said
    assert max(map(len, by_word.table().splitlines())) <= 120
    before, after = by_word.accuracy_costs[0].worst_named, by_word.accuracy_cost.worst_named
    assert after.value > before.value + 0.3
    assert after.wilson()[0] < after.value < after.wilson()[1]
    sentence = by_word.named_outcome()
    assert all(part in sentence for part in (before.share, str(after)))
    assert sentence in said
    assert all("worst balanced group" in s for s in (by_word.table(), by_word.interpolation()))
    record = json.loads((out / "result.json").read_text())
    assert (record["balanced_over"], record["named_outcome"]) == ("word:film", sentence)
    chosen = next(c for c in record["candidates"] if c["chosen"])
    assert chosen["worst_named"] == pytest.approx(by_word.accuracy_costs[-1].worst_named.value)
    shares = [c["worst_named"] for c in record["candidates"] if "random" not in c["name"]]
    assert all(0 <= share <= 1 for share in shares)
    assert "Worst group of class × word:film" in (out / "report.html").read_text()
    facts = FrozenModel.load(out / "debiased.onnx").metadata
    assert facts["ntkit.attributes"] == "word:film"


@pytest.mark.more
def test_ways_to_name_an_attribute(files, tmp_path):
    """Metadata may match half of the rows: of the others it is said that they have no value."""
    sides = [[["word:film"], ["word:movie"]], "column:length>=300"]
    ids, site = (values[::2] for values in column(files / "sites.csv", "id", "site"))
    half = write_csv(tmp_path / "half.csv", {"id": ids, "site": site})
    data = files / "model.onnx", files / "validation.csv"
    found = ntkit.audit_model(*data, metadata=half, device="cpu", changes=0)
    assert f"it names 200 of {N_VALIDATION} samples" in " ".join(found.notes)
    assert (found.values("metadata:site=A") < 0).sum() == 200
    for options in ({"spurious": sides}, {"spurious": "metadata:site", "metadata": half}):
        result = job(files, **options)
        assert result.helped
        before, after = result.accuracy_costs[0], result.accuracy_cost
        assert after.worst_named.value > before.worst_named.value + 0.2
        notes = " ".join(result.notes)
        assert "training and validation samples" in notes
        assert ("500 on none" in notes) == ("metadata" in options)


@pytest.mark.parametrize("names", ["both", "the validation set twice"])
def test_metadata_of_a_name_that_two_samples_have_are_refused(names):
    """Else a table of the validation set would be taken for the training set, too."""
    ids = [np.array([f"{i}.png" for i in range(4)]), np.array(["7.png", "8.png", "8.png"])]
    if names == "both":
        ids[1] = np.array(["2.png", "5.png", "6.png"])
    sets = [Samples(np.zeros((len(own), 2)), np.zeros(len(own)), ids=own) for own in ids]
    table = {"file_name": ["1.png", "2.png", "6.png", "8.png"], "site": ["A", "B", "A", "B"]}
    with pytest.raises(InputError, match=r"The metadata names '[28].png', and 2 samples"):
        _ = AttributeReader(sets, table).metadata
    with pytest.raises(InputError, match="samples have this name"):
        AttributeReader(sets, table).feature_sets()
    few = {name: [values[0], values[2]] for name, values in table.items()}
    if names == "both":  # of the name that both have it says nothing
        site = AttributeReader(sets, few).metadata["site"].tolist()
        assert site == [None, "A", None, None, None, None, "A"]


@pytest.mark.more
def test_a_column_that_an_audit_takes_for_metadata(files, tmp_path, run):
    """Found in the tables themselves, answered or named or passed as an array: one repair."""
    model, validation = files / "model.onnx", files / "validation-sites.csv"
    options = {"feature_sets": ["metadata"], "device": "cpu", "changes": 0}
    audit = ntkit.audit_model(model, validation, **options)
    (found,) = audit.findings
    assert found.name in ("metadata:site=A", "metadata:site=B")
    more = ["--spurious", "metadata:site=B", "-o", tmp_path / "a", "--verbose"]
    code, out, err = run(*command(files, "-sites"), *more)
    assert code == 0, err
    assert "group-balanced is over class × metadata:site=B;" in out
    assert worst_of_texts(tmp_path / "a" / "debiased.onnx") > worst_of_texts(model) + 0.3
    parts = (column(files / f"{n}-sites.csv", "site")[0] for n in ("train", "validation"))
    site = np.array([value for part in parts for value in part])
    by_row = job(files, "-sites", answers=audit.answers(found.name), metadata={"site": site})
    written = FrozenModel.load(tmp_path / "a" / "debiased.onnx").head
    np.testing.assert_allclose(written.coef[-1:], by_row.head.coef, rtol=1e-4, atol=1e-6)


def test_what_is_given_goes_before_the_tables_own_columns(files):
    model = FrozenModel.load(files / "model.onnx")
    paths = (files / f"{name}-sites.csv" for name in ("train", "validation"))
    sets = [read(path, model) for path in paths]
    assert AttributeReader(sets).metadata.keys() == {"text", "site"}
    other = AttributeReader(sets, {"site": ["C"] * 1000, "age": range(1000)}).metadata
    assert (*other["site"][:2], other.keys()) == ("C", "C", {"text", "site", "age"})


@pytest.mark.more
def test_the_mean_of_the_groups_counts_small_groups(tmp_path):
    """The mean in line 3 counts a group of four validation samples, as the first number does."""
    # The first number weighs groups by shares of values, which here are nearly equal.
    model = write_model_of_rows(tmp_path / "model.onnx")
    sets, site = [], []
    for seed, fewest in ((0, 800), (1, 4)):
        X, y, mark = rows(seed, 800)
        rare = np.flatnonzero((y == 1) & (mark == 0))
        kept = np.setdiff1d(np.arange(len(y)), rare[fewest:])
        sets.append((X[kept], y[kept]))
        site += np.array(["A", "B"])[mark[kept]].tolist()
    result = debias(model, *sets, spurious="metadata:site=B", metadata={"site": site}, **QUICK)
    new, old = result.accuracy_cost, result.accuracy_costs[0]
    assert old.class_gain == 0
    assert new.class_gain == pytest.approx(new.named - old.named, abs=0.02)
    assert f"mean of the groups {100 * new.class_gain:+.1f}" in result.summary()


@pytest.mark.more
def test_columns_of_a_table_of_numbers(tmp_path):
    """Input columns of the model, and other columns; labels, groups, predictions are neither."""
    model = write_model_of_rows(tmp_path / "model.onnx")
    sets = []
    for name, seed in (("train", 0), ("validation", 1)):
        X, y, mark = rows(seed, 400)
        more = {"site": np.array(["A", "B"])[mark], "group": 2 * y + mark, "prediction": mark}
        columns = dict(zip("abcdef", X.T.tolist(), strict=True)) | {"label": y} | more
        path = write_csv(tmp_path / f"{name}.csv", columns)
        options = {"columns": "abcdef", "group_column": "group"}
        sets.append(read_samples(path, **options))
    feature_sets = AttributeReader(sets).feature_sets()
    read = {name for each in feature_sets for block in each.blocks() for name in block.names}
    assert {name.split(":")[1].split(">")[0].split("=")[0] for name in read} == {*"abcdef", "site"}
    options = {"feature_sets": ["column", "metadata"], "device": "cpu", "changes": 0}
    audit = ntkit.audit_model(model, sets[1], **options)
    names = [name for s in audit.findings for name in (s.name, *s.same, *s.opposed)]
    cut = next(name for name in names if name.startswith("column:b>="))
    assert {"metadata:site=A", "metadata:site=B"} & {*names}
    found = debias(model, *sets, spurious=cut, **QUICK)
    assert found.helped
    before, after = found.accuracy_costs[0].worst_named, found.accuracy_cost.worst_named
    assert after.value > before.value + 0.2
    np.savez(tmp_path / "plain.npz", X=X, y=y)
    with pytest.raises(InputError, match="'metadata:site=B' needs metadata"):
        debias(model, *[tmp_path / "plain.npz"] * 2, spurious="metadata:site=B")


@pytest.mark.more
def test_where_a_shortcut_helps_does_not_depend_on_its_copies(tmp_path):
    """A model that reads a column through others, and knows its training samples by heart."""

    def drawn(n, seed):
        rng = np.random.default_rng(seed)
        y, noise = rng.integers(0, 2, n), rng.normal(size=(n, 39))
        s = np.where(rng.random(n) < 0.8, y, rng.integers(0, 2, n))
        shown = np.where(rng.random(n) < 0.9, s, 1 - s)
        proxies, own = 0.1 * noise[:, :5] + 2.2 * s[:, None], noise[:, 5:8] + 0.75 * y[:, None]
        return np.column_stack([shown, proxies, own, noise[:, 8:]]).astype(np.float32), y, shown

    X, y, _ = drawn(700, 41)
    network = MLPClassifier((64,), max_iter=400, random_state=4).fit(X, y)
    model = tmp_path / "model.onnx"
    model.write_bytes(to_onnx(network, X[:1], options={"zipmap": False}).SerializeToString())
    names, sets = [f"x{i}" for i in range(X.shape[1])], []
    for name, n, seed in (("train", 700, 41), ("validation", 1200, 42)):
        X, y, shown = drawn(n, seed)
        columns = dict(zip(names, X.T.tolist(), strict=True)) | {"label": y, "same": shown}
        sets.append(read_samples(write_csv(tmp_path / f"{name}.csv", columns), columns=names))
    told = []
    cases = [("metadata:same", None), ("column:x0", None), ("column:x0", "column:x30")]
    for spurious, invariant in cases:
        result = debias(model, *sets, spurious=spurious, invariant=invariant, **QUICK)
        (groups,) = (each for each in result.outcome.groups if each.source == "read")
        told.append([row.name in groups.helped for row in groups.rows])
    assert sum(told[0]) == 2
    assert told[1:] == told[:1] * 2


def test_metadata_in_image_folders(tmp_path):
    """Each set's own metadata.csv, as an audit takes it; names may be the same in both."""
    sets = []
    for name, values in (("train", "ABAB"), ("validation", "BBAA")):
        for i in range(4):
            file = tmp_path / name / f"{i % 2}" / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), i).save(file)
        ids = [f"{i % 2}/{i}.png" for i in range(4)]
        columns = {"file_name": ids, "site": values, "group": "0011"}
        write_csv(tmp_path / name / "metadata.csv", columns)
        steps = ImagePreprocessing(resize=(4, 4))
        sets.append(read_samples(tmp_path / name, preprocessing=steps))
    found = AttributeReader(sets)
    assert found.metadata.keys() == {"site"}
    assert found.metadata["site"].tolist() == [*"AABB", *"BABA"]
    assert found.values("metadata:site=B").tolist() == [0, 0, 1, 1, 1, 0, 1, 0]
    (tmp_path / "validation" / "metadata.csv").unlink()
    with pytest.raises(InputError, match="needs metadata"):
        AttributeReader(sets).values("metadata:site=B")


@pytest.mark.parametrize(("resize", "crop"), [(None, (8, 8)), (16, (8, 8)), ((16, 16), (8, 8))])
def test_images_are_measured_as_the_model_sees_them(tmp_path, rng, resize, crop):
    """A frame that a centre crop removes says nothing; size and ratio are those of the file."""
    pictures = rng.integers(0, 256, (30, 8, 8)).astype(np.uint8)
    for i, picture in enumerate(pictures):
        whole = np.full((16, 16), rng.integers(256), np.uint8)
        whole[4:12, 4:12] = picture
        file = tmp_path / "files" / f"{i % 2}" / f"{i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(whole).save(file)
    steps = ImagePreprocessing(resize=resize, crop=crop, channels=1)
    samples = read_samples(tmp_path / "files", preprocessing=steps)
    order = [int(name[-6:-4]) for name in samples.names]
    arrays = Samples(pictures[order][:, None], samples.y)
    found, expected = (AttributeReader([each]).statistics for each in (samples, arrays))
    of_file = [STATISTICS.index(name) for name in ("size", "aspect ratio")]
    assert_allclose(found[:, of_file], np.tile([256, 1], (30, 1)))
    assert_allclose(np.delete(found, of_file, 1), np.delete(expected, of_file, 1), atol=1e-6)


@pytest.mark.more
def test_what_files_are_is_an_attribute(tmp_path, digits):
    """An audit asks about the kind of a file, so a yes repairs it and a check has its slice."""
    sets = {}
    for name, n in (("train", 600), ("validation", 500)):
        X, y, groups = (digits[f"{part}_{name}"][:n] for part in ("X", "y", "groups"))
        for i, (pixels, label) in enumerate(zip((255 * X[:, 0]).astype(np.uint8), y, strict=True)):
            file = tmp_path / name / f"{label}" / f"{i:04}.{'bmp' if groups[i] % 2 else 'png'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        sets[name] = tmp_path / name
    model = marked_digits_model_path()
    found = debias(model, **sets, spurious="file:format=BMP", device="cpu", max_cost=0.3)
    assert "file:format=BMP" in found.headline()
    samples = read(sets["validation"], FrozenModel.load(model))
    bmp = [name.endswith("bmp") for name in samples.names]
    assert AttributeReader([samples]).values("file:format=BMP").tolist() == bmp
    checked = ntkit.check(model, model, sets["validation"], slices=["file:format=BMP"])
    assert {row.name: row.n for row in checked.rows}["file:format=BMP"] == sum(bmp)
    with pytest.raises(InputError, match="needs image files"):
        AttributeReader([Samples(digits.X_test, digits.y_test)]).values("file:format=BMP")


@pytest.mark.more
def test_names_that_are_markup_are_shown_and_not_obeyed(files, tmp_path):
    sets, out = [], tmp_path / "out"
    for name, seed in (("train", 1), ("validation", 2)):
        texts, y, movie = reviews(seed, 200, 0.95)
        site = np.where(movie, "<script>alert(1)</script>|`", "B")
        texts = [f"{t} <script>" if says else t for t, says in zip(texts, movie, strict=True)]
        columns = {"text": texts, "label": y, "site": site}
        sets.append(write_csv(tmp_path / f"{name}.csv", columns))
    spurious = ["column:site=<script>alert(1)</script>|`", "word:<script"]
    options = {"settings": DebiasSettings(otherwise="new head"), "out": out} | QUICK
    result = debias(files / "model.onnx", *sets, spurious=spurious, **options)
    assert "<script>alert" not in (out / "report.html").read_text()
    card = (out / "README.md").read_text()
    assert "script>alert" in card
    assert "<script>alert" not in card.replace("\\<", "")
    assert {line.replace("\\|", "").count("|") for line in result.table().splitlines()} == {7}
    assert result.table() in (out / "table.md").read_text()
    assert "\\" not in result.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spurious": "word:flim"}, "did you mean 'word:film'"),
        ({"spurious": "column:lenth>=3"}, "did you mean 'length'"),
        ({"spurious": "column:length>=1e9"}, "No sample has the value"),
        ({"spurious": "column:length>=5|column:length>=6"}, "Samples have both 'column:length>=5'"),
        ({"spurious": "column:length"}, "name a threshold"),
        ({"spurious": "length>=3"}, "did you mean 'column:length>=3'"),
        ({"spurious": "film"}, "did you mean 'word:film'"),
        ({"spurious": "metadata:site=A"}, "There is no column 'site'"),
        ({"spurious": "layer:relu #3"}, "the model has no such layer"),
        ({"spurious": [[]]}, "names of each value"),
        ({"spurious": "column:label"}, "cannot be distinguished from the class"),
        ({"metadata": {"site": ["A", "B"]}}, "2 rows and there are 1000 samples"),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_work(files, options, message, monkeypatch):
    monkeypatch.setattr("ntkit.jobs.debias._debias.prepared", lambda *a, **k: pytest.fail("worked"))
    with pytest.raises(InputError, match=message):
        job(files, **options)
    with pytest.raises(InputError, match="no column 'group'"):
        job(files, spurious="metadata:group=train-1", metadata=files / "sites.csv")


@pytest.mark.more
def test_answers_on_layers_that_cannot_be_read_are_read_by_what_says_the_same(
    files, by_words, tmp_path
):
    """A page asks about layers as well; what raw inputs tell of the family stands for them."""
    layer = [["layer:relu #3 mean high", "word:film"], ["layer:relu #3 mean low", "word:movie"]]
    alone = [["layer:relu #5 mean high"]]
    found = job(files, answers=answers_of(tmp_path / "answers.json", layer, alone))
    named = by_words
    assert found.balanced_over == named.balanced_over == "word:film against word:movie"
    assert np.array_equal(found.head.coef, named.head.coef)
    assert "instead of layer:relu #3 mean high" in " ".join(found.notes)
    assert "ntkit left out layer:relu #5 mean high" in " ".join(found.notes)
    assert "left out" not in " ".join(named.notes)
    with pytest.raises(InputError, match="layer:relu #5"):
        job(files, answers=answers_of(tmp_path / "alone.json", alone))


def test_what_matters_is_not_asked_again_and_what_a_model_says_is_no_metadata(files, tmp_path):
    """Nor are labels and groups."""
    sides = [["word:film"], ["word:movie"]]
    answers = answers_of(tmp_path / "answers.json", sides, answer="legitimate")
    parts = [column(files / f"{n}.csv", "id", "text", "label") for n in ("train", "validation")]
    ids, texts, labels = (one + other for one, other in zip(*parts, strict=True))
    columns = {"id": ids, "prediction": predicted(files / "model.onnx", texts)}
    leaky = write_csv(tmp_path / "leaky.csv", columns | {"label": labels, "kind": labels})
    result = job(files, answers=answers, metadata=leaky)
    assert not result.written
    assert result.open == ()  # nor neurons that the words explain
    names = {n for f in result.audit.findings for n in (f.name, *f.same, *f.opposed)}
    assert {"word:film", "word:movie"} <= names
    assert not any(name.startswith("metadata:") for name in names)


@pytest.mark.more
def test_values_of_too_few_samples_are_told(files, tmp_path):
    """They count in no group, so the worst group is that of others."""
    for name in ("train", "validation"):
        columns = {n: column(files / f"{name}-sites.csv", n)[0] for n in ("text", "label", "site")}
        rare = {"train": 3, "validation": 1}[name]
        columns["site"][:rare] = ["C"] * rare
        write_csv(tmp_path / f"{name}.csv", columns)
        if name == "validation":
            for row in (7, 8):
                columns["site"][row] = "b"
            columns["text"] = [f"{text} then" for text in columns["text"]]
            write_csv(tmp_path / "test.csv", columns)
    sets = [tmp_path / f"{name}.csv" for name in ("train", "validation", "test")]
    options = {"spurious": "metadata:site", **QUICK}
    result = debias(files / "model.onnx", *sets[:2], test=sets[2], **options)
    notes = result.notes
    assert "Worst group of values of at least 5 samples: " in result.lines()[0]
    few = "these values have fewer than 5 samples, so no group: metadata:site"
    assert [note for note in notes if "fewer than 5" in note] == [
        f"The test set: {few}=C (1), {few.split()[-1]}=b (2).",
        f"Training and validation set: {few}=C (4).",
    ]
    plain = debias(
        files / "model.onnx",
        *(files / f"{n}-sites.csv" for n in ("train", "validation")),
        **options,
    )
    assert not any("fewer than 5" in note or "differ only" in note for note in plain.notes)
    assert "Worst group: " in plain.lines()[0]


@pytest.mark.more
def test_values_that_differ_only_in_case_are_told(files, tmp_path):
    for name in ("train", "validation"):
        columns = {n: column(files / f"{name}-sites.csv", n)[0] for n in ("text", "label", "site")}
        columns["site"][::7] = [value.lower() for value in columns["site"][::7]]
        write_csv(tmp_path / f"{name}.csv", columns)
    sets = [tmp_path / f"{name}.csv" for name in ("train", "validation")]
    notes = debias(files / "model.onnx", *sets, spurious="metadata:site", **QUICK).notes
    (note,) = [each for each in notes if "differ only in writing" in each]
    assert "'metadata:site=A' and 'metadata:site=a'" in note


def written_sites(files, folder, change):
    """The sets with sites, those of the validation set in another spelling."""
    for name in ("train", "validation"):
        columns = {n: column(files / f"{name}-sites.csv", n)[0] for n in ("text", "label", "site")}
        if name == "validation":
            columns["site"] = [*map(change, columns["site"])]
        write_csv(folder / f"{name}.csv", columns)
    return [folder / f"{name}.csv" for name in ("train", "validation")]


@pytest.mark.parametrize(
    ("train", "validation", "spurious", "shown"),
    [
        (str, str.lower, "metadata:site", "'A' in one set and 'a'"),
        (str, str.lower, "metadata:site=B", "'B' in one set and 'b'"),
        (lambda s: str(s == "A"), lambda s: int(s == "A"), "metadata:site", "'False' in one set"),
    ],
)
def test_one_value_has_one_spelling_in_both_sets(
    files, tmp_path, train, validation, spurious, shown
):
    sets = written_sites(files, tmp_path, validation)
    columns = {n: column(sets[0], n)[0] for n in ("text", "label", "site")}
    write_csv(sets[0], columns | {"site": [*map(train, columns["site"])]})
    with pytest.raises(InputError, match=shown):
        debias(files / "model.onnx", *sets, spurious=spurious, **QUICK)


@pytest.mark.more
def test_other_values_in_the_second_set_are_told(files, tmp_path):
    """Hospitals of another country, for example."""
    sets = written_sites(files, tmp_path, {"A": "C", "B": "D"}.get)
    notes = debias(files / "model.onnx", *sets, spurious="metadata:site", **QUICK).notes
    (note,) = [note for note in notes if "occurs in both sets" in note]
    assert note == (
        "'metadata:site' has no value that occurs in both sets: 'A', 'B' in one, 'C', 'D' in the "
        "other."
    )
    sets = written_sites(files, tmp_path, str)
    notes = debias(files / "model.onnx", *sets, spurious="metadata:site", **QUICK).notes
    assert not any("occurs in both sets" in note for note in notes)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A model of three classes, and sets of a table with a column that predicts the class."""
    rng, sets = np.random.default_rng(0), {}
    sizes = {"train": 500, "validation": 300, "test": 120, "large": 300}
    for name, n in sizes.items():
        share = 0.95 if name == "train" else 0.9
        y, X = rng.integers(0, 3, n), rng.normal(size=(n, 6)).astype(np.float32)
        X[np.arange(n), y] += 1.5
        X[:, 5] = 2 * np.where(rng.random(n) < share, y == 2, y != 2)
        sets[name] = pd.DataFrame(X, columns=[*"abcdef"]), y
    network, (X, y) = MLPClassifier((16,), random_state=0), sets["train"]
    for _ in range(30):
        network.partial_fit(X.to_numpy(), y, classes=[0, 1, 2])
    (W1, W2), (b1, b2) = (
        [each.astype(np.float32) for each in of] for of in (network.coefs_, network.intercepts_)
    )
    graph = """(float[batch, 6] x) => (float[batch, 3] logits) {
        h = Gemm(x, W1, b1)
        z = Relu(h)
        logits = Gemm(z, W2, b2)
    }"""
    arrays = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
    path = tmp_path_factory.mktemp("three") / "model.onnx"
    return zoo.save(zoo.parsed(graph, **arrays), path), sets


@pytest.mark.more
@pytest.mark.parametrize("method", ["auto", None])
def test_one_original_has_one_worst_group(three, method):
    """In the outcome and in the table, in every run with the same attribute."""
    model, sets = three
    sets = [sets[name] for name in ("train", "validation", "large")]
    options = {"spurious": "column:f>=2", "method": method, "device": "cpu"}
    result = debias(model, *sets[:2], test=sets[2], **options)
    groups, *_ = result.outcome.groups
    assert result.outcome.where == "test set"
    old, chosen = result.candidates[0], result.chosen
    assert groups.worst.before == old.worst_group
    assert groups.worst.value == chosen.worst_group
    y, X = sets[2][1], sets[2][0].to_numpy()
    right = zoo.run(model, X)["logits"].argmax(axis=1) == y
    shares = [
        right[inside].mean()
        for k in range(3)
        for value in (True, False)
        if (inside := (y == k) & ((X[:, 5] >= 2) == value)).sum() >= FEWEST
    ]
    assert old.worst_group == min(shares)


@pytest.mark.more
def test_a_test_set_with_few_of_a_group_does_not_judge(three):
    """Copies of validation samples do, so the outcome is of the validation set."""
    model, sets = three
    sets = [sets[name] for name in ("train", "validation", "test")]
    y, high = sets[2][1], sets[2][0]["f"] >= 2
    assert min(((y == k) & (high == value)).sum() for k in range(3) for value in (0, 1)) < FEWEST
    result = debias(model, *sets[:2], test=sets[2], spurious="column:f>=2", device="cpu")
    assert result.outcome.where == "validation set"
    right = zoo.run(model, sets[2][0].to_numpy())["logits"].argmax(axis=1) == y
    shares = [right[(y == k) & (high == value)] for k in range(3) for value in (0, 1)]
    shares = [of_group.mean() for of_group in shares if len(of_group)]
    assert result.candidates[0].worst_group == min(shares)  # of the smallest group, too
    assert any("it has too few of a group" in caution for caution in result.cautions)


def sites_without(folder, name, seed, share, lacking):
    """A table of reviews and their sites, without those of one class and site."""
    texts, y, movie = reviews(seed, 600, share)
    sites = np.where(movie, "A", "B").tolist()
    rows = [row for row in zip(texts, y, sites, strict=True) if row[1:] != lacking]
    return write_rows(folder / name, [("text", "label", "site"), *rows])


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.more
def test_a_test_set_without_a_group_does_not_judge(files, tmp_path, answered):
    """Without a change of the input, too: validation samples have the group and judge."""
    lacking = min(reviews(0, 9, 0.5)[1]), "A"
    test = sites_without(tmp_path, "test.csv", 21, 0.5, lacking)
    sets = files / "train-sites.csv", files / "validation-sites.csv"
    options = {"spurious": "metadata:site", **QUICK}
    if answered:
        said = Answers((Answer("metadata:site=A", "spurious", (("metadata:site=A",),)),))
        options = {"answers": said, **QUICK}
    alone = debias(files / "model.onnx", *sets, **options)
    found = debias(files / "model.onnx", *sets, test=test, **options)
    assert (alone.outcome.word, alone.written) == ("probably better", True)
    assert found.outcome == alone.outcome
    assert found.written
    told = "The test set does not judge, but validation samples do: it has too few of a group."
    assert told in found.cautions
    assert "Validation set, cross-fitted: If metadata:site" in found.headline()
    # A validation set that lacks the group as well tells no more, so the test set judges.
    sets = sets[0], sites_without(tmp_path, "validation.csv", 22, 0.9, lacking)
    found = debias(files / "model.onnx", *sets, test=test, **options)
    assert found.outcome.where == "test set"
    assert told not in found.cautions


PICTURES = np.random.default_rng(3).integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
SCALES = {
    "whole": PICTURES,
    "decimal": PICTURES.astype(np.float32),
    "from 0 to 1": (PICTURES / 255).astype(np.float32),
    "from -1 to 1": (PICTURES / 127.5 - 1).astype(np.float32),
}


@pytest.mark.parametrize("one", SCALES)
def test_images_of_arrays_are_measured_on_one_scale(one):
    """A cut of one set holds in another one, whose values are written in another type."""
    name = "image:top left brightness above the median"
    reader = AttributeReader([Samples(SCALES[one], np.zeros(40))])
    cut = {name: reader.rule(name)}
    bright = PICTURES[:, 0, :3, :3].mean(axis=(1, 2))
    assert_array_equal(reader.values(name, cut), bright > np.median(bright))
    for other, X in SCALES.items():
        again = AttributeReader([Samples(X, np.zeros(40))])
        assert_array_equal(again.values(name, cut), bright > np.median(bright))
        both = AttributeReader([Samples(SCALES[one], np.zeros(40)), Samples(X, np.zeros(40))])
        alike = one == other or {one, other} == {"whole", "decimal"}
        with nullcontext() if alike else pytest.raises(InputError, match="on different scales"):
            assert_array_equal(both.values(name, cut), np.tile(bright > np.median(bright), 2))


def test_a_colour_is_cut_at_one_place_whether_cells_are_read_or_not():
    name, X = "image:border orange high", np.full((40, 3, 8, 8), 0.5, np.float32)
    framed = np.arange(40) % 3 == 0
    X[framed] = np.array([0.95, 0.45, 0.1])[:, None, None]
    X[:, :, 1:-1, 1:-1] = 0.3
    X[0, :, 1, 1], X[1, :, 1, 1] = 0, 1  # black and white
    reader = AttributeReader([Samples(X, np.zeros(40))])
    rule = reader.rule(name)
    assert_array_equal(reader.values(name), framed)
    (of_images,) = (each for each in reader.feature_sets() if each.kind == "image")
    assert_array_equal(of_images.values(name), framed)
    assert of_images.rule(name).is_like(rule)
    other = AttributeReader([Samples(X[:2], np.zeros(2))])
    assert_array_equal(other.values(name, {name: Rule.from_dict(rule.as_dict())}), framed[:2])


def test_a_cut_of_images_does_not_hold_in_normalised_ones():
    name = "image:top left brightness above the median"
    given = {form: AttributeReader([Samples(X, np.zeros(40))]) for form, X in SCALES.items()}
    normalised = ((PICTURES / 255 - 0.48) / 0.23).astype(np.float32)
    given["normalised"] = AttributeReader([Samples(normalised, np.zeros(40))])
    of_whole, of_normalised = given["whole"].rule(name), given["normalised"].rule(name)
    values = given["whole"].values(name, {name: of_whole})
    assert_array_equal(given["normalised"].values(name, {name: of_normalised}), values)
    for reader, rule in (("normalised", of_whole), ("decimal", of_normalised)):
        with pytest.raises(InputError, match="on another scale"):
            given[reader].values(name, {name: rule})
