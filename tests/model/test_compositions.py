"""Models nobody wrote by hand: affine operators around a layer and the choice of a position.

A body gives rows ``z`` (N, 5), tokens (N, 4, 5) or a map (N, 5, 3, 2); what follows is drawn. The
weights are known by construction: the head that is read must be they, and a new one must give its
own logits.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from onnx import TensorProto
from scipy.special import log_softmax, softmax

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import HeadNotFoundError, InputError
from tests import models as zoo

K, D = 3, 5
SHAPES = {"rows": (D,), "tokens": (4, D), "map": (D, 3, 2)}
PRODUCTS = {
    "rows": ["gemm", "matmul_add", "mean_of_layers"],
    "tokens": ["matmul", "matmul_add", "einsum", "dequantised", "three_axes", "two_layers"],
    "map": ["conv", "conv_without_bias", "conv_add", "two_layers"],
}
AT_POSITIONS = ["times", "halved", "plus", "minus", "negated", "normalised", "cast", "low_rank"]
CHOICES = {  # operators, and the embedding that they choose from z
    "rows": {
        "one": ([], lambda z: z),
        "turned and back": (["Transpose({})", "Transpose({}, perm=[1, 0])"], lambda z: z),
        "reshaped": (["Reshape({}, [0, 1, 3, 1])", "Reshape({}, [-1, 3])"], lambda z: z),
    },
    "tokens": {
        "first": (["Gather({}, 0, axis=1)"], lambda z: z[:, 0]),
        "last": (["Gather({}, [-1], axis=1)", "Reshape({}, [-1, 3])"], lambda z: z[:, -1]),
        "mean": (["ReduceMean({}, axes=[1], keepdims=0)"], lambda z: z.mean(axis=1)),
        "sum": (["ReduceSum({}, [1], keepdims=0)"], lambda z: z.sum(axis=1)),
        "slice": (["Slice({}, [2], [3], [1])", "Squeeze({}, [1])"], lambda z: z[:, 2]),
    },
    "map": {
        "pool": (["GlobalAveragePool({})", "Flatten({})"], lambda z: z.mean(axis=(2, 3))),
        "mean": (["ReduceMean({}, axes=[2, 3], keepdims=0)"], lambda z: z.mean(axis=(2, 3))),
        "pixel": (["Gather({}, 1, axis=3)", "Gather({}, 2, axis=2)"], lambda z: z[:, :, 2, 1]),
        "sum": (["ReduceSum({}, [2, 3])", "Squeeze({}, [2, 3])"], lambda z: z.sum(axis=(2, 3))),
    },
}
AFTERWARDS = ["times", "halved", "plus", "minus", "negated", "cast", "unsqueezed", "moved", "split"]
ENDS = {
    "softmax": (["Softmax({}, axis=1)"], lambda logits: softmax(logits, axis=1)),
    "log_softmax": (["LogSoftmax({}, axis=1)"], lambda logits: log_softmax(logits, axis=1)),
    "argmax": (["ArgMax({}, axis=1)"], lambda logits: logits.argmax(axis=1)[:, None]),
    "logits": ([], lambda logits: logits),
    "written out": (["Exp({0})", "ReduceSum({0}, [1], keepdims=1)", "Div({1}, {0})"],
                    lambda logits: softmax(logits, axis=1)),
}  # fmt: skip


class Made:
    """A graph under construction, with W and b."""

    def __init__(self, kind, seed):
        self.g, self.kind, self.rng, self.count = zoo.Graph(), kind, np.random.default_rng(seed), 0
        self.g.add("Relu", ["x"], "z")
        self.name, self.before, self.flat = "z", "", False

    def op(self, call, **arrays):
        """Add an operator on the last result."""
        self.count += 1
        text = f"t{self.count} = {call.format(self.name, self.before)}"
        self.before, self.name = self.name, self.g.write(text, **arrays)

    def per_class(self, array):
        """A factor or shift for each class, as wide as the tensor has axes after them."""
        return np.reshape(array, (-1, *[1] * (2 if self.kind == "map" and not self.flat else 0)))

    def draw(self, call, *, bias=True):
        W, b = self.rng.normal(size=(K, D)), self.rng.normal(size=K) * bias
        self.op(call, W=W, b=b, kernel=W[:, :, None, None])
        return W, b

    # -- products

    def gemm(self):
        return self.draw("Gemm(z, W, b, transB=1)")

    def matmul(self):
        return self.draw("MatMul(z, W.T)", bias=False)

    def matmul_add(self):
        (W, _), b = self.matmul(), self.rng.normal(size=K)
        self.op("Add(b, {})", b=b)
        return W, b

    def einsum(self):
        return self.draw('Einsum(W, z, equation="kd,ntd->ntk")', bias=False)

    def dequantised(self):
        whole = self.rng.integers(-90, 90, size=(D, K)).astype(np.int8)
        self.op("DequantizeLinear(whole, 0.02)", whole=whole)
        self.op("MatMul(z, {})")
        return whole.T * np.float32(0.02), np.zeros(K)

    def three_axes(self):
        return self.draw("MatMul(z, W.T[None])", bias=False)

    def conv_without_bias(self):
        return self.draw("Conv(z, kernel)", bias=False)

    def conv(self):
        return self.draw("Conv(z, kernel, b)")

    def conv_add(self):
        (W, b), more = self.conv(), self.rng.normal(size=K)
        self.op("Add({}, more)", more=self.per_class(more))
        return W, b + more

    def two_layers(self):
        first, second = ("matmul_add", "einsum") if self.kind == "tokens" else ("conv", "conv_add")
        W1, b1 = getattr(self, first)()
        one = self.name
        W2, b2 = getattr(self, second)()
        self.op(f"Sub({one}, {{}})")
        return W1 - W2, b1 - b2

    def mean_of_layers(self):
        W1, b1 = self.gemm()
        W2, b2 = self.gemm()
        self.op("Mean({0}, {1})")
        return (W1 + W2) / 2, (b1 + b2) / 2

    # -- affine in each class

    def times(self):
        factor = self.rng.uniform(0.5, 2, size=K) * self.rng.choice([-1, 1], size=K)
        self.op("Mul({}, factor)", factor=self.per_class(factor))
        self.W, self.b = factor[:, None] * self.W, factor * self.b

    def halved(self):
        self.op("Div({}, 2.0)")
        self.W, self.b = self.W / 2, self.b / 2

    def plus(self):
        shift = self.rng.normal(size=K)
        self.op("Sub({}, shift)", shift=self.per_class(-shift))
        self.b = self.b + shift

    def minus(self):
        self.op("Sub(1.5, {})")
        self.W, self.b = -self.W, 1.5 - self.b

    def negated(self):
        self.op("Neg({})")
        self.W, self.b = -self.W, -self.b

    def normalised(self):
        if self.kind == "tokens":
            return self.times()
        (gain, shift, mean), var = self.rng.normal(size=(3, K)), self.rng.uniform(0.5, 2, size=K)
        arrays = {"gain": gain, "shift": shift, "mean": mean, "var": var}
        self.op("BatchNormalization({}, gain, shift, mean, var, epsilon=1e-3)", **arrays)
        factor = gain / np.sqrt(var + 1e-3)
        self.W, self.b = factor[:, None] * self.W, factor * (self.b - mean) + shift
        return None

    def cast(self):
        self.op("Cast({}, to=DOUBLE)")
        self.op("Cast({}, to=FLOAT)")

    def low_rank(self):
        if self.kind == "map":
            return self.halved()
        before, a, b = self.name, self.rng.normal(size=(D, 2)), self.rng.normal(size=(2, K))
        self.op("MatMul(z, a)", a=a)
        self.op("MatMul({}, b)", b=b)
        self.op(f"Add({before}, {{}})")
        self.W = self.W + (a @ b).T
        return None

    # -- of one row per sample

    def unsqueezed(self):
        self.op("Unsqueeze({}, [1])")
        self.op("Flatten({})")

    def moved(self):
        order = self.rng.permutation(K)
        self.op("Gather({}, order, axis=1)", order=order)
        self.W, self.b = self.W[order], self.b[order]

    def split(self):
        whole = self.name
        self.op("Slice({}, [0], [1], [1])")
        self.op(f"Slice({whole}, [1], [3], [1])")
        self.op("Concat({0}, {1}, axis=1)")
        self.W, self.b = np.roll(self.W, -1, axis=0), np.roll(self.b, -1)


def goes_round(kind, drawn, seed, folder):
    product, before, choice, after, end = drawn
    made = Made(kind, seed)
    made.W, made.b = getattr(made, product)()
    for step in before:
        getattr(made, step)()
    chosen, pooled = CHOICES[kind][choice]
    for call in chosen:
        made.op(call)
    made.flat = True
    if choice == "sum":  # of as many biases as there are positions
        made.b = made.b * np.prod([n for n in SHAPES[kind] if n != D])
    for step in after:
        getattr(made, step)()
    ends, shown = ENDS[end]
    for call in ends:
        made.op(call)
    kind_of = TensorProto.INT64 if end == "argmax" else TensorProto.FLOAT
    made.g.output(made.name, ["batch", 1 if end == "argmax" else K], kind_of)
    X = np.random.default_rng(3).normal(size=(12, *SHAPES[kind])).astype(np.float32)
    proto = made.g.model(inputs=[zoo.value("x", ["batch", *SHAPES[kind]])])
    path = zoo.save(proto, folder / "m.onnx")
    truth = pooled(np.maximum(X, 0).astype(np.float64)) @ made.W.T + made.b
    # The construction itself is right; ONNX Runtime rounds what it multiplies by weights of 8 bits.
    rounding = 1e-1 if product == "dequantised" else 1e-4
    near(zoo.run(path, X)[made.name], shown(truth), rounding)
    model = FrozenModel.load(path)
    Z = OnnxEmbedder(model, device="cpu").transform(X).astype(np.float64)
    near(model.head.decision_function(Z), truth)
    head = LinearHead(made.rng.normal(size=(K, Z.shape[1])), np.arange(K), range(K))
    new = model.with_head(head).save(folder / "new.onnx", force=True)
    near(zoo.run(new, X)[made.name], shown(Z @ head.coef.T + head.intercept))


def near(found, expected, tolerance=1e-4):
    scale = tolerance * (1 + np.abs(expected).max())
    assert_allclose(found, expected, rtol=0, atol=scale)


@pytest.mark.parametrize("kind", SHAPES)
def test_any_composition_is_read_and_exchanged(kind, tmp_path):
    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        st.tuples(
            st.sampled_from(PRODUCTS[kind]),
            st.lists(st.sampled_from(AT_POSITIONS), max_size=3),
            st.sampled_from(list(CHOICES[kind])),
            st.lists(st.sampled_from(AFTERWARDS), max_size=3),
            st.sampled_from(list(ENDS)),
        ),
        st.integers(0, 99),
    )
    def goes(drawn, seed):
        try:
            goes_round(kind, drawn, seed, tmp_path)
        except (HeadNotFoundError, InputError) as error:
            raise AssertionError(f"{drawn}: {error}") from None

    goes()
