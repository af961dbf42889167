"""An audit of a model: its own errors, and the feature sets that each kind of samples has."""

import shutil

import numpy as np
import pytest
from PIL import Image

import ntkit
from ntkit import FrozenModel
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder, Samples
from ntkit.jobs.audit.files import write_audit
from ntkit.store import EmbeddingStore
from tests import models
from tests.cases import write_csv

N = 240
RNG = np.random.default_rng(0)
Y = np.arange(N) % 2
CLASSES = np.array(["cat", "dog"])
CUE = np.where(RNG.random(N) < 0.85, Y, 1 - Y)  # dogs are bright, say "dog", come from site B
RIGHT = RNG.random(N) < 0.4  # and the model looks at that in most of them
SITE = np.array(["A", "B"])[CUE]
DIGITS = marked_digits_model_path()


def brightness_model(path):
    """Means of the channels of an image; the first decides, at 0.5."""
    graph = models.Graph()
    graph.write(
        """c = Conv(x, w)
        r = Relu(c)
        p = MaxPool(r, kernel_shape=[2, 2], strides=[2, 2])
        q = Relu(p)
        g = GlobalAveragePool(q)
        z = Flatten(g)
        logits = Gemm(z, [[20.0, 0.0, 0.0]], [-10.0], transB=1)""",
        w=np.eye(3)[:, :, None, None],
    )
    graph.output("logits", ["batch", 1])
    return models.save(graph.model([models.value("x", ["batch", 3, 8, 8])]), path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of images: dogs are bright, so the model predicts bright images as dogs."""
    folder = tmp_path_factory.mktemp("pictures")
    brightness_model(folder / "model.onnx")
    rng = np.random.default_rng(1)
    for i in range(N):
        level = 40 + 150 * (Y[i] if RIGHT[i] else CUE[i])
        pixels = (level + rng.integers(0, 40, (8, 8, 3))).astype(np.uint8)
        path = folder / "data" / CLASSES[Y[i]] / f"{i:03d}.{('bmp', 'png')[CUE[i]]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def write(path, **columns):
    return write_csv(path, columns)


def audited(folder, **options):
    return ntkit.audit_model(folder / "model.onnx", folder / "data", device="cpu", **options)


def order_of(found):
    """The number of each image."""
    return np.array([int(name.split("/")[1][:3]) for name in found.inputs.ids])


def test_pictures(pictures, monkeypatch):
    opened, load = [], Image.open
    monkeypatch.setattr(
        Image, "open", lambda path, **k: opened.append(str(path)) or load(path, **k)
    )
    found = audited(pictures, changes=0)
    assert max(np.unique(opened, return_counts=True)[1]) <= 3  # the pass, and two looks at a few
    assert len(opened) <= N + 20
    assert set(found.n_looked_at) == {"image", "file", "layer"}
    one = found.findings[0]
    assert one.name in ("file:format=PNG", "file:format=BMP")  # exact ones come first
    family = {one.name, *one.same, *one.opposed}
    assert any(name.startswith("image:brightness") for name in family)
    order = order_of(found)
    bright = np.where(RIGHT, Y, CUE)[order]
    assert found.predictions.pred_index.tolist() == bright.tolist()
    assert (found.values("file:format=PNG") == CUE[order]).all()
    assert found.inputs.images[7].shape == (8, 8, 3)
    assert "assumed from the model's input" in " ".join(found.notes)


@pytest.mark.parametrize("whole", [True, False])
def test_metadata_by_file_name(pictures, tmp_path, whole):
    paths = sorted((pictures / "data").rglob("*.*"))
    some = [path for path in paths if int(path.stem) % 4]
    names = [f"{path.parent.name}/{path.name}" if whole else path.name for path in some]
    site = [SITE[int(path.stem)] for path in some]
    table = write(tmp_path / "m.csv", file_name=names[::-1], site=site[::-1], group=names[::-1])
    found = audited(pictures, metadata=table, feature_sets=["metadata"], changes=0)
    order = order_of(found)
    expected = np.where(order % 4 > 0, CUE[order], -1)
    assert (found.values("metadata:site=B") == expected).all()
    assert found.n_looked_at["metadata"] == 3  # A, B and missing; groups say nothing but classes
    assert any(f"names {len(some)} of {N} samples" in note for note in found.notes)


def test_metadata_beside_the_folder_of_images(pictures, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "copy")
    names = [f"{p.parent.name}/{p.name}" for p in sorted((folder / "data").rglob("*.*"))]
    for columns, n in (({"hour": range(N)}, 5), ({}, None)):
        write(folder / "data/metadata.csv", file_name=names, group=["g"] * N, **columns)
        assert audited(folder, changes=0).n_looked_at.get("metadata") == n


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_sets": ["word"]}, r"no feature set 'word'. They have image"),
        ({"feature_sets": ["words"]}, "feature_sets must be some of word, column"),
        ({"feature_sets": []}, "feature_sets must be some of word, column"),
        ({"feature_sets": "word"}, "feature_sets must be some of word, column"),
        ({"metadata": {"file_name": ["no.png"], "site": ["A"]}}, "None of the 240 samples"),
        ({"metadata": {"file_name": ["no.png"] * 2, "site": ["A"] * 2}}, "twice"),
        ({"metadata": {"picture": ["no.png"], "site": ["A"]}}, "has no column 'file_name'"),
        ({"metadata": {"picture": ["no.png"], "site": ["A"]}, "key": "photo"}, "column 'photo'"),
        ({"metadata": {"file_name": ["no.png"]}}, "no columns to use"),
        ({"metadata": "no.csv"}, "does not exist"),
        ({"metadata": "."}, "not a table"),
        ({"data": "no.npz"}, "does not exist"),
        ({"data": (np.zeros((4, 3, 8, 8), np.float32), [0, 1])}, "labels"),
        ({"model": models.body}, "--cross-fit"),
    ],
)
def test_refused(pictures, tmp_path, options, message):
    both = {"model": pictures / "model.onnx", "data": pictures / "data"}
    if options.get("model"):
        options = {"model": backbone(tmp_path), "data": (models.inputs(20), np.arange(20) % 2)}
    if isinstance(options.get("metadata"), dict):
        options = options | {"metadata": write(tmp_path / "m.csv", **options["metadata"])}
    with pytest.raises(InputError, match=message):
        ntkit.audit_model(**(both | options), device="cpu")


# -- texts and tables -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """A table of texts, and a model that looks at the word "dog"."""
    texts = pytest.importorskip("tests.texts")
    folder, rng = tmp_path_factory.mktemp("reviews"), np.random.default_rng(2)
    others = rng.choice(["quick", "brown", "fox", "jumps"], (N, 2))
    rows = [f"the {o[0]} {('fox', 'dog')[c]} {o[1]}" for o, c in zip(others, CUE, strict=True)]
    site = np.array(["A", "B"])[RNG.integers(0, 2, N)]
    path = write(folder / "data.csv", id=range(N), text=rows, label=CLASSES[Y], site=site,
                 pred=Y)  # fmt: skip
    return texts.text_classifier(folder, rows, CUE)[0], path


def test_texts(reviews, tmp_path):
    """Words and columns by their names; samples without labels may lack a column."""
    model, path = reviews
    texts = ["a dog", "a fox", "no such", "dog, dog", "the the"]
    more = write(tmp_path / "more.csv", text=texts, site=["A", "B", "B", "", "C"])
    source = np.array(["x", "y"])[CUE]
    found = ntkit.audit_model(
        model, path, metadata={"source": source}, unlabelled=more, device="cpu"
    )
    assert set(found.n_looked_at) == {"word", "metadata", "embedding"}
    assert any(each.name in ("word:dog", "word:fox") for each in found.findings)
    assert (found.values("word:dog") == CUE).all()
    assert set(found.inputs.table) == {"site", "id", "pred"}
    assert found.inputs.texts[0].startswith("the ")
    assert any("'id', 'pred'" in note for note in found.notes)
    assert {"word:dog", "word:fox"} & {*found.unlabelled.values}
    for name, values in found.unlabelled.values.items():
        assert not name.startswith("metadata:source")
        if name in ("word:dog", "word:fox"):
            assert values.tolist() == [int(name[5:] in text) for text in texts]
    assert "texts without labels" in html_of(found, tmp_path / "audit")


def test_metadata_of_a_table_by_its_ids(reviews, tmp_path):
    model, path = reviews
    order = np.random.default_rng(3).permutation(N)
    by_id = write(tmp_path / "m.csv", id=order, source=SITE[order])
    by_row = write(tmp_path / "r.csv", source=SITE)
    options = {"device": "cpu", "feature_sets": ["metadata"], "changes": 0}
    for table in (by_id, by_row, {"source": SITE}):
        found = ntkit.audit_model(model, path, metadata=table, **options)
        assert (found.values("metadata:source=B") == CUE).all()
    with pytest.raises(InputError, match="3 rows and there are 240 samples"):
        ntkit.audit_model(model, path, metadata={"source": ["A"] * 3}, **options)
    with pytest.raises(InputError, match="samples have this name"):
        ntkit.audit_model(model, path, metadata={"site": ["A"], "x": [0]}, key="site", **options)


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
    found = ntkit.audit_model(tmp_path / "m.onnx", path, device="cpu", changes=0)
    assert set(found.n_looked_at) == {"column", "metadata", "embedding"}
    assert found.findings[0].name.startswith(("column:age>=", "metadata:site_id="))
    assert found.values("metadata:site_id=7").tolist() == CUE.tolist()


def test_images_of_one_pixel(tmp_path):
    for i in range(60):
        path = tmp_path / "data" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1), (4 * i, 250 - 4 * i, 100)).save(path)
    model = brightness_model(tmp_path / "m.onnx")
    found = ntkit.audit_model(model, tmp_path / "data", device="cpu", trust_inputs=True)
    assert found.changes.tried
    write_audit(found, tmp_path / "out")


# -- labels, classes, embeddings ------------------------------------------------------------------


@pytest.mark.more
def test_cross_fitted_where_the_head_was_trained(digits):
    model, data = FrozenModel.load(DIGITS), (digits.X_train[:600], digits.y_train[:600])
    own = ntkit.audit_model(model, data, device="cpu", changes=0)
    fitted = ntkit.audit_model(model, data, device="cpu", cross_fit=True, changes=0)
    assert not own.cross_fitted
    assert fitted.cross_fitted
    Z = OnnxEmbedder(model, device="cpu").transform(data[0])
    expected = ntkit.audit(data[1], embeddings=Z, arrays={"Z": Z})
    assert fitted.as_dict()["accuracy"] == pytest.approx(expected.as_dict()["accuracy"], abs=2e-3)
    first, mark = fitted.findings[0], digits.groups_train[:600] % 2
    agrees = [(fitted.values(n) == mark).mean() for n in (first.name, *first.same, *first.opposed)]
    assert max(*agrees, 1 - min(agrees)) > 0.9


def test_a_store_of_embeddings(digits, tmp_path):
    model = FrozenModel.load(DIGITS)
    samples = Samples(digits.X_validation[:500], digits.y_validation[:500])
    EmbeddingStore.write(tmp_path / "s", OnnxEmbedder(model, device="cpu"), samples)
    mark = {"mark": digits.groups_validation[:500]}
    found = ntkit.audit_model(model, tmp_path / "s", metadata=mark)
    direct = ntkit.audit_model(model, samples, device="cpu", changes=0)
    assert set(found.n_looked_at) == {"metadata", "embedding"}
    assert found.as_dict()["errors"] == direct.as_dict()["errors"]
    other = FrozenModel.load(models.save(models.classifier(2), tmp_path / "o.onnx"))
    with pytest.raises(InputError, match="made with another model"):
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
    some = "Of the model's 4 classes there are samples of 0, 1."
    positions = "labels are their positions from 0 on. If they are not, name the classes with"
    assert [some in note and positions in note for note in found.notes].count(True) == 1
    named = FrozenModel.load(model.path, classes=range(4))
    assert some in ntkit.audit_model(named, (X, y), device="cpu").notes
    with pytest.raises(InputError, match=r"add samples of this class, or name.*--classes"):
        ntkit.debias(model, (X, y), (X, y), device="cpu")
    for others, message in ((y + 3, "4"), (np.where(y == 0, "bird", "fish"), "bird")):
        with pytest.raises(InputError, match=message):
            ntkit.audit_model(model, (X, others), device="cpu")


def backbone(folder):
    graph = models.body()
    graph.output("z", ["batch", 5])
    return FrozenModel.load(models.save(graph.model(), folder / "b.onnx"), embedding="z")


def test_a_backbone_without_a_head(tmp_path):
    data = models.inputs(200), np.arange(200) % 2
    assert ntkit.audit_model(backbone(tmp_path), data, device="cpu", cross_fit=True).cross_fitted


# -- samples without labels ---------------------------------------------------------------------


@pytest.mark.more
def test_samples_without_labels_are_cut_where_the_audit_cut_and_decide_nothing(digits, tmp_path):
    held = digits.X_validation[:900], digits.y_validation[:900]
    options = {"device": "cpu", "changes": 1}
    alone = ntkit.audit_model(DIGITS, held, **options)
    found = ntkit.audit_model(DIGITS, held, unlabelled=held[0][::-1][:600], **options)
    for finding in alone.findings:
        own = alone.values(finding.name)
        assert np.array_equal(found.unlabelled.values[finding.name], own[::-1][:600])
    assert not any("unlabelled set" in note for note in found.notes)
    twice = np.concatenate([held[0][::-1][:600], held[0][-50:]])
    copies = ntkit.audit_model(DIGITS, held, unlabelled=twice, **options)
    note = "The unlabelled set: 50 of 650 samples are copies of others. Each content counts once."
    assert note in copies.as_dict()["notes"]
    without = {**found.as_dict(), "unlabelled": None}
    assert without == alone.as_dict()
    told = found.as_dict()["unlabelled"]
    first = found.findings[0].name
    having, known = (int((found.unlabelled.values[first] >= least).sum()) for least in (1, 0))
    assert 500 < known < told["samples"] == 600  # the others are between two modes
    assert told["findings"][first] == {"having": having, "known": known}
    page = html_of(found, tmp_path / "audit")
    share = f"{round(100 * having / known)}"
    assert f"Of {known} images without labels, {having} ({share}\xa0%) are images with" in page
    assert "without labels" not in html_of(alone, tmp_path / "alone")


def html_of(found, folder):
    write_audit(found, folder)
    return (folder / "audit.html").read_text(encoding="utf-8")
