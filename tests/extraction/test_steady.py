"""Models whose output for a sample is random, or depends on the other samples, are refused."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from onnxruntime.quantization import quantize_dynamic

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import ModelError
from tests.cases import ntkit, refused, settings, write_csv

N = 40
AMONG = "gives a sample another output among other samples"
ANEW = "gives a sample another output in each run"
UNSTEADY = {
    "h = Sub(x, ReduceMean(x, axes=[0]))\nz = Relu(h)": AMONG,
    "h = Sub(x, Mul(ReduceMean(x, axes=[0]), 0.1))\nz = Relu(h)": AMONG,
    "h = Add(x, Slice(x, [0], [1], [0]))\nz = Relu(h)": AMONG,  # the first sample
    "h = Softmax(x, axis=0)\nz = Relu(h)": AMONG,
    "h = Add(x, RandomNormalLike(x))\nz = Relu(h)": ANEW,
    "h = Mul(x, RandomUniformLike(x))\nz = Relu(h)": ANEW,
    "h, m, v = BatchNormalization(x, f4([1]*6), f4([0]*6), f4([0]*6), f4([1]*6), training_mode=1)\n"
    "z = Relu(h)": ANEW,  # its means move, too
}


def model(zoo, path, text="z = Relu(x)", batch="N", dtype=np.float32):
    graph = zoo.Graph(np.dtype(dtype))
    graph.write(text)
    graph.write("logits = MatMul(z, w)", w=np.random.default_rng(0).normal(size=(6, 2)))
    graph.output("logits", [batch, 2])
    return zoo.save(graph.model(batch=batch, metadata={"classes": "no,yes"}), path)


def embedded(path, X, **options):
    return OnnxEmbedder(FrozenModel.load(path), device="cpu", **options).transform(X)


@pytest.mark.parametrize("text", UNSTEADY)
@pytest.mark.parametrize("batch", ["N", 16])
def test_outputs_that_depend_on_more_than_the_sample_are_refused(zoo, tmp_path, text, batch):
    path = model(zoo, tmp_path / "m.onnx", text, batch)
    with pytest.raises(ModelError, match=f"m.onnx {UNSTEADY[text]}.*evaluation mode"):
        embedded(path, zoo.inputs(N))


def test_a_mean_over_a_batch_of_one_is_taken(zoo, tmp_path):
    """As the refusal proposes: no sample has another one in its batch."""
    path = model(zoo, tmp_path / "m.onnx", next(iter(UNSTEADY)), batch=1)
    assert (embedded(path, zoo.inputs(N)) == 0).all()
    noisy = model(zoo, tmp_path / "n.onnx", [*UNSTEADY][4], batch=1)
    with pytest.raises(ModelError, match=ANEW):
        embedded(noisy, zoo.inputs(N))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_rounding_is_taken(zoo, tmp_path, dtype):
    rng, text = np.random.default_rng(0), "h = MatMul(x, w)\nz = Softmax(Mul(h, 9.0), axis=1)"
    graph = zoo.Graph(np.dtype(dtype))
    graph.write(text + "\nlogits = MatMul(z, v)",
                w=rng.normal(size=(6, 300)), v=rng.normal(size=(300, 2)))  # fmt: skip
    graph.output("logits", ["N", 2])
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    X = zoo.inputs(N, dtype)
    assert_allclose(embedded(path, X), embedded(path, X, batch_size=1), atol=1e-2)


def test_scales_of_a_dynamically_quantised_batch_are_taken(zoo, tmp_path):
    rng, graph = np.random.default_rng(0), zoo.Graph()
    graph.write("z = Relu(MatMul(Relu(MatMul(x, u)), v))\nlogits = MatMul(z, w)",
                **{n: rng.normal(size=s) for n, s in zip("uvw", [(6, 32), (32, 16), (16, 2)],
                                                         strict=True)})  # fmt: skip
    graph.output("logits", ["N", 2])
    zoo.save(graph.model(), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "m.onnx")
    for factor in (1, 30):
        X = zoo.inputs(N)
        X[1] *= factor  # coarsens the steps of its batch
        assert len(embedded(tmp_path / "m.onnx", X)) == N


def test_every_command_refuses_a_mean_over_the_batch(zoo, tmp_path):
    """Accuracies would depend on --batch-size; the model alone differs from the one taken."""
    X, out = zoo.inputs(N), tmp_path / "out"
    data, trusted = tmp_path / "d.npz", settings(trust_inputs=True)
    np.savez(data, X=X, y=np.arange(N) % 2)
    for text, batch in ((next(iter(UNSTEADY)), "N"), ("z = Relu(x)", "N")):
        path = model(zoo, tmp_path / "m.onnx", text, batch)
        for command in (
            ("check", path, data, "--average", 9),
            ("check", path, path, data),
            ("predict", path, data, "-o", tmp_path / "p.csv", "--force"),
            ("audit", path, data, "-o", tmp_path / "audit", "--trust-inputs", "--force"),
            ("label", path, data, "-o", tmp_path / f"label of {len(text)}", "--question", "Is it?"),
            ("embed", path, data, "-o", tmp_path / "store", "--force"),
            (
                "debias",
                path,
                data,
                "--method",
                "afr",
                "-o",
                out,
                *trusted,
                "--force",
            ),
        ):
            steps = ("--batch-size", 8) if command[0] in ("predict", "embed") else ()
            options = (*command, "--device", "cpu", "--quiet", *steps)
            if text in UNSTEADY:
                refused(*options, says=AMONG)
            else:
                code, _, err = ntkit(*options)
                assert (code in (0, 1, 3), AMONG in err) == (True, False), err


def test_scores_without_a_linear_layer_are_tried_as_well(zoo, tmp_path):
    graph = zoo.Graph()
    graph.write("h = Sub(x, ReduceMean(x, axes=[0]))\np = Softmax(Mul(h, h), axis=1)")
    graph.output("p", ["N", 6])
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    columns = dict(zip("abcdef", zoo.inputs(N).T, strict=True))
    data = write_csv(tmp_path / "d.csv", {**columns, "label": np.arange(N) % 6})
    refused("check", path, data, "--average", 9, "--device", "cpu", says=AMONG)
