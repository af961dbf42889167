"""Models nobody wrote by hand: affine operators around a layer and the choice of a position.

A body gives rows ``z`` (N, 5), tokens (N, 4, 5) or a map (N, 5, 3, 2); what follows is drawn. The
weights are known by construction: the head that is read must be they, and a new one must give its
own logits.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from scipy.special import log_softmax, softmax

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from tests import models as zoo
from tests.model.test_heads import near

K, D = 3, 5
SHAPES = {"rows": (D,), "tokens": (4, D), "map": (D, 3, 2)}
SUM = "{o} = Add(MatMul(z, W.T), b)"
CONV = "Conv(z, W[:, :, None, None], b)"
PRODUCTS = {  # a program that ends in {o}, and what it amounts to by the arrays ``a``
    "rows": {
        "Gemm": ("{o} = Gemm(z, W, b, transB=1)", lambda a: (a.W, a.b)),
        "MatMul, Add": (SUM, lambda a: (a.W, a.b)),
    },
    "tokens": {
        "MatMul": ("{o} = MatMul(z, W.T)", lambda a: (a.W, 0 * a.b)),
        "MatMul, Add": (SUM, lambda a: (a.W, a.b)),
        "Einsum": ('{o} = Einsum(z, W, equation="ntd,kd->ntk")', lambda a: (a.W, 0 * a.b)),
        "dequantised": ("{o} = MatMul(z, DequantizeLinear(i1(WHOLE.T), 0.02))",
                        lambda a: (a.WHOLE * np.float32(0.02), 0 * a.b)),
        "two layers": (SUM + "\n{o}d = Sub({o}, MatMul(z, V.T))",
                       lambda a: (a.W - a.V, a.b)),
    },
    "map": {
        "Conv": ("{o} = " + CONV, lambda a: (a.W, a.b)),
        "Conv, Add": ("{o} = Add(" + CONV + ", c[:, None, None])", lambda a: (a.W, a.b + a.c)),
        "two layers": ("{o} = Sub(" + CONV + ", Conv(z, V[:, :, None, None], c))",
                       lambda a: (a.W - a.V, a.b - a.c)),
    },
}  # fmt: skip
NORMAL = "{o} = BatchNormalization({x}, gain, shift, mean, var, epsilon=1e-3)"
EVERYWHERE = {  # a program on {x}, and how it changes W and b; each class has its own factor
    "times": ("{o} = Mul({x}, factor.reshape({each}))",
              lambda W, b, a: (a.factor[:, None] * W, a.factor * b)),
    "plus": ("{o} = Sub({x}, -shift.reshape({each}))", lambda W, b, a: (W, b + a.shift)),
    "minus": ("{o} = Sub(1.5, {x})", lambda W, b, a: (-W, 1.5 - b)),
    "normalised": (NORMAL, lambda W, b, a: (
        a.scale[:, None] * W, a.scale * (b - a.mean) + a.shift)),
}  # fmt: skip
OF_ROWS = {
    "unsqueezed": ("{o} = Flatten(Unsqueeze({x}, [1]))", lambda W, b, a: (W, b)),
    "moved": ("{o} = Gather({x}, [2, 0, 1], axis=1)",
              lambda W, b, a: (W[[2, 0, 1]], b[[2, 0, 1]])),
    "split": ("{o} = Concat(Slice({x}, [1], [3], [1]), Slice({x}, [0], [1], [1]), axis=1)",
              lambda W, b, a: (np.roll(W, -1, axis=0), np.roll(b, -1))),
}  # fmt: skip
CHOICES = {  # a program, and the embedding that it chooses from z
    "rows": {
        "one": ("{o} = Identity({x})", lambda z: z),
        "turned and back": ("{o} = Transpose(Transpose({x}), perm=[1, 0])", lambda z: z),
        "reshaped": ("{o} = Reshape(Reshape({x}, [0, 1, 3, 1]), [-1, 3])", lambda z: z),
    },
    "tokens": {
        "first": ("{o} = Gather({x}, 0, axis=1)", lambda z: z[:, 0]),
        "last": ("{o} = Reshape(Gather({x}, [-1], axis=1), [-1, 3])", lambda z: z[:, -1]),
        "mean": ("{o} = ReduceMean({x}, axes=[1], keepdims=0)", lambda z: z.mean(axis=1)),
        "sum": ("{o} = ReduceSum({x}, [1], keepdims=0)", lambda z: z.sum(axis=1)),
        "slice": ("{o} = Squeeze(Slice({x}, [2], [3], [1]), [1])", lambda z: z[:, 2]),
    },
    "map": {
        "pool": ("{o} = Flatten(GlobalAveragePool({x}))", lambda z: z.mean(axis=(2, 3))),
        "mean": ("{o} = ReduceMean({x}, axes=[2, 3], keepdims=0)", lambda z: z.mean(axis=(2, 3))),
        "pixel": ("{o} = Gather(Gather({x}, 1, axis=3), 2, axis=2)", lambda z: z[:, :, 2, 1]),
        "sum": ("{o} = Squeeze(ReduceSum({x}, [2, 3]), [2, 3])", lambda z: z.sum(axis=(2, 3))),
    },
}  # fmt: skip
ENDS = {
    "softmax": ("{o} = Softmax({x}, axis=1)", lambda logits: softmax(logits, axis=1)),
    "log_softmax": ("{o} = LogSoftmax({x}, axis=1)", lambda logits: log_softmax(logits, axis=1)),
    "argmax": ("{o} = ArgMax({x}, axis=1)", lambda logits: logits.argmax(axis=1)[:, None]),
    "logits": ("{o} = Identity({x})", lambda logits: logits),
    "written out": ("{o}e = Exp({x})\n{o} = Div({o}e, ReduceSum({o}e, [1], keepdims=1))",
                    lambda logits: softmax(logits, axis=1)),
}  # fmt: skip


def goes_round(kind, drawn, seed, folder):
    product, before, choice, after, end = drawn
    rng = np.random.default_rng(seed)
    a = SimpleNamespace(**dict(zip("WV", rng.normal(size=(2, K, D)), strict=True)))
    a.b, a.c, a.shift, a.mean, a.gain = rng.normal(size=(5, K))
    a.var, a.factor = rng.uniform(0.5, 2, size=(2, K))
    a.factor *= rng.choice([-1, 1], size=K)
    a.WHOLE = rng.integers(-99, 99, size=(K, D))
    a.scale = a.gain / np.sqrt(a.var + 1e-3)
    graph, name = zoo.Graph(), "z"
    graph.add("Relu", ["x"], "z")

    def run(text, each="-1"):
        nonlocal name
        name = graph.write(text.format(x=name, o=f"t{len(graph.nodes)}", each=each), **vars(a))

    text, amounts = PRODUCTS[kind][product]
    run(text)
    W, b = amounts(a)
    for step in before:
        step = "times" if (step, kind) == ("normalised", "tokens") else step
        text, change = EVERYWHERE[step]
        run(text, "-1, 1, 1" if kind == "map" else "-1")
        W, b = change(W, b, a)
    text, pooled = CHOICES[kind][choice]
    run(text)
    if choice == "sum":  # of as many biases as there are positions
        b = b * np.prod([n for n in SHAPES[kind] if n != D])
    for step in after:
        text, change = {**EVERYWHERE, **OF_ROWS}[step]
        run(text)
        W, b = change(W, b, a)
    text, shown = ENDS[end]
    run(text)
    is_index = end == "argmax"
    graph.output(name, ["batch", 1 if is_index else K], TensorProto.INT64 if is_index else None)
    X = np.random.default_rng(3).normal(size=(12, *SHAPES[kind])).astype(np.float32)
    path = zoo.save(graph.model([zoo.value("x", ["batch", *SHAPES[kind]])]), folder / "m.onnx")
    truth = pooled(np.maximum(X, 0).astype(np.float64)) @ W.T + b
    # The construction itself is right; ONNX Runtime rounds what it multiplies by weights of 8 bits.
    near(zoo.run(path, X)[name], shown(truth), 1e-1 if product == "dequantised" else 1e-4)
    model = FrozenModel.load(path)
    Z = OnnxEmbedder(model, device="cpu").transform(X).astype(np.float64)
    near(model.head.decision_function(Z), truth, 1e-4)
    head = LinearHead(rng.normal(size=(K, Z.shape[1])), np.arange(K), range(K))
    new = model.with_head(head).save(folder / "new.onnx", force=True)
    near(zoo.run(new, X)[name], shown(Z @ head.coef.T + head.intercept), 1e-4)


@pytest.mark.more
@pytest.mark.parametrize("kind", SHAPES)
def test_any_composition_is_read_and_exchanged(kind, tmp_path):
    drawn = st.tuples(
        st.sampled_from(list(PRODUCTS[kind])),
        st.lists(st.sampled_from(list(EVERYWHERE)), max_size=3),
        st.sampled_from(list(CHOICES[kind])),
        st.lists(st.sampled_from(["times", "plus", "minus", *OF_ROWS]), max_size=3),
        st.sampled_from(list(ENDS)),
    )

    @settings(max_examples=25, deadline=None, derandomize=True,
              suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
    @given(drawn, st.integers(0, 99))
    def goes(drawn, seed):
        goes_round(kind, drawn, seed, tmp_path)

    goes()
