"""An audit of a model: its own errors, and the views that each kind of samples has."""

import csv
import shutil

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

import ntkit
from ntkit import FrozenModel, LinearHead
from ntkit.attributes import words
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore, OnnxEmbedder, Samples
from ntkit.jobs.audit import audit_model, write_audit
from tests import models
from tests.texts import text_model, word_pieces

N = 240
RNG = np.random.default_rng(0)
Y = np.arange(N) % 2
CLASSES = np.array(["cat", "dog"])
CUE = np.where(RNG.random(N) < 0.85, Y, 1 - Y)  # dogs are bright, say "dog", come from site B
RIGHT = RNG.random(N) < 0.4  # and the model looks at that in most of them


def brightness_model(path):
    """Means of the channels of an image; the first decides, at 0.5."""
    graph = models.Graph()
    graph.constant("w", np.eye(3)[:, :, None, None])
    graph.add("Conv", ["x", "w"], "c")
    graph.add("Relu", ["c"], "r")
    graph.add("MaxPool", ["r"], "p", kernel_shape=[2, 2], strides=[2, 2])
    graph.add("Relu", ["p"], "q")
    graph.add("GlobalAveragePool", ["q"], "g")
    graph.add("Flatten", ["g"], "z")
    graph.constant("fc", np.array([[20.0, 0, 0]]))
    graph.constant("b", np.array([-10.0]))
    graph.add("Gemm", ["z", "fc", "b"], "logits", transB=1)
    graph.output("logits", ["batch", 1])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])]
    return models.save(graph.model(inputs), path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of images: dogs are bright, so the model predicts bright images as dogs."""
    folder = tmp_path_factory.mktemp("pictures")
    brightness_model(folder / "model.onnx")
    rng = np.random.default_rng(1)
    for i in range(N):
        bright = Y[i] if RIGHT[i] else CUE[i]
        level = 40 + 150 * bright
        pixels = (level + rng.integers(0, 40, (8, 8, 3))).astype(np.uint8)
        name = f"{i:03d}.{('bmp', 'png')[CUE[i]]}"
        path = folder / "data" / CLASSES[Y[i]] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def write(path, **columns):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def audited(folder, **options):
    return ntkit.audit_model(folder / "model.onnx", folder / "data", device="cpu", **options)


def test_pictures(pictures):
    found = audited(pictures)
    assert set(found.n_looked_at) == {"image", "file", "layer"}
    one = found.findings[0]
    assert one.name in ("file:format=PNG", "file:format=BMP")  # exact ones come first
    family = {one.name, *one.same, *one.opposed}
    assert any(name.startswith("image:brightness") for name in family)
    order = [int(name.split("/")[1][:3]) for name in found.inputs.ids]
    bright = np.where(RIGHT, Y, CUE)[order]
    assert found.predictions.pred_index.tolist() == bright.tolist()
    assert (found.values("file:format=PNG") == CUE[order]).all()
    assert found.inputs.images[7].shape == (8, 8, 3)
    assert "assumed from the model's input" in " ".join(found.notes)


def test_pictures_are_decoded_once(pictures, monkeypatch):
    opened = []
    load = Image.open
    monkeypatch.setattr(
        Image, "open", lambda path, **k: opened.append(str(path)) or load(path, **k)
    )
    audited(pictures, changes=0)
    assert max(np.unique(opened, return_counts=True)[1]) <= 3  # the pass, and two looks at a few
    assert len(opened) <= N + 20


def test_only_the_views_asked_for(pictures):
    found = audited(pictures, feature_sets=["image"])
    assert set(found.n_looked_at) == {"image"}
    with pytest.raises(InputError, match=r"no feature set 'word'. They have image"):
        audited(pictures, feature_sets=["word"])
    for wrong in (["words"], [], "word"):
        with pytest.raises(InputError, match="feature_sets must be some of word, column"):
            audited(pictures, feature_sets=wrong)


def test_ones_own_views_and_arrays(pictures):
    paths = sorted((pictures / "data").rglob("*.*"))
    order = np.array([int(path.stem) for path in paths])
    found = audited(
        pictures,
        feature_sets=["image"],
        more_feature_sets=[words(["bright" if CUE[i] else "dark" for i in order], kind="caption")],
        arrays={"clip": CUE[order][:, None] + 0.01 * np.arange(N)[:, None] / N},
    )
    assert {"caption", "clip"} <= set(found.n_looked_at)
    assert (found.values("caption:bright") == CUE[order]).all()


@pytest.mark.parametrize("whole", [True, False])
def test_metadata_by_file_name(pictures, tmp_path, whole):
    paths = sorted((pictures / "data").rglob("*.*"))
    some = [path for path in paths if int(path.stem) % 4]
    names = [f"{path.parent.name}/{path.name}" if whole else path.name for path in some]
    site = [["A", "B"][CUE[int(path.stem)]] for path in some]
    table = write(tmp_path / "m.csv", file_name=names[::-1], site=site[::-1], group=names[::-1])
    found = audited(pictures, metadata=table)
    order = np.array([int(name.split("/")[1][:3]) for name in found.inputs.ids])
    expected = np.where(order % 4 > 0, CUE[order], -1)
    assert (found.values("metadata:site=B") == expected).all()
    assert found.n_looked_at["metadata"] == 3  # A, B and missing; groups say nothing but classes
    assert any(f"names {len(some)} of {N} samples" in note for note in found.notes)


def test_metadata_beside_the_folder_of_images(pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "copy")
    names = [f"{p.parent.name}/{p.name}" for p in sorted((tmp_path / "copy/data").rglob("*.*"))]
    write(tmp_path / "copy/data/metadata.csv", file_name=names, group=["g"] * N, hour=range(N))
    found = audited(tmp_path / "copy")
    assert found.n_looked_at["metadata"] == 5
    write(tmp_path / "copy/data/metadata.csv", file_name=names, group=["g"] * N)
    assert "metadata" not in audited(tmp_path / "copy").n_looked_at


@pytest.mark.parametrize(
    ("columns", "key", "message"),
    [
        ({"file_name": ["no.png"], "site": ["A"]}, None, "None of the 240 samples"),
        ({"file_name": ["no.png"] * 2, "site": ["A"] * 2}, None, "twice"),
        ({"picture": ["no.png"], "site": ["A"]}, None, "has no column 'file_name'"),
        ({"picture": ["no.png"], "site": ["A"]}, "photo", "has no column 'photo'"),
        ({"file_name": ["no.png"]}, None, "no columns to use"),
    ],
)
def test_metadata_that_does_not_fit(pictures, tmp_path, columns, key, message):
    table = write(tmp_path / "m.csv", **columns)
    with pytest.raises(InputError, match=message):
        audited(pictures, metadata=table, key=key)


def test_metadata_that_is_no_table(pictures, tmp_path):
    for path, message in ((tmp_path / "no.csv", "does not exist"), (tmp_path, "not a table")):
        with pytest.raises(InputError, match=message):
            audited(pictures, metadata=path)


# -- texts and tables -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """A table of texts, and a model that looks at the word "dog"."""
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("reviews")
    word_pieces().save(str(folder / "tokenizer.json"))
    backbone = text_model(folder)
    rng = np.random.default_rng(2)
    others = rng.choice(["quick", "brown", "fox", "jumps"], (N, 2))
    texts = [f"the {o[0]} {('fox', 'dog')[c]} {o[1]}" for o, c in zip(others, CUE, strict=True)]
    site = np.array(["A", "B"])[RNG.integers(0, 2, N)]
    path = write(folder / "data.csv", id=range(N), text=texts, label=CLASSES[Y], site=site,
                 pred=Y)  # fmt: skip
    samples = ntkit.extraction.read_samples(
        path, preprocessing=ntkit.extraction.TextPreprocessing.for_model(backbone)
    )
    Z = OnnxEmbedder(backbone, device="cpu").transform(samples.X)
    weights = np.linalg.lstsq(Z - Z.mean(axis=0), CUE - 0.5, rcond=None)[0]
    head = LinearHead(weights[None], [-weights @ Z.mean(axis=0)], CLASSES)
    backbone.with_head(head).save(folder / "classifier.onnx")
    return FrozenModel.load(folder / "classifier.onnx"), path


def test_texts(reviews):
    model, path = reviews
    found = ntkit.audit_model(model, path, device="cpu")
    assert set(found.n_looked_at) == {"word", "metadata", "embedding"}
    assert found.findings[0].name in ("word:dog", "word:fox")
    assert (found.values("word:dog") == CUE).all()
    assert set(found.inputs.table) == {"site", "id", "pred"}
    assert found.inputs.texts[0].startswith("the ")
    assert any("'id', 'pred'" in note for note in found.notes)


def test_metadata_of_a_table_by_its_ids(reviews, tmp_path):
    model, path = reviews
    order = np.random.default_rng(3).permutation(N)
    site = np.array(["A", "B"])[CUE]
    by_id = write(tmp_path / "m.csv", id=order, source=site[order])
    by_row = write(tmp_path / "r.csv", source=site)
    for table in (by_id, by_row, {"source": site}):
        found = ntkit.audit_model(
            model, path, device="cpu", metadata=table, feature_sets=["metadata"]
        )
        assert (found.values("metadata:source=B") == CUE).all()
    with pytest.raises(InputError, match="3 rows and there are 240 samples"):
        ntkit.audit_model(model, path, device="cpu", metadata={"source": ["A"] * 3})
    with pytest.raises(InputError, match="Two samples have the name"):
        ntkit.audit_model(model, path, metadata=by_row, key="site", device="cpu")


def test_columns_of_numbers(tmp_path):
    X = np.random.default_rng(4).normal(size=(N, 6))
    X[:, 0] = 2 * CUE - 1 + 0.2 * X[:, 0]
    names = ["age", "income", "size", "weight", "height", "score"]
    path = write(tmp_path / "t.csv", label=CLASSES[Y], site_id=np.array([3, 7])[CUE],
                 **dict(zip(names, X.T, strict=True)))  # fmt: skip
    graph = models.Graph()
    graph.constant("w", np.eye(5, 6))
    graph.add("Gemm", ["x", "w"], "h", transB=1)
    graph.add("Tanh", ["h"], "z")
    graph.constant("fc", np.eye(1, 5) * 4)
    graph.add("Gemm", ["z", "fc"], "logits", transB=1)
    graph.output("logits", ["batch", 1])
    models.save(graph.model(), tmp_path / "m.onnx")
    found = ntkit.audit_model(tmp_path / "m.onnx", path, device="cpu", metadata=None)
    assert set(found.n_looked_at) == {"column", "metadata", "embedding"}
    assert found.findings[0].name.startswith(("column:age>=", "metadata:site_id="))
    assert found.values("metadata:site_id=7").tolist() == CUE.tolist()
    assert "column:score>=" in " ".join(
        name
        for feature_set in found.feature_sets
        for block in feature_set.blocks()
        for name in block.names
    )


# -- labels, classes, embeddings ------------------------------------------------------------------


def test_cross_fitted_where_the_head_was_trained(digits):
    model = FrozenModel.load(marked_digits_model_path())
    own = ntkit.audit_model(model, (digits.X_train, digits.y_train), device="cpu")
    fitted = ntkit.audit_model(
        model, (digits.X_train, digits.y_train), device="cpu", cross_fit=True
    )
    assert not own.cross_fitted
    assert fitted.cross_fitted
    Z = OnnxEmbedder(model, device="cpu").transform(digits.X_train)
    expected = ntkit.audit(digits.y_train, embeddings=Z, arrays={"Z": Z})
    assert fitted.as_dict()["accuracy"] == pytest.approx(expected.as_dict()["accuracy"], abs=2e-3)
    agrees = fitted.values(fitted.findings[0].name) == digits.groups_train % 2  # the mark
    assert max(agrees.mean(), 1 - agrees.mean()) > 0.9


def test_a_store_of_embeddings(digits, tmp_path):
    model = FrozenModel.load(marked_digits_model_path())
    samples = Samples(digits.X_validation, digits.y_validation)
    EmbeddingStore.write(tmp_path / "s", OnnxEmbedder(model, device="cpu"), samples)
    found = ntkit.audit_model(model, tmp_path / "s", metadata={"mark": digits.groups_validation})
    direct = ntkit.audit_model(model, samples, device="cpu")
    assert set(found.n_looked_at) == {"metadata", "embedding"}
    assert found.as_dict()["errors"] == direct.as_dict()["errors"]
    other = FrozenModel.load(models.save(models.classifier(2), tmp_path / "o.onnx"))
    with pytest.raises(InputError):
        ntkit.audit_model(other, tmp_path / "s")


def test_samples_of_some_of_the_models_classes(tmp_path):
    X = models.inputs(200)
    proto = models.classifier(4)
    logits = models.run(proto, X)["logits"]
    model = FrozenModel.load(models.save(proto, tmp_path / "m.onnx"))
    y = np.where(logits.argmax(axis=1) > 1, 1, logits.argmax(axis=1))
    found = ntkit.audit_model(model, (X, y), device="cpu")
    assert found.predictions.classes.tolist() == [0, 1, 2, 3]
    assert set(found.n_looked_at) == {"input", "embedding"}
    assert "Of the model's 4 classes there are samples of 0, 1." in found.notes
    with pytest.raises(InputError, match="4"):
        ntkit.audit_model(model, (X, y + 3), device="cpu")
    with pytest.raises(InputError, match="bird"):
        ntkit.audit_model(model, (X, np.where(y == 0, "bird", "fish")), device="cpu")


def test_a_class_of_one_sample(digits):
    model = FrozenModel.load(marked_digits_model_path())
    y = digits.y_validation
    rows = np.flatnonzero((y == 0) | (np.cumsum(y) == 1))
    assert y[rows].sum() == 1
    found = ntkit.audit_model(model, (digits.X_validation[rows], y[rows]), device="cpu")
    assert found.findings == ()
    with pytest.raises(InputError, match="too few samples for cross-fitting"):
        ntkit.audit_model(
            model, (digits.X_validation[rows], y[rows]), device="cpu", cross_fit=True
        )  # fmt: skip


def test_a_backbone_without_a_head(tmp_path):
    graph = models.body()
    graph.output("z", ["batch", 5])
    backbone = FrozenModel.load(models.save(graph.model(), tmp_path / "b.onnx"), embedding="z")
    X = models.inputs(200)
    with pytest.raises(InputError, match="--cross-fit"):
        ntkit.audit_model(backbone, (X, np.arange(200) % 2), device="cpu")
    found = ntkit.audit_model(backbone, (X, np.arange(200) % 2), device="cpu", cross_fit=True)
    assert found.cross_fitted


def test_what_are_no_samples(digits):
    path = marked_digits_model_path()
    for data, message in (
        ("no.npz", "does not exist"),
        ((digits.X_test, digits.y_test[:-1]), "labels"),
    ):
        with pytest.raises(InputError, match=message):
            ntkit.audit_model(path, data, device="cpu")


# -- samples without labels ---------------------------------------------------------------------


def test_samples_without_labels_are_cut_where_the_audit_cut_and_decide_nothing(digits, tmp_path):
    held = digits.X_validation, digits.y_validation
    model = marked_digits_model_path()
    alone = audit_model(model, held, device="cpu")
    found = audit_model(model, held, unlabelled=digits.X_validation[::-1][:600], device="cpu")
    for finding in alone.findings:
        own = alone.values(finding.name)
        assert np.array_equal(found.unlabelled.values[finding.name], own[::-1][:600])
    without = {**found.as_dict(), "unlabelled": None}
    assert without == alone.as_dict()
    told = found.as_dict()["unlabelled"]
    first = next(s.name for s in found.findings if s.feature_set == "layer")
    having = int(found.unlabelled.values[first].sum())
    assert told["samples"] == 600
    assert told["findings"][first] == {"having": having, "known": 600}
    write_audit(found, tmp_path / "audit")
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    share = f"{round(100 * having / 600)}"
    assert f"Of 600 images without labels, {having} ({share}\xa0%) are images with" in page
    assert "without labels" not in html_of(alone, tmp_path / "alone")


def test_texts_without_labels(reviews, tmp_path):
    """Words and columns by their names; a column that is not there is left out."""
    model, path = reviews
    texts = ["a dog", "a fox", "no such", "dog, dog", "the the"]
    more = write(tmp_path / "more.csv", text=texts, site=["A", "B", "B", "", "C"])
    source = np.array(["x", "y"])[CUE]
    found = ntkit.audit_model(
        model, path, metadata={"source": source}, unlabelled=more, device="cpu"
    )
    assert {"word:dog", "word:fox"} & {*found.unlabelled.values}
    for name, values in found.unlabelled.values.items():
        assert not name.startswith("metadata:source")
        if name in ("word:dog", "word:fox"):
            assert values.tolist() == [int(name[5:] in text) for text in texts]
    assert "texts without labels" in html_of(found, tmp_path / "audit")


def html_of(found, folder):
    write_audit(found, folder)
    return (folder / "audit.html").read_text(encoding="utf-8")
