"""Ray's actors compute the bytes that one process computes, and say the same where they cannot."""

import json
import pickle
import sys
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from ntkit import FrozenModel, OnnxEmbedder
from ntkit._extras import MappedFile
from ntkit.exceptions import DeviceError, InputError, MissingDependencyError, ModelError
from ntkit.extraction import ImagePreprocessing, Samples, TextPreprocessing, Texts, read_samples
from ntkit.extraction._ray_embedder import RayEmbedder, _takes_gpu, actors_for
from ntkit.store import EmbeddingStore
from tests.models import INT64, Graph, value

ONE_GPU = [{"CPU": 8.0}, {"CPU": 4.0, "GPU": 1.0}]


class Interrupted(Exception):
    pass


@pytest.fixture
def embedder(zoo, tmp_path):
    model = FrozenModel.load(zoo.save(zoo.classifier(3), tmp_path / "m.onnx"))
    return OnnxEmbedder(model, device="cpu", batch_size=8, threads=1)


@pytest.fixture
def images(tmp_path):
    """A folder with 200 small images of random pixels, in two classes."""
    rng = np.random.default_rng(0)
    for i in range(200):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8)).save(path)
    return tmp_path / "images"


def interrupt_at(row):
    def progress(finished, rows):
        if finished >= row:
            raise Interrupted

    return progress


# -- with Ray -----------------------------------------------------------------------------------


@pytest.mark.more
def test_a_mapped_file_is_read_by_the_actors(ray, zoo, embedder, tmp_path):
    np.save(tmp_path / "X.npy", zoo.inputs(1001))
    np.save(tmp_path / "y.npy", np.arange(1001) % 3)
    samples, seen = read_samples(tmp_path / "X.npy"), []
    local = EmbeddingStore.write(tmp_path / "local", embedder, samples)
    options = {"engine": "ray", "progress": lambda *rows: seen.append(rows)}
    store = EmbeddingStore.write(tmp_path / "ray", embedder, samples, **options)
    assert zoo.contents(store.path) == zoo.contents(local.path)
    assert len(seen) > 8
    assert seen == sorted(seen)
    assert seen[-1] == (1001, 1001)
    assert ray.is_initialized()  # the user's own Ray goes on


@pytest.mark.more
def test_a_broken_image_is_named_and_the_local_engine_finishes(
    ray, zoo, embedder, images, tmp_path
):
    model = FrozenModel.load(zoo.save(convolution(), tmp_path / "c.onnx"))
    embedder.set_params(model=model)
    samples = read_samples(images, preprocessing=ImagePreprocessing())
    whole = EmbeddingStore.write(tmp_path / "whole", embedder, samples)
    broken = samples.X.paths[150]
    sound = broken.read_bytes()
    broken.write_bytes(sound[:50])
    errors = []
    for engine in ("local", "ray"):
        with pytest.raises(InputError, match=broken.name) as raised:
            EmbeddingStore.write(
                tmp_path / engine, embedder, samples, engine=engine, checkpoint_rows=16
            )
        errors.append((type(raised.value), str(raised.value)))
    assert errors[0] == errors[1]
    assert 0 < json.loads((tmp_path / "ray" / "manifest.json").read_text())["finished_rows"] < 150
    broken.write_bytes(sound)
    store = EmbeddingStore.write(tmp_path / "ray", embedder, samples)
    assert zoo.contents(store.path) == zoo.contents(whole.path)


@pytest.mark.more
def test_ray_finishes_the_texts_that_the_local_engine_began(ray, zoo, tmp_path, monkeypatch):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    words = tokenizers.models.WordLevel({"[PAD]": 0, "a": 1, "b": 2, "c": 3}, unk_token="a")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["a", "b", "c"], rng.integers(0, 9))) for _ in range(1000)]
    monkeypatch.chdir(tmp_path)  # a relative path means the same in the actors
    X = Texts(texts, TextPreprocessing("tokenizer.json", max_length=8))
    samples = Samples(X, np.arange(1000) % 2)
    model = FrozenModel.load(zoo.save(sums_of_tokens(), tmp_path / "t.onnx"))
    embedder = OnnxEmbedder(model, device="cpu", batch_size=2, threads=1)
    whole = EmbeddingStore.write(tmp_path / "whole", embedder, samples)
    options = {"checkpoint_rows": 1}
    with pytest.raises(Interrupted):
        EmbeddingStore.write(
            tmp_path / "s", embedder, samples, progress=interrupt_at(384), **options
        )
    embedder.set_params(batch_size=16)  # it goes on with what it began with
    store = EmbeddingStore.write(tmp_path / "s", embedder, samples, engine="ray", **options)
    assert zoo.contents(store.path) == zoo.contents(whole.path)


class Warns:
    """Samples that warn, or are refused, where they are looked at."""

    def __init__(self, X, error=None):
        self.X, self.error = X, error

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        warnings.warn("memory", RuntimeWarning, stacklevel=2)
        if self.error is not None:
            raise self.error
        return self.X[index]


@pytest.mark.more
def test_errors_and_warnings_of_the_actors_come_out_as_they_were(ray, zoo, embedder):
    X = Warns(zoo.inputs(16), ModelError("a\nb"))
    batches = RayEmbedder(embedder).iter_batches(X, 0, 16, {"batch_size": 8, "window": 8})
    with pytest.warns(RuntimeWarning, match="memory"), pytest.raises(ModelError, match=r"^a b$"):
        next(batches)
    sound = Warns(zoo.inputs(16))
    batches = RayEmbedder(embedder).iter_batches(sound, 0, 16, {"batch_size": 8, "window": 8})
    with pytest.warns(RuntimeWarning, match="memory"):
        assert_array_equal(np.concatenate([*batches]), embedder.transform(sound.X))


def convolution():
    """Images (N, 3, 6, 6) to an embedding of 4 neurons and 2 logits."""
    rng, graph = np.random.default_rng(1), Graph()
    graph.write(
        "z = Flatten(GlobalAveragePool(Conv(x, k)))\nlogits = Gemm(z, W, transB=1)",
        k=rng.normal(size=(4, 3, 3, 3)),
        W=rng.normal(size=(2, 4)),
    )
    graph.output("logits", ["batch", 2])
    return graph.model([value("x", ["batch", 3, 6, 6])])


def sums_of_tokens():
    """Token ids and their mask (N, T) to an embedding of 3 neurons and 2 logits."""
    rng, graph = np.random.default_rng(1), Graph()
    graph.write(
        """
        weights = Unsqueeze(Cast(attention_mask, to=FLOAT), [-1])
        z = ReduceSum(Mul(Gather(table, input_ids), weights), [1], keepdims=0)
        logits = Gemm(z, W, transB=1)""",
        table=rng.normal(size=(4, 3)),
        W=rng.normal(size=(2, 3)),
    )
    graph.output("logits", ["batch", 2])
    names = ("input_ids", "attention_mask")
    return graph.model([value(name, ["batch", "length"], INT64) for name in names])


# -- without Ray --------------------------------------------------------------------------------


def test_without_ray_one_sentence_says_what_to_install(embedder, zoo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    samples = Samples(zoo.inputs(4), np.arange(4) % 3)
    with pytest.raises(InputError, match="engine must be local or ray, not 'spark'"):
        EmbeddingStore.write(tmp_path / "store", embedder, samples, engine="spark")
    with pytest.raises(MissingDependencyError, match="pip install ray"):
        EmbeddingStore.write(tmp_path / "store", embedder, samples, engine="ray")
    assert not (tmp_path / "store").exists()


def test_actors_fill_the_cluster():
    for nodes, threads, actors in [
        ([{"CPU": 2.0}], 1, (2, 1)),
        ([{"CPU": 8.0}, {"CPU": 8.0}, {"CPU": 2.0}], 8, (2, 8)),
        ([{"CPU": 8.0}], 64, (1, 8)),  # the caller's machine is larger
        ([{"memory": 1e9}, {"CPU": 4.0}], 3, (1, 3)),
        ([{"memory": 1e9}], 3, (1, 1)),
    ]:
        assert actors_for(nodes, threads) == actors


def test_actors_take_gpus_where_they_may_and_there_are_some():
    for options, nodes, takes in [
        ({"device": "cpu"}, ONE_GPU, False),
        ({"device": "auto"}, ONE_GPU, True),
        ({"device": "auto"}, ONE_GPU[:1], False),
        ({"device": "cuda"}, ONE_GPU, True),
        ({"providers": ["CPUExecutionProvider"]}, ONE_GPU, False),
        ({"providers": [("CUDAExecutionProvider", {})]}, ONE_GPU, True),
    ]:
        assert _takes_gpu(OnnxEmbedder("m.onnx", **options), nodes) is takes
    with pytest.raises(DeviceError, match="the Ray cluster has none"):
        _takes_gpu(OnnxEmbedder("m.onnx", device="cuda"), ONE_GPU[:1])


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mapped_file_goes_by_its_path(tmp_path, order):
    np.save(tmp_path / "X.npy", np.asarray(np.arange(600.0).reshape(100, 6), order=order))
    X = np.lib.format.open_memmap(tmp_path / "X.npy", mode="r")
    for whole in (X, np.asarray(X)):
        file = pickle.loads(pickle.dumps(MappedFile.of(whole)))
        assert_array_equal(file.open(), X)
    for part in (X[10:20], X[::3], X.T, X[:, 1:], X.astype(np.float32), np.zeros(3), [1]):
        assert MappedFile.of(part) is None
    changed = np.lib.format.open_memmap(tmp_path / "X.npy", mode="c")
    changed[0] = 1
    assert MappedFile.of(changed) is None
    del X, whole, part, changed
    (tmp_path / "X.npy").unlink()
    with pytest.raises(InputError, match=r"X\.npy cannot be read on .* put it where all machines"):
        file.open()
