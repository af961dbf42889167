"""From a finding to a repaired model: attributes that are named, or answered."""

import csv
import json

import numpy as np
import onnxruntime as ort
import pytest
import tokenizers
from onnx import TensorProto, helper
from PIL import Image

import ntkit
from ntkit import FrozenModel, debias
from ntkit.cli import main
from ntkit.estimators import retrain_head
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, Samples, read_samples
from ntkit.jobs.audit import AttributeReader
from ntkit.jobs.debias import DebiasResult
from ntkit.samples import read_table
from tests.jobs.label.models import rows
from tests.jobs.label.models import write_model as write_model_of_rows

GOOD, POOR = ([f"{word}{i}" for i in range(20)] for word in ("fine", "dull"))
REST = ["the", "plot", "of", "this", "scene", "actor", "music", "story"]
VOCABULARY = ["[PAD]", "[UNK]", "film", "movie", *GOOD, *POOR, *REST]
WIDTH = 12


def reviews(seed, n, share):
    """Texts, labels, and who says "film"; a share of the fresh ones and of the others "movie"."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    film = np.where(rng.random(n) < share, y, 1 - y)
    texts = []
    for label, says_film in zip(y, film, strict=True):
        own, other = (GOOD, POOR) if label else (POOR, GOOD)
        words = [rng.choice(own if rng.random() < 0.75 else other) for _ in range(5)]
        words += rng.choice(REST, 4).tolist()
        words.append("film" if says_film else "movie")
        texts.append(" ".join(rng.permutation(words)))
    return texts, np.array(["rotten", "fresh"])[y], film


def vectors():
    rng = np.random.default_rng(0)
    table = 0.5 * rng.normal(size=(len(VOCABULARY), WIDTH))
    table[VOCABULARY.index("film"), 0], table[VOCABULARY.index("movie"), 0] = 8, -8
    for words, value in ((GOOD, 1.2), (POOR, -1.2)):
        for word in words:
            table[VOCABULARY.index(word), 1] = value
    return table.astype(np.float32)


def embedded(texts):
    index = {word: i for i, word in enumerate(VOCABULARY)}
    return np.stack([vectors()[[index[w] for w in text.split()]].mean(axis=0) for text in texts])


def write_model(folder):
    """Token vectors, their mean, an ERM head fitted on biased texts, and a tokenizer."""
    texts, y, _ = reviews(0, 1500, 0.95)
    head = retrain_head(embedded(texts), y, class_weight=None, C=1.0).with_logits(2)
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["tokens", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "second"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["column", "second"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "W", "b"], ["logits"], transB=1),
    ]
    floats = {"vectors": vectors(), "W": head.coef, "b": head.intercept}
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, v.shape, v.astype(np.float32).ravel())
        for name, v in floats.items()
    ]
    constants += [helper.make_tensor(n, TensorProto.INT64, [1], [v]) for n, v in
                  (("last", 2), ("second", 1))]  # fmt: skip
    shape = ["batch", "tokens"]
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.INT64, shape)
        for n in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "reviews", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    words = tokenizers.models.WordLevel({w: i for i, w in enumerate(VOCABULARY)}, "[UNK]")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "model.onnx"


def write_table(path, **columns):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model, its training and validation set, biased alike, and metadata of both by id."""
    folder = tmp_path_factory.mktemp("reviews")
    write_model(folder)
    ids, site = [], []
    for name, seed, n in (("train", 1, 900), ("validation", 2, 600)):
        texts, y, film = reviews(seed, n, 0.95)
        own = [f"{name}-{i}" for i in range(n)]
        write_table(folder / f"{name}.csv", id=own, text=texts, label=y, length=range(n))
        ids, site = ids + own, site + np.where(film, "A", "B").tolist()
    write_table(folder / "sites.csv", id=ids[::-1], site=site[::-1], group=ids)
    return folder


def logits_of(path, texts):
    index = {word: i for i, word in enumerate(VOCABULARY)}
    ids = np.array([[index[w] for w in text.split()] for text in texts])
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]


def worst_group(path):
    """On fresh samples, balanced over the groups, in ONNX Runtime."""
    texts, y, film = reviews(9, 2000, 0.5)
    right = np.array(["fresh", "rotten"])[logits_of(path, texts).argmax(axis=1)] == y
    return min(right[(y == k) & (film == v)].mean() for k in np.unique(y) for v in (0, 1))


def run(capsys, *arguments):
    code = 0
    try:
        main(
            [*map(str, arguments), "--quiet"]
            if arguments[0] == "debias"
            else [*map(str, arguments)]
        )
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def sets(files):
    return ["--train", files / "train.csv", "--validation", files / "validation.csv"]


def job(files, **options) -> DebiasResult:

    options.setdefault("device", "cpu")
    return debias(files / "model.onnx", files / "train.csv", files / "validation.csv", **options)


# -- the whole way ------------------------------------------------------------------------------


def test_from_predictions_to_a_repaired_model(files, tmp_path, capsys):
    with (files / "validation.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    logits = logits_of(files / "model.onnx", [row["text"] for row in rows])
    pred = np.array(["fresh", "rotten"])[logits.argmax(axis=1)]
    predictions = write_table(
        tmp_path / "predictions.csv",
        id=[r["id"] for r in rows],
        label=[r["label"] for r in rows],
        prediction=pred,
    )
    code, out, err = run(
        capsys,
        "audit",
        "--predictions",
        predictions,
        files / "validation.csv",
        "-o",
        tmp_path / "audit",
    )
    assert code == 0, err
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())["findings"][0]
    assert {found["name"], *found["opposed"]} == {"word:film", "word:movie"}
    answers = tmp_path / "answers.json"
    entry = {
        "name": found["name"],
        "answer": "spurious",
        "values": [[found["name"]], found["opposed"]],
    }
    answers.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": [entry]}))
    out_folder = tmp_path / "out"
    code, out, err = run(
        capsys, "debias", files / "model.onnx", *sets(files), "--answers", answers,
        "-o", out_folder, "--verbose",
    )  # fmt: skip
    assert code == 0, err
    headline, head, *_ = out.splitlines()
    assert "Validation set, worst group: " in headline
    assert head.startswith("copies")  # films are swapped for movies
    validation = files / "validation.csv"
    assert (
        run(capsys, "verify", files / "model.onnx", out_folder / "debiased.onnx", validation)[0]
        == 0
    )
    assert worst_group(files / "model.onnx") < 0.5
    assert worst_group(out_folder / "debiased.onnx") > worst_group(files / "model.onnx") + 0.3


# -- naming -------------------------------------------------------------------------------------


def test_named_groups_are_shown_with_an_interval(files, tmp_path):
    result = job(files, spurious="word:film", out=tmp_path / "out")
    assert result.chosen.name == "group-balanced"
    said = result.summary(verbose=True)
    assert "group-balanced is over class × word:film;" in said
    assert "named or answered chose the head" in said
    assert max(map(len, result.table().splitlines())) <= 120
    assert result.helped
    assert result.balanced_over == "word:film"
    before, after = result.accuracy_costs[0].worst_named, result.accuracy_cost.worst_named
    assert after.accuracy > before.accuracy + 0.3
    assert after.interval[0] < after.accuracy < after.interval[1]
    sentence = result.named_outcome()
    parts = (
        (before.share, sentence),
        (str(after), sentence),
        (sentence, result.summary(verbose=True)),
    )
    for part, whole in parts:
        assert part in whole
    assert "worst balanced group" in result.table()
    assert "worst balanced group" in result.interpolation()
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["balanced_over"] == "word:film"
    assert record["named_outcome"] == sentence
    chosen = next(c for c in record["candidates"] if c["chosen"])
    assert chosen["worst_named"] == pytest.approx(result.accuracy_costs[-1].worst_named.accuracy)
    assert all(
        0 <= c["worst_named"] <= 1
        for c in record["candidates"]
        if not c["name"].startswith("random mask")
    )
    assert "Worst group of class × word:film" in (tmp_path / "out" / "report.html").read_text()
    facts = FrozenModel.load(tmp_path / "out" / "debiased.onnx").metadata
    assert facts["ntkit.attributes"] == "word:film"


@pytest.mark.parametrize(
    "spurious",
    [
        "word:film|word:movie",
        [[["word:film"], ["word:movie"]]],
        ["word:film", "column:length>=300"],
        "metadata:site",
        "metadata:site=A",
    ],
)
def test_ways_to_name_an_attribute(files, spurious):
    result = job(files, spurious=spurious, metadata=files / "sites.csv")
    assert result.helped
    assert (
        result.accuracy_cost.worst_named.accuracy
        > result.accuracy_costs[0].worst_named.accuracy + 0.3
    )
    assert any("training and validation samples" in note for note in result.notes)


def test_metadata_that_match_half_of_the_rows(files, tmp_path):
    """Of the others it is not known: they are on no side, and are said to be."""
    with (files / "sites.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::2]
    half = write_table(
        tmp_path / "half.csv", id=[r["id"] for r in rows], site=[r["site"] for r in rows]
    )
    found = ntkit.audit_model(
        files / "model.onnx", files / "validation.csv", metadata=half, device="cpu"
    )
    assert "it names 300 of 600 samples" in " ".join(found.notes)
    assert (found.values("metadata:site=A") < 0).sum() == 300
    result = job(files, spurious="metadata:site", metadata=half)
    assert result.helped
    assert "750 on none" in " ".join(result.notes)


@pytest.mark.parametrize("names", ["both", "the validation set twice"])
def test_metadata_of_a_name_that_two_samples_have_are_refused(names):
    """Else a table of the validation set would be taken for the training set, too."""
    ids = [np.array([f"{i}.png" for i in range(4)]), np.array(["7.png", "8.png", "8.png"])]
    if names == "both":
        ids[1] = np.array(["2.png", "5.png", "6.png"])
    sets = [Samples(np.zeros((len(own), 2)), np.zeros(len(own)), ids=own) for own in ids]
    table = {"file_name": ["1.png", "2.png", "6.png", "8.png"], "site": ["A", "B", "A", "B"]}
    with pytest.raises(InputError, match=r"The metadata name '[28].png', and 2 samples"):
        _ = AttributeReader(sets, table).metadata
    with pytest.raises(InputError, match="samples have this name"):
        AttributeReader(sets, table).feature_sets([])
    few = {name: [values[0], values[2]] for name, values in table.items()}
    if names == "both":  # of the name that both have it says nothing
        site = AttributeReader(sets, few).metadata["site"].tolist()
        assert site == [None, "A", None, None, None, None, "A"]


# -- columns that an audit takes for metadata -----------------------------------------------------


@pytest.fixture(scope="module")
def with_sites(tmp_path_factory):
    """A model, and tables with a column for the site of each text."""
    folder = tmp_path_factory.mktemp("sites")
    write_model(folder)
    for name, seed, n in (("train", 1, 900), ("validation", 2, 600)):
        texts, y, film = reviews(seed, n, 0.95)
        site = np.where(film, "A", "B")
        write_table(folder / f"{name}.csv", text=texts, label=y, site=site)
    return folder


def test_from_an_audit_of_the_tables_own_columns_to_a_repaired_model(with_sites, tmp_path, capsys):
    files, model = with_sites, with_sites / "model.onnx"
    audit = ntkit.audit_model(
        model, files / "validation.csv", feature_sets=["metadata"], device="cpu"
    )
    (found,) = audit.findings
    assert found.name in ("metadata:site=A", "metadata:site=B")
    code, out, err = run(
        capsys, "debias", model, *sets(files), "--spurious", "metadata:site=B",
        "-o", tmp_path / "a", "--verbose",
    )  # fmt: skip
    assert code == 0, err
    assert "group-balanced is over class × metadata:site=B;" in out
    assert worst_group(tmp_path / "a" / "debiased.onnx") > worst_group(model) + 0.3
    given = np.array(
        [v for n in ("train", "validation") for v in column(files / f"{n}.csv", "site")]
    )
    table = {"site": given}  # the same, as it was given until now
    by_row = job(files, spurious="metadata:site=B", metadata=table)
    by_answers = job(files, answers=audit.answers(found.name))
    by_name = job(files, spurious="metadata:site=B")
    assert np.array_equal(by_name.head.coef, by_row.head.coef)
    assert by_answers.helped
    assert (
        by_answers.accuracy_cost.worst_named.accuracy == by_row.accuracy_cost.worst_named.accuracy
    )


def column(path, name):
    with path.open(newline="", encoding="utf-8") as file:
        return [row[name] for row in csv.DictReader(file)]


def test_what_is_given_goes_before_the_tables_own_columns(with_sites):
    files = [read_table(with_sites / f"{name}.csv") for name in ("train", "validation")]
    sets = [Samples(np.zeros((len(f), 1)), np.zeros(len(f)), sources=(f.path,)) for f in files]
    assert AttributeReader(sets).metadata.keys() == {"text", "site"}
    other = AttributeReader(sets, {"site": ["C"] * 1500, "age": range(1500)})
    assert (*other.metadata["site"][:2], other.metadata.keys()) == (
        "C",
        "C",
        {"text", "site", "age"},
    )


def test_labels_groups_and_predictions_of_a_table_are_no_attributes(tmp_path):
    sets = []
    for name, seed in (("train", 0), ("validation", 1)):
        X, y, mark = rows(seed, 100)
        columns = dict(zip("abcdef", X.T.tolist(), strict=True))
        path = tmp_path / f"{name}.csv"
        write_table(path, **columns, label=y, group=2 * y + mark, prediction=mark)
        sets.append(read_samples(path, columns="abcdef", group_column="group"))
    read = {
        name
        for feature_set in AttributeReader(sets).feature_sets([])
        for block in feature_set.blocks()
        for name in block.names
    }
    assert {name.split(":")[1][0] for name in read} == {*"abcdef"}
    assert not any(word in name for name in read for word in ("label", "group", "prediction"))


def test_columns_of_a_table_of_numbers(tmp_path):
    """Input columns of the model, and other columns."""
    model = write_model_of_rows(tmp_path / "model.onnx")
    sets = []
    for name, seed in (("train", 0), ("validation", 1)):
        X, y, mark = rows(seed, 400)
        columns = dict(zip("abcdef", X.T.tolist(), strict=True))
        path = tmp_path / f"{name}.csv"
        write_table(path, **columns, label=y, site=np.array(["A", "B"])[mark])
        sets.append(read_samples(path, columns="abcdef", keep_table=name == "validation"))
    audit = ntkit.audit_model(model, sets[1], feature_sets=["column", "metadata"], device="cpu")
    names = [name for s in audit.findings for name in (s.name, *s.same, *s.opposed)]
    cut = next(name for name in names if name.startswith("column:b>="))
    assert {"metadata:site=A", "metadata:site=B"} & {*names}
    for name in (cut, "metadata:site=B"):
        found = debias(model, *sets, spurious=name, device="cpu")
        assert found.helped, name
        assert (
            found.accuracy_cost.worst_named.accuracy
            > found.accuracy_costs[0].worst_named.accuracy + 0.2
        )
    np.savez(tmp_path / "plain.npz", X=X, y=y)
    with pytest.raises(InputError, match="'metadata:site=B' needs metadata"):
        debias(model, tmp_path / "plain.npz", tmp_path / "plain.npz", spurious="metadata:site=B")


def test_metadata_in_image_folders(tmp_path):
    """Each set's own metadata.csv, as an audit takes it; names may be the same in both."""
    sets = []
    for name, values in (("train", "ABAB"), ("validation", "BBAA")):
        for i in range(4):
            file = tmp_path / name / f"{i % 2}" / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), i).save(file)
        ids = [f"{i % 2}/{i}.png" for i in range(4)]
        write_table(tmp_path / name / "metadata.csv", file_name=ids, site=values, group="0011")
        steps = ImagePreprocessing(resize=(4, 4))
        sets.append(read_samples(tmp_path / name, preprocessing=steps))
    found = AttributeReader(sets)
    assert found.metadata.keys() == {"site"}
    assert found.metadata["site"].tolist() == [*"AABB", *"BABA"]
    assert found.values("metadata:site=B").tolist() == [0, 0, 1, 1, 1, 0, 1, 0]
    (tmp_path / "validation" / "metadata.csv").unlink()
    with pytest.raises(InputError, match="needs metadata"):
        AttributeReader(sets).values("metadata:site=B")


def test_names_that_are_markup_are_shown_and_not_obeyed(tmp_path):
    write_model(tmp_path)
    sets = {}
    for name, seed in (("train", 1), ("validation", 2)):
        texts, y, film = reviews(seed, 400, 0.95)
        site = np.where(film, "<script>alert(1)</script>|`", "B")
        texts = [
            f"{text} <script>" if says else text for text, says in zip(texts, film, strict=True)
        ]
        sets[name] = write_table(tmp_path / f"{name}.csv", text=texts, label=y, site=site)
    result = debias(
        tmp_path / "model.onnx",
        sets["train"],
        sets["validation"],
        spurious=["column:site=<script>alert(1)</script>|`", "word:<script"],
        even_if_worse=True,
        out=tmp_path / "out",
        device="cpu",
    )
    assert "<script>alert" not in (tmp_path / "out" / "report.html").read_text()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "script>alert" in card
    assert "<script>alert" not in card.replace("\\<", "")
    assert {line.replace("\\|", "").count("|") for line in result.table().splitlines()} == {7}
    assert result.table() in (tmp_path / "out" / "table.md").read_text()
    assert "\\" not in result.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spurious": "word:flim"}, "did you mean 'word:film'"),
        ({"spurious": "column:lenth>=3"}, "did you mean 'length'"),
        ({"spurious": "column:length>=1e9"}, "No sample has the value"),
        ({"spurious": "column:length"}, "name a threshold"),
        ({"spurious": "length>=3"}, "did you mean 'column:length>=3'"),
        ({"spurious": "film"}, "did you mean 'word:film'"),
        ({"spurious": "metadata:site=A"}, "There is no column 'site'"),
        ({"spurious": "layer:relu #3"}, "the model has no such layer"),
        ({"spurious": [[]]}, "names of each value"),
        ({"metadata": {"site": ["A", "B"]}}, "2 rows and there are 1500 samples"),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_work(files, options, message, monkeypatch):
    monkeypatch.setattr("ntkit.jobs.debias._debias.prepared", lambda *a, **k: pytest.fail("worked"))
    with pytest.raises(InputError, match=message):
        job(files, **options)


def answers_of(path, *sides):
    entries = [{"name": s[0][0], "answer": "spurious", "values": s} for s in sides]
    path.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": entries}))
    return path


def test_answers_on_layers_that_cannot_be_read_are_read_by_what_says_the_same(files, tmp_path):
    """A page asks about layers as well; what raw inputs tell of the family stands for them."""
    layer = [["layer:relu #3 mean high", "word:film"], ["layer:relu #3 mean low", "word:movie"]]
    alone = [["layer:relu #5 mean high"]]
    found = job(files, answers=answers_of(tmp_path / "answers.json", layer, alone))
    named = job(files, spurious="word:film|word:movie")
    assert found.balanced_over == named.balanced_over == "word:film against word:movie"
    assert np.array_equal(found.head.coef, named.head.coef)
    assert "instead of layer:relu #3 mean high" in " ".join(found.notes)
    assert "ntkit left out layer:relu #5 mean high" in " ".join(found.notes)
    assert "Left out" not in " ".join(named.notes)
    with pytest.raises(InputError, match="layer:relu #5"):
        job(files, answers=answers_of(tmp_path / "alone.json", alone))


# -- no yes -------------------------------------------------------------------------------


def test_what_was_answered_as_legitimate_is_not_asked_again(files, tmp_path):
    answers = tmp_path / "answers.json"
    entry = {"name": "word:film", "answer": "legitimate", "values": [["word:film"], ["word:movie"]]}
    answers.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": [entry]}))
    before, after = job(files), job(files, answers=answers)
    assert before.open[0].name in ("word:film", "word:movie")
    assert not after.written
    asked = [{finding.name, *finding.same, *finding.opposed} for finding in after.open]
    assert all({"word:film", "word:movie"}.isdisjoint(names) for names in asked)


def test_group_columns_of_metadata_are_never_looked_at(files):
    with pytest.raises(InputError, match="no column 'group'"):
        job(files, spurious="metadata:group=train-1", metadata=files / "sites.csv")


def test_labels_groups_and_what_a_model_says_are_no_metadata(files, tmp_path, capsys):
    with (files / "sites.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts = {}
    for name in ("train", "validation"):
        with (files / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            texts |= {row["id"]: row for row in csv.DictReader(file)}
    ids = [row["id"] for row in rows]
    pred = logits_of(files / "model.onnx", [texts[i]["text"] for i in ids]).argmax(axis=1)
    labels = [texts[i]["label"] for i in ids]
    leaky = write_table(tmp_path / "leaky.csv", id=ids, prediction=pred, label=labels, kind=labels)
    model = files / "model.onnx"
    out = run(capsys, "debias", model, *sets(files), "-o", tmp_path / "out", "--metadata", leaky)[1]
    assert "word:" in out
    assert "metadata:" not in out
