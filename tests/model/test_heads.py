"""Every form of a head: read as what ONNX Runtime computes, written back, and exchanged.

A row is a program that computes ``logits`` from the embedding ``z`` (see tests/models.py), and the
weights and biases that it amounts to.
"""

from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import numpy_helper
from scipy.special import expit, softmax

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import HeadNotFoundError, InputError
from tests import models as zoo

K, D = 3, 5
RNG = np.random.default_rng(4)
W1, W2 = RNG.normal(size=(2, K, D))
B1, B2 = RNG.normal(size=(2, K))
FACTOR, SHIFT = RNG.uniform(0.5, 2, size=K), RNG.normal(size=K)
MEAN, VAR = RNG.normal(size=K), RNG.uniform(0.5, 2, size=K)
A1, A2 = RNG.normal(size=(2, D, 2))
C1, C2 = RNG.normal(size=(2, 2, K))
SQUARE, KERNEL = RNG.normal(size=(D, D)), RNG.normal(size=(K, D, 4, 3))
NORMS = RNG.uniform(0.5, 2, size=(2, 4, D))
MEMBERS, STARTS = RNG.normal(size=(4, K, D)), RNG.normal(size=(4, K))
SHARE = np.linspace(0.1, 1, 7).reshape(1, 7, 1)
WHOLE = RNG.integers(-7, 8, size=(K, D))  # weights of four bits
CODES = np.pad(WHOLE + 8, [(0, 0), (0, 11)])
PACKED = (CODES[:, ::2] | (CODES[:, 1::2] << 4)).reshape(K, 1, 8)
GAIN = FACTOR / np.sqrt(VAR + 1e-3)
NONE, CENTRED = np.zeros(K), np.eye(K) - 1 / K
ARRAYS = {name: a for name, a in globals().items() if isinstance(a, np.ndarray)}


def form(text, W, b, *, start="body", inner=("z",), Z=lambda z: z, **options):
    return SimpleNamespace(text=text, W=W, b=b, start=start, inner=inner, Z=Z, **options)


def near(got, expected, tolerance=1e-5):
    assert_allclose(got, expected, rtol=0, atol=tolerance * (1 + np.abs(expected).max()))


# -- a plain layer of one row of neurons per sample: only its initialisers change ----------------

PLAIN = {
    "Gemm": "logits = Gemm(z, W1, B1, transB=1)",
    "Gemm of columns": "logits = Gemm(z, W1.T, B1)",
    "Gemm with alpha and beta": "logits = Gemm(z, W1 / 0.3, B1 / -1.7, transB=1, alpha=0.3, "
    "beta=-1.7)",
    "Gemm with a row as its bias": "logits = Gemm(z, W1, B1[None], transB=1)",
    "Gemm and Add": """
        product = Gemm(z, W1, B1 / 4, transB=1)
        logits = Add(product, B1 * 3 / 4)""",
    "MatMul and Add": """
        product = MatMul(z, W1.T)
        logits = Add(product, B1)""",
    "Add with the bias first": """
        product = MatMul(z, W1.T)
        logits = Add(B1, product)""",
    "casts around the bias": """
        product = MatMul(z, W1.T)
        again = Cast(product, to=KIND)
        sum = Add(again, B1)
        logits = Cast(sum, to=KIND)""",
    "Constant nodes": """
        w = Constant(value=tensor(W1))
        b = Constant(value=tensor(B1))
        logits = Gemm(z, w, b, transB=1)""",
    "behind Identity": """
        w = Identity(W1)
        b = Identity(B1)
        logits = Gemm(z, w, b, transB=1)""",
    "behind Transpose": """
        w = Transpose(W1, perm=[1, 0])
        product = MatMul(z, w)
        logits = Add(product, B1)""",
    "behind an idle Transpose": """
        w = Transpose(W1, perm=[0, 1])
        logits = Gemm(z, w, B1, transB=1)""",
    "behind Transpose without perm": """
        w = Transpose(W1)
        logits = Gemm(z, w, B1)""",
    "behind Cast": """
        w = Cast(f8(W1), to=KIND)
        logits = Gemm(z, w, B1, transB=1)""",
    "behind Reshapes": """
        w1 = Reshape(W1.ravel(), [3, 5])
        w2 = Unsqueeze(w1, [1])
        w = Squeeze(w2, [1])
        logits = Gemm(z, w, B1, transB=1)""",
    "flattened": """
        flat = Flatten(z)
        product = MatMul(flat, W1.T)
        logits = Add(product, B1[None])""",
}

# -- more than a plain layer ----------------------------------------------------------------------

RAW = "raw = Gemm(z, W1, B1, transB=1)\n"
TWO = "one = Gemm(z, W1, B1, transB=1)\nother = Gemm(h, W2, B2, transB=1)\n"
REGIONS = {
    "BatchNormalization": form(
        RAW + "logits = BatchNormalization(raw, FACTOR, SHIFT, MEAN, VAR, epsilon=1e-3)",
        GAIN[:, None] * W1, GAIN * (B1 - MEAN) + SHIFT),
    "a factor per class": form(
        RAW + "logits = Mul(raw, FACTOR)", FACTOR[:, None] * W1, FACTOR * B1),
    "a divisor per class": form(
        RAW + "logits = Div(raw, FACTOR[None])", W1 / FACTOR[:, None], B1 / FACTOR),
    "scaled before the bias": form("""
        raw = MatMul(z, W1.T)
        scaled = Mul(raw, 4.6)
        logits = Add(scaled, -10.0)""", 4.6 * W1, np.full(K, -10.0)),
    "a prior subtracted": form(RAW + "logits = Sub(raw, SHIFT)", W1, B1 - SHIFT),
    "subtracted from a constant": form(RAW + "logits = Sub(SHIFT, raw)", -W1, SHIFT - B1),
    "Neg": form(RAW + "logits = Neg(raw)", -W1, -B1),
    "Einsum": form("""
        raw = Einsum(z, W1, equation="nd,kd->nk")
        logits = Add(raw, B1)""", W1, B1),
    "Einsum, weights first": form(
        'logits = Einsum(W1, z, equation="kd,nd->nk")', W1, NONE),
    "Einsum of any axes": form(
        'logits = Einsum(z, W1.T, equation="...d, dk -> ...k")', W1, NONE),
    "weights on the left": form("""
        columns = Transpose(z, perm=[1, 0])
        product = MatMul(W1, columns)
        logits = Transpose(product, perm=[1, 0])""", W1, NONE),
    "padded with a constant": form("""
        two = Gemm(z, W1[:2], B1[:2], transB=1)
        logits = Pad(two, [0, 0, 0, 1], -9.0)""",
        np.vstack([W1[:2], np.zeros((1, D))]), np.append(B1[:2], -9)),
    "masked by a constant": form(
        RAW + "logits = Where([True, False, True], raw, -9.0)",
        W1 * [[1], [0], [1]], np.where([True, False, True], B1, -9)),
    "three axes of weights": form("""
        row = Unsqueeze(z, [1])
        product = MatMul(row, W1.T[None])
        raw = Squeeze(product, [1])
        logits = Add(raw, B1)""", W1, B1),
    "samples on the second axis": form("""
        product = MatMul(z, W1.T[None])
        logits = Squeeze(product, [0])""", W1, NONE),
    "twice": form(RAW + "logits = Add(raw, raw)", 2 * W1, 2 * B1),
    "two layers on one": form(TWO.replace("(h", "(z") + "logits = Sum(one, other)",
        W1 + W2, B1 + B2),
    "LoRA": form("""
        base = MatMul(z, W1.T)
        dropped = Dropout(z)
        low = MatMul(dropped, A1)
        high = MatMul(low, C1)
        scaled = Mul(high, 0.5)
        biased = Add(base, B1)
        logits = Add(biased, scaled)""", W1 + 0.5 * (A1 @ C1).T, B1),
    "LoRA in a Gemm": form("""
        base = Gemm(z, W1, B1, transB=1)
        low = MatMul(z, A1)
        logits = Gemm(low, C1, base, alpha=0.5)""", W1 + 0.5 * (A1 @ C1).T, B1),
    "two low ranks": form("""
        low0 = MatMul(z, A1)
        high0 = MatMul(low0, C1)
        low1 = MatMul(z, A2)
        high1 = MatMul(low1, C2)
        logits = Add(high0, high1)""", (A1 @ C1 + A2 @ C2).T, NONE),
    "one layer as the bias of another": form(
        RAW + "logits = Gemm(z, W2.T, raw, beta=-2.0)", W2 - 2 * W1, -2 * B1),
    "a skip connection": form("""
        product = MatMul(z, SQUARE.T)
        five = Add(product, z)
        logits = Slice(five, [0], [3], [1])""", (SQUARE + np.eye(D))[:K], NONE),
    "classes side by side": form("""
        first = Gemm(z, W1[:1], B1[:1], transB=1)
        rest = Gemm(z, W1[1:], B1[1:], transB=1)
        logits = Concat(first, rest, axis=1)""", W1, B1),
    "axes of length one": form(RAW + """
wide = Reshape(raw, [-1, 1, 3, 1])
scaled = Mul(wide, FACTOR[:, None])
logits = Reshape(scaled, [-1, 3])""", FACTOR[:, None] * W1, FACTOR * B1),
    "cast between": form(RAW + """
precise = Cast(raw, to=DOUBLE)
scaled = Mul(precise, f8(FACTOR))
logits = Cast(scaled, to=FLOAT)""", FACTOR[:, None] * W1, FACTOR * B1),
    "cast at the end": form(RAW + """
scaled = Mul(raw, FACTOR)
precise = Cast(scaled, to=DOUBLE)
exact = Add(precise, f8(SHIFT))
logits = Cast(exact, to=FLOAT)""", FACTOR[:, None] * W1, FACTOR * B1 + SHIFT),
    "a running sum": form(
        RAW + "logits = CumSum(raw, 1)", np.cumsum(W1, axis=0), np.cumsum(B1)),
    "Scaler": form(
        RAW + "logits = Scaler(raw, offset=[0.1] * 3, scale=[2.0] * 3)", 2 * W1, 2 * (B1 - 0.1)),
    "less their mean": form(
        RAW + "mean = ReduceMean(raw, axes=[-1])\nlogits = Sub(raw, mean)",
        CENTRED @ W1, CENTRED @ B1),
    "one direction and a threshold per class (CORAL)": form("""
        rank = MatMul(z, W1[:1].T)
        logits = Add(rank, B1)""", W1[[0, 0, 0]], B1),
    "members of an ensemble": form("""
        all = Gemm(z, MEMBERS.reshape(-1, 5), STARTS.ravel(), transB=1)
        members = Reshape(all, [-1, 4, 3])
        logits = ReduceMean(members, axes=[1], keepdims=0)""",
        MEMBERS.mean(axis=0), STARTS.mean(axis=0)),
    # -- of several tensors
    "the mean of two heads": form(TWO + "logits = Mean(one, other)",
        np.hstack([W1, W2]) / 2, (B1 + B2) / 2, inner=("z", "h")),
    "half of two heads": form(TWO + "sum = Add(one, other)\nlogits = Div(sum, 2.0)",
        np.hstack([W1, W2]) / 2, (B1 + B2) / 2, inner=("z", "h")),
    "a difference of normalised heads": form(TWO + """
normal = BatchNormalization(one, FACTOR, SHIFT, MEAN, VAR, epsilon=1e-3)
logits = Sub(normal, other)""", np.hstack([GAIN[:, None] * W1, -W2]),
        GAIN * (B1 - MEAN) + SHIFT - B2, inner=("z", "h")),
    "heads behind norms of one layer": form("""
        z1 = BatchNormalization(h, NORMS[0, 0], NORMS[0, 1], NORMS[0, 2], NORMS[0, 3])
        z2 = BatchNormalization(h, NORMS[1, 0], NORMS[1, 1], NORMS[1, 2], NORMS[1, 3])
        one = Gemm(z1, W1, B1, transB=1)
        other = Gemm(z2, W2, B2, transB=1)
        logits = Add(one, other)""", np.hstack([W1, W2]), B1 + B2, inner=("z1", "z2")),
}  # fmt: skip

# -- a layer at every position, of which the model chooses one, or takes the mean ----------------

CONV = "map = Conv(z, W1.reshape(3, 5, 1, 1), B1)\n"
TOKENS = "product = MatMul(z, W1.T)\nscores = Add(product, B1)\n"
FOUND = """
sums = ReduceSum(x, [2], keepdims=0)
where = ArgMax(sums, axis=1, keepdims=1)
"""
NUMBERED = """
size = Shape(x, end=1)
n = Squeeze(size)
number = Range(0, n, 1)
"""


def mean(z):
    return z.mean(axis=(2, 3))


def flat(z):
    return z.reshape(len(z), -1)


def found(z):
    return z[np.arange(len(z)), zoo.samples("tokens", len(z)).sum(axis=2).argmax(axis=1)]


POSITIONS = {
    "Conv, GlobalAveragePool": form(
        CONV + "pooled = GlobalAveragePool(map)\nlogits = Flatten(pooled)", W1, B1, Z=mean),
    "Conv, ReduceMean": form(
        CONV + "logits = ReduceMean(map, axes=[-1, -2], keepdims=0)", W1, B1, Z=mean),
    "Conv, AveragePool": form(
        CONV + "pooled = AveragePool(map, kernel_shape=[4, 3])\n"
        "logits = Reshape(pooled, [0, -1])", W1, B1, Z=mean),
    "Conv after the pooling": form("""
        pooled = GlobalAveragePool(z)
        map = Conv(pooled, W1.reshape(3, 5, 1, 1), B1)
        logits = Squeeze(map, [2, 3])""", W1, B1, Z=mean),
    "Conv without a bias": form("""
        map = Conv(z, W1.reshape(3, 5, 1, 1))
        pooled = GlobalAveragePool(map)
        logits = Flatten(pooled)""", W1, NONE, Z=mean),
    "channels last": form(CONV + """
last = Transpose(map, perm=[0, 2, 3, 1])
logits = ReduceMean(last, axes=[1, 2], keepdims=0)""", W1, B1, Z=mean),
    "Conv and Add": form(CONV + """
sum = Add(map, SHIFT.reshape(1, -1, 1, 1))
pooled = GlobalAveragePool(sum)
logits = Flatten(pooled)""", W1, B1 + SHIFT, Z=mean),
    "a scaled map": form(CONV + """
larger = Mul(map, 4.0)
pooled = GlobalAveragePool(larger)
logits = Flatten(pooled)""", 4 * W1, 4 * B1, Z=mean),
    "one pixel": form(
        CONV + "pixel = Slice(map, [1, 2], [2, 3], [2, 3])\nlogits = Flatten(pixel)",
        W1, B1, Z=lambda z: z[:, :, 1, 2]),
    "the first token": form(
        TOKENS + "logits = Gather(scores, 0, axis=1)", W1, B1, start="tokens", Z=lambda z: z[:, 0]),
    "a token whose axis is kept": form(
        TOKENS + "chosen = Gather(scores, [2], axis=1)\nlogits = Reshape(chosen, [-1, 3])",
        W1, B1, start="tokens", Z=lambda z: z[:, 2], wider="does not work with a head of 5 logits"),
    "the mean of the tokens": form(
        TOKENS + "logits = ReduceMean(scores, axes=[1], keepdims=0)",
        W1, B1, start="tokens", Z=lambda z: z.mean(axis=1)),
    "a token that the model finds": form(TOKENS + FOUND + NUMBERED + """
rows = Unsqueeze(number, [1])
index = Concat(rows, where, axis=1)
logits = GatherND(scores, index)""", W1, B1, start="tokens", Z=found),
}  # fmt: skip
for row in POSITIONS.values():
    row.start = "map" if row.start == "body" else row.start
SCALED = "product = MatMul(z, W1.T)\nscores = Mul(product, FACTOR)\n"
AT_POSITIONS = {
    "a convolution as large as its input": form(
        "map = Conv(z, KERNEL, B1)\nlogits = Flatten(map)",
        KERNEL.reshape(K, -1), B1, start="map", Z=flat),
    "an Einsum of all positions": form(
        'logits = Einsum(z, KERNEL, equation="nchw,kchw->nk")',
        KERNEL.reshape(K, -1), NONE, start="map", Z=flat),
    "a normalised map": form(CONV + """
normal = BatchNormalization(map, FACTOR, SHIFT, MEAN, VAR, epsilon=1e-3)
pooled = GlobalAveragePool(normal)
logits = Flatten(pooled)""", GAIN[:, None] * W1, GAIN * (B1 - MEAN) + SHIFT, start="map", Z=mean),
    "a sum over positions": form(
        CONV + "logits = ReduceSum(map, [2, 3], keepdims=0)",
        W1, 12 * B1, start="map", Z=lambda z: z.sum(axis=(2, 3))),
    "a padded mean": form(CONV + """
wide = AveragePool(map, kernel_shape=[6, 5], pads=[1, 1, 1, 1], count_include_pad=1)
logits = Flatten(wide)""", W1, 12 / 30 * B1, start="map", Z=lambda z: z.sum(axis=(2, 3)) / 30),
    "a dilated convolution of one position": form("""
        columns = Transpose(z, perm=[0, 2, 1])
        map = Conv(columns, W1[..., None], B1, dilations=[2])
        logits = ReduceMean(map, axes=[2], keepdims=0)""",
        W1, B1, start="tokens", Z=lambda z: z.mean(axis=1)),
    "a token of scaled scores": form(
        SCALED + "logits = Gather(scores, 2, axis=1)",
        FACTOR[:, None] * W1, NONE, start="tokens", Z=lambda z: z[:, 2]),
    "two tokens, two heads": form("""
        token0 = Gather(z, 0, axis=1)
        token1 = Gather(z, 1, axis=1)
        one = Gemm(token0, W1, B1, transB=1)
        other = Gemm(token1, W2, B2, transB=1)
        sum = Add(one, other)
        logits = Div(sum, 2.0)""", np.hstack([W1, W2]) / 2, (B1 + B2) / 2,
        start="tokens", Z=lambda z: np.hstack([z[:, 0], z[:, 1]])),
    "tokens scored, then chosen": form("""
        scores0 = MatMul(z, W1.T)
        scores1 = MatMul(z, W2.T)
        one = Gather(scores0, 3, axis=1)
        other = Gather(scores1, 4, axis=1)
        logits = Add(one, other)""",
        np.stack([NONE[:, None] * W1] * 3 + [W1, W2] + [NONE[:, None] * W1] * 2, 1).reshape(K, -1),
        NONE, start="tokens", Z=flat),
    "positions weighed": form("""
        scores = MatMul(z, W1.T)
        weighed = Mul(scores, SHARE)
        logits = ReduceSum(weighed, [1], keepdims=0)""",
        (W1[:, None] * SHARE[0]).reshape(K, -1), NONE, start="tokens", Z=flat),
    "a sum over open positions": form("""
        scores = MatMul(z, W1.T)
        logits = ReduceSum(scores, [1], keepdims=0)""",
        W1, NONE, start="open tokens", Z=lambda z: z.sum(axis=1)),
    "a token found by GatherND": form(
        SCALED + FOUND + "logits = GatherND(scores, where, batch_dims=1)",
        FACTOR[:, None] * W1, NONE, start="tokens", Z=found),
    "a token found by GatherElements": form(SCALED + FOUND + """
at = Unsqueeze(where, [2])
everywhere = Expand(at, [1, 1, 3])
chosen = GatherElements(scores, everywhere, axis=1)
logits = Squeeze(chosen, [1])""", FACTOR[:, None] * W1, NONE, start="tokens", Z=found),
    "a token found in one list": form(SCALED + FOUND + NUMBERED + """
starts = Mul(number, 7)
offsets = Reshape(where, [-1])
rows = Add(starts, offsets)
every = Reshape(scores, [-1, 3])
logits = Gather(every, rows, axis=0)""", FACTOR[:, None] * W1, NONE, start="tokens", Z=found),
}  # fmt: skip

# -- quantised: the new head has float weights ----------------------------------------------------

DYNAMIC = """
zq, s, zero = DynamicQuantizeLinear(z)
whole = MatMulInteger(zq, i1(WHOLE.T), zero)
real = Cast(whole, to=FLOAT)
"""
STATIC = "zq = QuantizeLinear(z, 0.02, u1(3))\n"
QGEMM = "QGemm(zq, 0.02, u1(3), i1(WHOLE), FACTOR / 9, i1(NONE), STEPS, {}transB=1)"
UNIT = 0.02 * FACTOR / 9
ARRAYS["STEPS"] = np.round(B1 / UNIT).astype(np.int32)
SMALL = WHOLE * FACTOR[:, None] / 9
QUANTISED = {
    "QGemm": form(STATIC + "logits = " + QGEMM.format(""), SMALL, np.round(B1 / UNIT) * UNIT),
    "QGemm, quantised again": form(
        STATIC + "q = " + QGEMM.format("0.05, u1(128), ")
        + "\nlogits = DequantizeLinear(q, 0.05, u1(128))", SMALL, np.round(B1 / UNIT) * UNIT),
    "QLinearMatMul": form(STATIC + """
q = QLinearMatMul(zq, 0.02, u1(3), i1(WHOLE.T), 0.1, i1(0), 0.05, u1(128))
real = DequantizeLinear(q, 0.05, u1(128))
bias = DequantizeLinear(i1(np.round(B1 / 0.02)), 0.02, i1(0))
logits = Add(real, bias)""", WHOLE / 10, np.round(B1 / 0.02) * 0.02),
    "MatMulInteger, static": form(STATIC + """
whole = MatMulInteger(zq, i1(WHOLE.T), u1(3))
real = Cast(whole, to=FLOAT)
scaled = Mul(real, 0.02 * FACTOR / 9)
logits = Add(scaled, B1)""", SMALL, B1),
    "MatMulInteger, dynamic, with a factor": form(DYNAMIC + """
both = Mul(s, 0.1)
raw = Mul(real, both)
scaled = Mul(raw, FACTOR)
logits = Add(scaled, B1)""", WHOLE * FACTOR[:, None] / 10, B1),
    "MatMulInteger, dynamic, with LoRA": form(DYNAMIC + """
both = Mul(s, FACTOR / 9)
base = Mul(real, both)
low = MatMul(z, A1)
high = MatMul(low, C1)
logits = Add(base, high)""", SMALL + (A1 @ C1).T, NONE),
    "MatMulNBits": form("""
        raw = MatMulNBits(z, u1(PACKED), FACTOR / 9, K=5, N=3, bits=4, block_size=16)
        logits = Add(raw, B1)""", SMALL, B1),
}  # fmt: skip


def goes_round(proto, X, row, folder, dtype=np.float32):
    """Read the head, write it back, write another one; the model with the new one."""
    tolerance = {2: 2e-2, 4: 1e-5, 8: 1e-12}[np.dtype(dtype).itemsize]
    path = zoo.save(proto, folder / "m.onnx")
    model = FrozenModel.load(path)
    exact = max(tolerance / 10, 1e-7)  # alpha and beta are float32
    near(model.head.coef, row.W, exact)
    near(model.head.intercept, row.b, exact)
    quantised = model.describe()["quantisation"] is not None
    Z = OnnxEmbedder(model, device="cpu").transform(X)
    out = zoo.run(zoo.with_outputs(proto, *row.inner), X)
    if not quantised:
        near(Z, row.Z(np.hstack([out[name] for name in row.inner])), tolerance)
    assert model.embedding.shape[1] == row.W.shape[1]
    near(model.head.decision_function(Z), out["logits"], 0.1 if quantised else tolerance)
    same = zoo.run(model.with_head(model.head).save(folder / "same.onnx", force=True), X)
    for name, array in zoo.run(proto, X).items():
        assert_array_equal(same[name], array)
    rng = np.random.default_rng(9)
    head = LinearHead(rng.normal(size=row.W.shape), rng.normal(size=K), range(K))
    again = FrozenModel.load(model.with_head(head).save(folder / "new.onnx", force=True))
    onnx.checker.check_model(onnx.load(again.path), full_check=True)
    logits = zoo.run(again.path, X)["logits"]
    near(logits, head.decision_function(Z.astype(np.float64)), tolerance)
    near(again.head.coef, head.coef, tolerance)
    assert (again.inputs, again.outputs) == (model.inputs, model.outputs)
    assert again.metadata.items() >= {"author": "someone", "trained": "2024"}.items()
    assert [n for n in model.nodes if n in again.nodes] == [
        n for n in again.nodes if not n[0].startswith("ntkit")
    ]
    if not quantised:
        near(OnnxEmbedder(again, device="cpu").transform(X), Z, tolerance)
    return model, again


def made(row, **options):
    outputs = {"logits": ["batch", K], "p": ["batch", K]}
    text = f"{row.text}\np = Softmax(logits, axis=-1)"
    return zoo.built(text, row.start, outputs, arrays=ARRAYS, **options)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_layer_changes_its_initialisers_only(name, tmp_path):
    if "idle" in name and tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 30):
        pytest.skip("ONNX Runtime before 1.30 takes an idle Transpose before a Gemm for a swap")
    row = form(PLAIN[name], W1, B1)
    for dtype in (np.float32, np.float64, np.float16):
        row.text = PLAIN[name].replace("KIND", str(zoo.FLOAT[np.dtype(dtype)]))
        ARRAYS["tensor"] = lambda a, dtype=dtype: numpy_helper.from_array(a.astype(dtype))
        proto = made(row, dtype=dtype)
        model, new = goes_round(proto, zoo.inputs(dtype=dtype), row, tmp_path, dtype)
        assert model.embedding.name in ("z", "flat")
        assert new.nodes == model.nodes


@pytest.mark.parametrize("name", {**REGIONS, **AT_POSITIONS, **QUANTISED})
def test_an_affine_region_is_a_head(name, tmp_path):
    row = {**REGIONS, **AT_POSITIONS, **QUANTISED}[name]
    model, _ = goes_round(made(row), zoo.samples(row.start, 12), row, tmp_path)
    assert model.head.coef.dtype == np.float32


@pytest.mark.parametrize("name", POSITIONS)
def test_a_layer_at_every_position_changes_its_initialisers_only(name, tmp_path):
    row = POSITIONS[name]
    proto, X = made(row), zoo.samples(row.start, 12)
    model, new = goes_round(proto, X, row, tmp_path)
    assert new.nodes == model.nodes
    head = LinearHead(*zoo.weights(K + 2, seed=9), range(K + 2))
    if hasattr(row, "wider"):  # a Reshape made for three classes
        with pytest.raises(InputError, match=row.wider):
            model.with_head(head)
        return
    wide = FrozenModel.load(model.with_head(head).save(tmp_path / "wide.onnx"))
    Z = row.Z(np.maximum(X, 0))
    near(zoo.run(wide.path, X)["logits"], head.decision_function(Z))
    assert wide.outputs[0].shape == ("batch", K + 2)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_a_layer_without_a_bias_gets_one(op, tmp_path):
    proto, X = zoo.built(f"logits = {op}(z, W1.T)", arrays=ARRAYS), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    assert not model.head.intercept.any()
    new = model
    for i in range(2):  # what was added is a head like any other
        head = LinearHead(W1 + i, B1 - i, range(K))
        new = new.with_head(head)
        out = zoo.run(new.save(tmp_path / f"{i}.onnx"), X)
        near(out["logits"], head.decision_function(zoo.embedding(proto, X)))
    added = [o for _, o in new.nodes][len(model.nodes) :]
    assert added == ([] if op == "Gemm" else ["Add"])


def test_a_bias_of_zeros_that_the_graph_fills_in_is_exchanged(tmp_path):
    text = "zeros = ConstantOfShape([3])\nlogits = Gemm(z, W1, zeros, transB=1)"
    proto, X = zoo.built(text, arrays=ARRAYS), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    assert not model.head.intercept.any()
    head = LinearHead(W1 + 1, B1, range(K))
    out = zoo.run(model.with_head(head).save(tmp_path / "new.onnx"), X)
    near(out["logits"], head.decision_function(zoo.embedding(proto, X)))


@pytest.mark.parametrize("zero_points", ["None", "ZEROS", "u1(np.full(6, 0x33))"])
def test_blocks_of_few_bits_may_be_in_any_order(zero_points, tmp_path):
    """MatMulNBits with ``g_idx``: which block's scale each input has.

    With packed zero points too, ONNX Runtime does not compute what they say: refused.
    """
    n, rng = 40, np.random.default_rng(2)
    codes = rng.integers(0, 16, size=(K, 48))
    scales = rng.uniform(0.1, 1, size=(K, 3))
    groups = rng.permutation(np.repeat(np.arange(3), 16))
    zeros = rng.integers(0, 16, size=(K, 3)) if zero_points == "ZEROS" else np.full((K, 3), 8)
    packed = np.uint8(codes[:, ::2] | (codes[:, 1::2] << 4)).reshape(K, 3, 8)
    arrays = {"W": packed, "SCALES": scales.ravel(), "ZEROS": zeros * 1.0}
    arrays["GROUPS"] = np.int32(groups)
    g = zoo.Graph()
    g.write(f"z = Relu(x)\nlogits = MatMulNBits(z, W, SCALES, {zero_points}, GROUPS, K={n}, N=3, "
            "bits=4, block_size=16)", **arrays)  # fmt: skip
    g.output("logits", ["batch", K])
    proto = g.model(inputs=[zoo.value("x", ["batch", n])])
    path = zoo.save(proto, tmp_path / "m.onnx")
    if zero_points.startswith("u1"):
        seen = zoo.run(proto, np.eye(n, dtype=np.float32))["logits"].T
        near(seen, ((codes - 8.0) * scales[:, groups])[:, :n])  # 8, whatever they are
        with pytest.raises(HeadNotFoundError, match=r"MatMulNBits .*packed zero points .*g_idx"):
            FrozenModel.load(path)
        return
    model = FrozenModel.load(path)
    near(model.head.coef, ((codes - zeros[:, groups]) * scales[:, groups])[:, :n])
    X = np.abs(rng.normal(size=(8, n))).astype(np.float32)
    near(zoo.run(proto, X)["logits"], model.head.decision_function(X), 1e-2)


# -- what follows the logits ----------------------------------------------------------------------


def clipped(logits):
    return np.clip(softmax(logits, axis=1), 0.01, 0.99)


def probabilities(logits):
    return softmax(logits, axis=1)


SHOWN_TOO = {"Softmax": ["z"], "a temperature": ["logits"]}
TAILS = {  # a program, and what its result ``p`` shows of a head's logits
    "Softmax": ("p = Softmax(logits, axis=-1)", probabilities),
    "LogSoftmax": ("l = LogSoftmax(logits, axis=-1)\np = Exp(l)", probabilities),
    "percent": ("s = Softmax(logits, axis=-1)\nt = Mul(s, 100.0)\np = Div(t, 100.0)",
                probabilities),
    "a temperature": ("s = Mul(logits, 16.0)\np = Softmax(s, axis=-1)", probabilities),
    "a temperature on the left": ("s = Mul([3.3], logits)\np = Softmax(s, axis=1)", probabilities),
    "a negative divisor": ("s = Div(logits, -0.37)\np = Softmax(s, axis=-1)", probabilities),
    "clipped far away": ("c = Clip(logits, -50.0, 50.0)\np = Softmax(c, axis=1)", probabilities),
    "clipped probabilities": ("s = Softmax(logits, axis=1)\np = Clip(s, 0.01, 0.99)", clipped),
    "a label": ("s = Softmax(logits, axis=1)\np = ArgMax(s, axis=1, keepdims=0)",
                lambda logits: logits.argmax(axis=1)),
    "JAX's Softmax": ("""
        largest = ReduceMax(logits, axes=[1], keepdims=0)
        column = Unsqueeze(largest, [1])
        stopped = Identity(column)
        shifted = Sub(logits, stopped)
        powers = Exp(shifted)
        total = ReduceSum(powers, [1], keepdims=1)
        p = Div(powers, total)""", probabilities),
    "a bare Softmax": ("""
        powers = Exp(logits)
        total = ReduceSum(powers, [-1], keepdims=1)
        p = Div(powers, total)""", probabilities),
    "JAX's LogSoftmax": ("""
        largest = ReduceMax(logits, axes=[1])
        shifted = Sub(logits, largest)
        powers = Exp(shifted)
        total = ReduceSum(powers, [1], keepdims=1)
        length = Log(total)
        logs = Sub(shifted, length)
        p = Exp(logs)""", probabilities),
    "an old Softmax of all axes": ("row = Unsqueeze(logits, axes=[1])\np = Softmax(row)",
                                   lambda logits: softmax(logits, axis=1)[:, None]),
    "a row": ("row = Unsqueeze(logits, [1])\np = Softmax(row, axis=2)",
              lambda logits: softmax(logits, axis=1)[:, None]),
}  # fmt: skip
UNITS = {
    "Sigmoid": "p = Sigmoid(logits)",
    "Sigmoid without its axis": "s = Sigmoid(logits)\np = Squeeze(s, [1])",
    "divided": "m = Neg(logits)\ne = Exp(m)\nt = Add(e, 1.0)\np = Div(1.0, t)",
    "reciprocal": "m = Neg(logits)\ne = Exp(m)\nt = Add(e, 1.0)\np = Reciprocal(t)",
    "of powers": "e = Exp(logits)\nt = Add(1.0, e)\np = Div(e, t)",
}


@pytest.mark.parametrize("named", [None, "logits"])
@pytest.mark.parametrize("tail", TAILS)
def test_the_head_shows_what_the_model_shows_before_and_after(tail, named, tmp_path):
    text, shows = TAILS[tail]
    opset = 11 if "old" in tail else 17
    kind = zoo.TensorProto.INT64 if "label" in tail else zoo.TensorProto.FLOAT
    outputs = {"p": (None, kind), **dict.fromkeys(SHOWN_TOO.get(tail, ()))}
    proto, X = zoo.built(text, "classifier", outputs, opset=opset), zoo.inputs()
    Z, before = zoo.embedding(proto, X), zoo.run(proto, X)["p"]
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"), logits=named)
    assert (model.logits.name, model.embedding.name) == ("logits", "z")
    assert_allclose(shows(model.head.decision_function(Z)), before, atol=1e-5)
    head = LinearHead(*zoo.weights(K, seed=7), range(K))
    new = model.with_head(head)
    near(new.head.coef, head.coef)
    assert new.logit_scale == model.logit_scale
    out = zoo.run(new.save(tmp_path / "new.onnx"), X)["p"]
    assert_allclose(shows(head.decision_function(Z)), out, atol=1e-5)
    back = new.with_head(model.head).save(tmp_path / "back.onnx")
    assert_allclose(zoo.run(back, X)["p"], before, atol=1e-5)
    wide = LinearHead(*zoo.weights(K + 2, seed=8), range(K + 2))
    if "row = " in text:
        with pytest.raises(InputError, match="Unsqueeze"):
            model.with_head(wide)
        return
    out = zoo.run(model.with_head(wide).save(tmp_path / "wide.onnx"), X)["p"]
    assert_allclose(shows(wide.decision_function(Z)), out, atol=1e-5)
    assert {"Softmax", "LogSoftmax"} & {*model.describe()["post_processing"]}


@pytest.mark.parametrize("tail", UNITS)
def test_a_single_sigmoid_unit(tail, tmp_path):
    proto, X = zoo.built(UNITS[tail], "classifier", n_logits=1), zoo.inputs()
    Z = zoo.embedding(proto, X)
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"), classes=["land", "water"])
    assert model.describe()["post_processing"][0] == "Sigmoid"
    assert (model.head.n_logits, model.head.classes.tolist()) == (1, ["land", "water"])
    p = zoo.run(proto, X)["p"].ravel()
    assert_allclose(model.head.predict_proba(Z)[:, 1], p, atol=1e-6)
    assert_array_equal(model.head.predict(Z), np.where(p > 0.5, "water", "land"))
    # A head of two logits has the same probabilities in the one-logit model, in either order.
    two = LinearHead(*zoo.weights(2, seed=5), ["water", "land"])
    new = model.with_head(two).save(tmp_path / "new.onnx")
    assert_allclose(zoo.run(new, X)["p"].ravel(), two.predict_proba(Z)[:, 0], atol=1e-6)
    one = LinearHead(*zoo.weights(1, seed=5), ["land", "water"])
    new = model.with_head(one).save(tmp_path / "one.onnx")
    assert_allclose(zoo.run(new, X)["p"].ravel(), expit(one.decision_function(Z)), atol=1e-6)


def test_a_one_logit_head_in_a_two_logit_model(tmp_path):
    proto, X = zoo.built("p = Softmax(logits)", "classifier", n_logits=2), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(1, seed=5), [0, 1])
    new = model.with_head(head)
    assert new.nodes == model.nodes
    out = zoo.run(new.save(tmp_path / "new.onnx"), X)
    assert_allclose(out["p"], head.predict_proba(zoo.embedding(proto, X)), atol=1e-6)
