"""Models nobody wrote by hand: affine operators around a layer and the choice of a position.

A body gives tokens ``z`` (N, 4, 5) or a map (N, 5, 3, 2); what follows is drawn. The weights are
known by construction: the head that is read must be they, and a new one must give its own logits.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from onnx import TensorProto, helper

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import HeadNotFoundError, InputError

K, D = 3, 5
SHAPES = {"tokens": (4, D), "map": (D, 3, 2)}
PRODUCTS = {
    "tokens": ["matmul", "matmul_add", "einsum", "dequantised", "three_axes", "two_layers"],
    "map": ["conv", "conv_without_bias", "conv_add", "two_layers"],
}
AT_POSITIONS = ["times", "halved", "plus", "negated", "normalised", "cast", "low_rank"]
CHOICES = {
    "tokens": ["first", "last_kept", "mean", "sum", "slice"],
    "map": ["pool", "reduce", "one_pixel", "sum_pixels"],
}
AFTERWARDS = ["times", "halved", "plus", "negated", "cast", "unsqueezed", "moved", "split"]
ENDS = ["softmax", "log_softmax", "written_out", "argmax", "logits"]


class Made:
    """A graph under construction, with W, b, and how the embedding comes from ``z``."""

    def __init__(self, zoo, kind, seed):
        self.g, self.kind, self.rng, self.count = zoo.Graph(), kind, np.random.default_rng(seed), 0
        self.g.add("Relu", ["x"], "z")
        self.flat = False
        self.W, self.b, self.pooled = np.zeros((K, D)), np.zeros(K), None

    def new(self, op, inputs, **attributes):
        self.count += 1
        self.name = self.g.add(op, inputs, f"t{self.count}", **attributes)
        return self.name

    def constant(self, array, dtype=None):
        self.count += 1
        return self.g.constant(f"c{self.count}", array, dtype)

    def ints(self, *values):
        return self.constant(values, np.int64)

    def per_class(self, array):
        """A factor or shift for each class, as wide as the tensor has axes after them."""
        after = 2 if self.kind == "map" and not self.flat else 0
        return self.constant(np.reshape(array, (-1, *[1] * after)))

    def draw(self):
        return self.rng.normal(size=(K, D)), self.rng.normal(size=K)

    # -- products

    def matmul(self):
        W, _ = self.draw()
        self.new("MatMul", ["z", self.constant(W.T)])
        return W, np.zeros(K)

    def matmul_add(self):
        W, _ = self.matmul()
        b = self.rng.normal(size=K)
        self.new("Add", [self.constant(b), self.name])
        return W, b

    def einsum(self):
        W, _ = self.draw()
        self.new("Einsum", [self.constant(W), "z"], equation="kd,ntd->ntk")
        return W, np.zeros(K)

    def dequantised(self):
        whole = self.rng.integers(-90, 90, size=(D, K))
        scale = self.constant(0.02)
        weight = self.new("DequantizeLinear", [self.constant(whole, np.int8), scale])
        self.new("MatMul", ["z", weight])
        return whole.T * np.float32(0.02), np.zeros(K)

    def three_axes(self):
        W, _ = self.draw()
        self.new("MatMul", ["z", self.constant(W.T[None])])
        return W, np.zeros(K)

    def conv_without_bias(self):
        W, _ = self.draw()
        self.new("Conv", ["z", self.constant(W[:, :, None, None])])
        return W, np.zeros(K)

    def conv(self):
        W, b = self.draw()
        self.new("Conv", ["z", self.constant(W[:, :, None, None]), self.constant(b)])
        return W, b

    def conv_add(self):
        W, b = self.conv()
        more = self.rng.normal(size=K)
        self.new("Add", [self.name, self.per_class(more)])
        return W, b + more

    def two_layers(self):
        first, second = ("matmul_add", "einsum") if self.kind == "tokens" else ("conv", "conv_add")
        W1, b1 = getattr(self, first)()
        one = self.name
        W2, b2 = getattr(self, second)()
        self.new("Sub", [one, self.name])
        return W1 - W2, b1 - b2

    # -- affine in each class

    def times(self):
        factor = self.rng.uniform(0.5, 2, size=K) * self.rng.choice([-1, 1], size=K)
        self.new("Mul", [self.name, self.per_class(factor)])
        self.W, self.b = factor[:, None] * self.W, factor * self.b

    def halved(self):
        self.new("Div", [self.name, self.constant(2.0)])
        self.W, self.b = self.W / 2, self.b / 2

    def plus(self):
        shift = self.rng.normal(size=K)
        self.new("Sub", [self.name, self.per_class(-shift)])
        self.b = self.b + shift

    def negated(self):
        self.new("Neg", [self.name])
        self.W, self.b = -self.W, -self.b

    def normalised(self):
        if self.kind == "tokens":
            return self.times()
        gain, shift, mean = self.rng.normal(size=(3, K))
        var = self.rng.uniform(0.5, 2, size=K)
        inputs = [self.constant(array) for array in (gain, shift, mean, var)]
        self.new("BatchNormalization", [self.name, *inputs], epsilon=1e-3)
        factor = gain / np.sqrt(var + 1e-3)
        self.W, self.b = factor[:, None] * self.W, factor * (self.b - mean) + shift
        return None

    def cast(self):
        self.new("Cast", [self.name], to=TensorProto.DOUBLE)
        self.new("Cast", [self.name], to=TensorProto.FLOAT)

    def low_rank(self):
        if self.kind == "map":
            return self.halved()
        before, (a, b) = self.name, (self.rng.normal(size=(D, 2)), self.rng.normal(size=(2, K)))
        self.new("MatMul", ["z", self.constant(a)])
        self.new("MatMul", [self.name, self.constant(b)])
        self.new("Add", [before, self.name])
        self.W = self.W + (a @ b).T
        return None

    # -- the choice of a position: sets how the embedding comes from z

    def first(self):
        self.new("Gather", [self.name, self.constant(0, np.int64)], axis=1)
        return lambda z: z[:, 0]

    def last_kept(self):
        self.new("Gather", [self.name, self.ints(-1)], axis=1)
        self.new("Reshape", [self.name, self.ints(-1, K)])
        return lambda z: z[:, -1]

    def mean(self):
        self.new("ReduceMean", [self.name], axes=[1], keepdims=0)
        return lambda z: z.mean(axis=1)

    def sum(self):
        self.new("ReduceSum", [self.name, self.ints(1)], keepdims=0)
        return lambda z: z.mean(axis=1) * 4

    def slice(self):
        self.new("Slice", [self.name, self.ints(2), self.ints(3), self.ints(1)])
        self.new("Squeeze", [self.name, self.ints(1)])
        return lambda z: z[:, 2]

    def pool(self):
        self.new("GlobalAveragePool", [self.name])
        self.new("Flatten", [self.name])
        return lambda z: z.mean(axis=(2, 3))

    def reduce(self):
        self.new("ReduceMean", [self.name], axes=[2, 3], keepdims=0)
        return lambda z: z.mean(axis=(2, 3))

    def one_pixel(self):
        self.new("Gather", [self.name, self.constant(1, np.int64)], axis=3)
        self.new("Gather", [self.name, self.constant(2, np.int64)], axis=2)
        return lambda z: z[:, :, 2, 1]

    def sum_pixels(self):
        self.new("ReduceSum", [self.name, self.ints(2, 3)], keepdims=1)
        self.new("Squeeze", [self.name, self.ints(2, 3)])
        return lambda z: z.sum(axis=(2, 3))

    # -- of one row per sample

    def unsqueezed(self):
        self.new("Unsqueeze", [self.name, self.ints(1)])
        self.new("Flatten", [self.name])

    def moved(self):
        order = self.rng.permutation(K)
        self.new("Gather", [self.name, self.constant(order, np.int64)], axis=1)
        self.W, self.b = self.W[order], self.b[order]

    def split(self):
        parts = [self.new("Slice", [self.name, *map(self.ints, (0, 1, 1))])]
        before = self.g.nodes[-1].input[0]
        parts.append(self.new("Slice", [before, *map(self.ints, (1, K, 1))]))
        self.new("Concat", parts[::-1], axis=1)
        self.W, self.b = np.roll(self.W, -1, axis=0), np.roll(self.b, -1)

    # -- what the model shows

    def end(self, how):
        if how == "written_out":
            exp = self.new("Exp", [self.name])
            total = self.new("ReduceSum", [exp, self.ints(1)], keepdims=1)
            return self.new("Div", [exp, total])
        op = {"softmax": "Softmax", "log_softmax": "LogSoftmax", "argmax": "ArgMax"}.get(how)
        return self.name if op is None else self.new(op, [self.name], axis=1)


def shown(how, logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    if how == "argmax":
        return logits.argmax(axis=1)[:, None]
    return {"logits": logits, "log_softmax": np.log(shares)}.get(how, shares)


def built(zoo, kind, drawn, seed):
    """The model's file content, its made graph, and the embedding of some samples."""
    product, before, choice, after, end = drawn
    made = Made(zoo, kind, seed)
    made.W, made.b = getattr(made, product)()
    for step in before:
        getattr(made, step)()
    pooled = getattr(made, choice)()
    made.flat = True
    if choice.startswith("sum"):  # of as many biases as there are positions
        made.b = made.b * np.prod([n for n in SHAPES[kind] if n != D])
    for step in after:
        getattr(made, step)()
    name = made.end(end)
    kind_of = TensorProto.INT64 if end == "argmax" else TensorProto.FLOAT
    made.g.output(name, ["batch", 1 if end == "argmax" else K], kind_of)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPES[kind]])
    X = np.random.default_rng(3).normal(size=(12, *SHAPES[kind])).astype(np.float32)
    return made, made.g.model(inputs=[x]), name, X, pooled(np.maximum(X, 0).astype(np.float64))


def compositions(kind):
    return st.tuples(
        st.sampled_from(PRODUCTS[kind]),
        st.lists(st.sampled_from(AT_POSITIONS), max_size=3),
        st.sampled_from(CHOICES[kind]),
        st.lists(st.sampled_from(AFTERWARDS), max_size=3),
        st.sampled_from(ENDS),
    )


def goes_round(zoo, kind, drawn, seed, folder):
    made, proto, name, X, Z = built(zoo, kind, drawn, seed)
    path = zoo.save(proto, folder / "m.onnx")
    end = drawn[-1]
    truth = Z @ made.W.T + made.b
    # The construction itself is right; ONNX Runtime rounds what it multiplies by weights of 8 bits.
    near(zoo.run(path, X)[name], shown(end, truth), 1e-1 if drawn[0] == "dequantised" else 1e-4)
    model = FrozenModel.load(path)
    E = OnnxEmbedder(model, device="cpu").transform(X).astype(np.float64)
    near(model.head.decision_function(E), truth)
    head = LinearHead(made.rng.normal(size=(K, E.shape[1])), np.arange(K), range(K))
    new = model.with_head(head).save(folder / "new.onnx", force=True)
    near(zoo.run(new, X)[name], shown(end, E @ head.coef.T + head.intercept))


def near(found, expected, tolerance=1e-4):
    scale = tolerance * (1 + np.abs(expected).max())
    assert_allclose(found, expected, rtol=0, atol=scale)


@pytest.mark.parametrize("kind", SHAPES)
def test_any_composition_with_positions_is_read_and_exchanged(zoo, kind, tmp_path):
    @settings(
        max_examples=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(compositions(kind), st.integers(0, 99))
    def goes(drawn, seed):
        try:
            goes_round(zoo, kind, drawn, seed, tmp_path)
        except (HeadNotFoundError, InputError) as error:
            raise AssertionError(f"{drawn}: {error}") from None

    goes()
