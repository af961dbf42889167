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
from onnx import helper, numpy_helper
from scipy.special import expit, softmax

import ntkit
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
    "Gemm with alpha and beta":
        "logits = Gemm(z, W1 / 0.3, B1 / -1.7, transB=1, alpha=0.3, beta=-1.7)",
    "Gemm with a row as its bias": "logits = Gemm(z, W1, B1[None], transB=1)",
    "Gemm and Add": "logits = Add(Gemm(z, W1, B1 / 4, transB=1), B1 * 3 / 4)",
    "MatMul and Add": "logits = Add(MatMul(z, W1.T), B1)",
    "Add with the bias first": "logits = Add(B1, MatMul(z, W1.T))",
    "casts around the bias":
        "logits = Cast(Add(Cast(MatMul(z, W1.T), to=KIND), B1), to=KIND)",
    "Constant nodes":
        "logits = Gemm(z, Constant(value=tensor(W1)), Constant(value=tensor(B1)), transB=1)",
    "behind Identity": "logits = Gemm(z, Identity(W1), Identity(B1), transB=1)",
    "behind Transpose": "logits = Add(MatMul(z, Transpose(W1, perm=[1, 0])), B1)",
    "behind an idle Transpose": "logits = Gemm(z, Transpose(W1, perm=[0, 1]), B1, transB=1)",
    "behind Transpose without perm": "logits = Gemm(z, Transpose(W1), B1)",
    "behind Cast": "logits = Gemm(z, Cast(f8(W1), to=KIND), B1, transB=1)",
    "behind Reshapes": "w = Squeeze(Unsqueeze(Reshape(W1.ravel(), [3, 5]), [1]), [1])\n"
                       "logits = Gemm(z, w, B1, transB=1)",
    "flattened": "flat = Flatten(z)\nlogits = Add(MatMul(flat, W1.T), B1[None])",
}  # fmt: skip

# -- more than a plain layer ----------------------------------------------------------------------

RAW = "Gemm(z, W1, B1, transB=1)"
BOTH = f"{RAW}, Gemm(h, W2, B2, transB=1)"
LOW = "MatMul(MatMul(z, A1), C1)"
REGIONS = {
    "BatchNormalization": form(
        f"logits = BatchNormalization({RAW}, FACTOR, SHIFT, MEAN, VAR, epsilon=1e-3)",
        GAIN[:, None] * W1, GAIN * (B1 - MEAN) + SHIFT),
    "a factor per class": form(
        f"logits = Mul({RAW}, FACTOR)", FACTOR[:, None] * W1, FACTOR * B1),
    "a divisor per class": form(
        f"logits = Div({RAW}, FACTOR[None])", W1 / FACTOR[:, None], B1 / FACTOR),
    "scaled before the bias": form(
        "logits = Add(Mul(MatMul(z, W1.T), 4.6), -10.0)", 4.6 * W1, np.full(K, -10.0)),
    "a prior subtracted": form(f"logits = Sub({RAW}, SHIFT)", W1, B1 - SHIFT),
    "subtracted from a constant": form(f"logits = Sub(SHIFT, {RAW})", -W1, SHIFT - B1),
    "Neg": form(f"logits = Neg({RAW})", -W1, -B1),
    "Einsum": form('logits = Add(Einsum(z, W1, equation="nd,kd->nk"), B1)', W1, B1),
    "Einsum, weights first": form('logits = Einsum(W1, z, equation="kd,nd->nk")', W1, NONE),
    "Einsum of any axes": form(
        'logits = Einsum(z, W1.T, equation="...d, dk -> ...k")', W1, NONE),
    "weights on the left": form(
        "logits = Transpose(MatMul(W1, Transpose(z, perm=[1, 0])), perm=[1, 0])", W1, NONE),
    "padded with a constant": form(
        "logits = Pad(Gemm(z, W1[:2], B1[:2], transB=1), [0, 0, 0, 1], -9.0)",
        np.vstack([W1[:2], np.zeros((1, D))]), np.append(B1[:2], -9)),
    "masked by a constant": form(
        f"logits = Where([True, False, True], {RAW}, -9.0)",
        W1 * [[1], [0], [1]], np.where([True, False, True], B1, -9)),
    "three axes of weights": form(
        "logits = Add(Squeeze(MatMul(Unsqueeze(z, [1]), W1.T[None]), [1]), B1)", W1, B1),
    "samples on the second axis": form("logits = Squeeze(MatMul(z, W1.T[None]), [0])", W1, NONE),
    "a bias of zeros that the graph fills in": form(
        "logits = Gemm(z, W1, ConstantOfShape([3]), transB=1)", W1, NONE),
    "twice": form(f"raw = {RAW}\nlogits = Add(raw, raw)", 2 * W1, 2 * B1),
    "two layers on one": form(
        f"logits = Sum({BOTH.replace('(h', '(z')})", W1 + W2, B1 + B2),
    "LoRA": form("""
        base = MatMul(z, W1.T)
        high = MatMul(MatMul(Dropout(z), A1), C1)
        logits = Add(Add(base, B1), Mul(high, 0.5))""", W1 + 0.5 * (A1 @ C1).T, B1),
    "LoRA in a Gemm": form(
        f"base = {RAW}\nlogits = Gemm(MatMul(z, A1), C1, base, alpha=0.5)",
        W1 + 0.5 * (A1 @ C1).T, B1),
    "two low ranks": form(
        f"logits = Add({LOW}, {LOW.replace('1', '2')})", (A1 @ C1 + A2 @ C2).T, NONE),
    "one layer as the bias of another": form(
        f"logits = Gemm(z, W2.T, {RAW}, beta=-2.0)", W2 - 2 * W1, -2 * B1),
    "a skip connection": form(
        "logits = Slice(Add(MatMul(z, SQUARE.T), z), [0], [3], [1])", (SQUARE + np.eye(D))[:K],
        NONE),
    "classes side by side": form(
        "first = Gemm(z, W1[:1], B1[:1], transB=1)\n"
        "logits = Concat(first, Gemm(z, W1[1:], B1[1:], transB=1), axis=1)", W1, B1),
    "axes of length one": form(
        f"logits = Reshape(Mul(Reshape({RAW}, [-1, 1, 3, 1]), FACTOR[:, None]), [-1, 3])",
        FACTOR[:, None] * W1, FACTOR * B1),
    "cast between": form(
        f"logits = Cast(Mul(Cast({RAW}, to=DOUBLE), f8(FACTOR)), to=FLOAT)",
        FACTOR[:, None] * W1, FACTOR * B1),
    "cast at the end": form(
        f"logits = Cast(Add(Cast(Mul({RAW}, FACTOR), to=DOUBLE), f8(SHIFT)), to=FLOAT)",
        FACTOR[:, None] * W1, FACTOR * B1 + SHIFT),
    "a running sum": form(f"logits = CumSum({RAW}, 1)", np.cumsum(W1, axis=0), np.cumsum(B1)),
    "Scaler": form(
        f"logits = Scaler({RAW}, offset=[0.1] * 3, scale=[2.0] * 3)", 2 * W1, 2 * (B1 - 0.1)),
    "less their mean": form(
        f"raw = {RAW}\nlogits = Sub(raw, ReduceMean(raw, axes=[-1]))", CENTRED @ W1, CENTRED @ B1),
    "one direction and a threshold per class (CORAL)": form(
        "logits = Add(MatMul(z, W1[:1].T), B1)", W1[[0, 0, 0]], B1),
    "members of an ensemble": form("""
        all = Gemm(z, MEMBERS.reshape(-1, 5), STARTS.ravel(), transB=1)
        logits = ReduceMean(Reshape(all, [-1, 4, 3]), axes=[1], keepdims=0)""",
        MEMBERS.mean(axis=0), STARTS.mean(axis=0)),
    # -- of several tensors
    "the mean of two heads": form(f"logits = Mean({BOTH})",
        np.hstack([W1, W2]) / 2, (B1 + B2) / 2, inner=("z", "h")),
    "half of two heads": form(f"logits = Div(Add({BOTH}), 2.0)",
        np.hstack([W1, W2]) / 2, (B1 + B2) / 2, inner=("z", "h")),
    "a difference of normalised heads": form(f"""
        normal = BatchNormalization({RAW}, FACTOR, SHIFT, MEAN, VAR, epsilon=1e-3)
        logits = Sub(normal, Gemm(h, W2, B2, transB=1))""",
        np.hstack([GAIN[:, None] * W1, -W2]), GAIN * (B1 - MEAN) + SHIFT - B2, inner=("z", "h")),
    "heads behind norms of one layer": form("""
        z1 = BatchNormalization(h, NORMS[0, 0], NORMS[0, 1], NORMS[0, 2], NORMS[0, 3])
        z2 = BatchNormalization(h, NORMS[1, 0], NORMS[1, 1], NORMS[1, 2], NORMS[1, 3])
        logits = Add(Gemm(z1, W1, B1, transB=1), Gemm(z2, W2, B2, transB=1))""",
        np.hstack([W1, W2]), B1 + B2, inner=("z1", "z2")),
}  # fmt: skip

# -- a layer at every position, of which the model chooses one, or takes the mean ----------------

CONV = "Conv(z, W1.reshape(3, 5, 1, 1), B1)"
BARE = "MatMul(z, W1.T)"
TOKENS = f"Add({BARE}, B1)"
FOUND = "where = ArgMax(ReduceSum(x, [2], keepdims=0), axis=1, keepdims=1)\n"
NUMBERED = "number = Range(0, Squeeze(Shape(x, end=1)), 1)\n"


def mean(z):
    return z.mean(axis=(2, 3))


def flat(z):
    return z.reshape(len(z), -1)


def found(z):
    return z[np.arange(len(z)), zoo.samples("tokens", len(z)).sum(axis=2).argmax(axis=1)]


POSITIONS = {
    "Conv, GlobalAveragePool": form(
        f"logits = Flatten(GlobalAveragePool({CONV}))", W1, B1, Z=mean),
    "Conv, ReduceMean": form(
        f"logits = ReduceMean({CONV}, axes=[-1, -2], keepdims=0)", W1, B1, Z=mean),
    "Conv, AveragePool": form(
        f"logits = Reshape(AveragePool({CONV}, kernel_shape=[4, 3]), [0, -1])", W1, B1, Z=mean),
    "Conv after the pooling": form("""
        pooled = GlobalAveragePool(z)
        logits = Squeeze(Conv(pooled, W1.reshape(3, 5, 1, 1), B1), [2, 3])""", W1, B1, Z=mean),
    "Conv without a bias": form(
        "logits = Flatten(GlobalAveragePool(Conv(z, W1.reshape(3, 5, 1, 1))))", W1, NONE, Z=mean),
    "channels last": form(
        f"logits = ReduceMean(Transpose({CONV}, perm=[0, 2, 3, 1]), axes=[1, 2], keepdims=0)",
        W1, B1, Z=mean),
    "Conv and Add": form(
        f"logits = Flatten(GlobalAveragePool(Add({CONV}, SHIFT.reshape(1, -1, 1, 1))))",
        W1, B1 + SHIFT, Z=mean),
    "a scaled map": form(
        f"logits = Flatten(GlobalAveragePool(Mul({CONV}, 4.0)))", 4 * W1, 4 * B1, Z=mean),
    "one pixel": form(
        f"logits = Flatten(Slice({CONV}, [1, 2], [2, 3], [2, 3]))",
        W1, B1, Z=lambda z: z[:, :, 1, 2]),
    "the first token": form(
        f"logits = Gather({TOKENS}, 0, axis=1)", W1, B1, start="tokens", Z=lambda z: z[:, 0]),
    "a token whose axis is kept": form(
        f"logits = Reshape(Gather({TOKENS}, [2], axis=1), [-1, 3])",
        W1, B1, start="tokens", Z=lambda z: z[:, 2], wider="does not work with a head of 5 logits"),
    "the mean of the tokens": form(
        f"logits = ReduceMean({TOKENS}, axes=[1], keepdims=0)",
        W1, B1, start="tokens", Z=lambda z: z.mean(axis=1)),
    "a token that the model finds": form(
        f"{FOUND}{NUMBERED}index = Concat(Unsqueeze(number, [1]), where, axis=1)\n"
        f"logits = GatherND({TOKENS}, index)", W1, B1, start="tokens", Z=found),
}  # fmt: skip
for row in POSITIONS.values():
    row.start = "map" if row.start == "body" else row.start
SCALED = f"Mul({BARE}, FACTOR)"
AT_POSITIONS = {
    "a convolution as large as its input": form(
        "logits = Flatten(Conv(z, KERNEL, B1))", KERNEL.reshape(K, -1), B1, start="map", Z=flat),
    "an Einsum of all positions": form(
        'logits = Einsum(z, KERNEL, equation="nchw,kchw->nk")',
        KERNEL.reshape(K, -1), NONE, start="map", Z=flat),
    "a normalised map": form(f"""
        normal = BatchNormalization({CONV}, FACTOR, SHIFT, MEAN, VAR, epsilon=1e-3)
        logits = Flatten(GlobalAveragePool(normal))""",
        GAIN[:, None] * W1, GAIN * (B1 - MEAN) + SHIFT, start="map", Z=mean),
    "a sum over positions": form(
        f"logits = ReduceSum({CONV}, [2, 3], keepdims=0)",
        W1, 12 * B1, start="map", Z=lambda z: z.sum(axis=(2, 3))),
    "a padded mean": form(f"""
        wide = AveragePool({CONV}, kernel_shape=[6, 5], pads=[1, 1, 1, 1], count_include_pad=1)
        logits = Flatten(wide)""", W1, 12 / 30 * B1, start="map", Z=lambda z: z.sum((2, 3)) / 30),
    "a dilated convolution of one position": form("""
        map = Conv(Transpose(z, perm=[0, 2, 1]), W1[..., None], B1, dilations=[2])
        logits = ReduceMean(map, axes=[2], keepdims=0)""",
        W1, B1, start="tokens", Z=lambda z: z.mean(axis=1)),
    "a token of scaled scores": form(
        f"logits = Gather({SCALED}, 2, axis=1)",
        FACTOR[:, None] * W1, NONE, start="tokens", Z=lambda z: z[:, 2]),
    "two tokens, two heads": form("""
        one = Gemm(Gather(z, 0, axis=1), W1, B1, transB=1)
        logits = Div(Add(one, Gemm(Gather(z, 1, axis=1), W2, B2, transB=1)), 2.0)""",
        np.hstack([W1, W2]) / 2, (B1 + B2) / 2,
        start="tokens", Z=lambda z: np.hstack([z[:, 0], z[:, 1]])),
    "tokens scored, then chosen": form(
        f"logits = Add(Gather({BARE}, 3, axis=1), Gather(MatMul(z, W2.T), 4, axis=1))",
        np.stack([NONE[:, None] * W1] * 3 + [W1, W2] + [NONE[:, None] * W1] * 2, 1).reshape(K, -1),
        NONE, start="tokens", Z=flat),
    "positions weighed": form(
        f"logits = ReduceSum(Mul({BARE}, SHARE), [1], keepdims=0)",
        (W1[:, None] * SHARE[0]).reshape(K, -1), NONE, start="tokens", Z=flat),
    "a sum over open positions": form(
        f"logits = ReduceSum({BARE}, [1], keepdims=0)",
        W1, NONE, start="open tokens", Z=lambda z: z.sum(axis=1)),
    "a token found by GatherND": form(
        f"{FOUND}logits = GatherND({SCALED}, where, batch_dims=1)",
        FACTOR[:, None] * W1, NONE, start="tokens", Z=found),
    "a token found by GatherElements": form(
        f"{FOUND}everywhere = Expand(Unsqueeze(where, [2]), [1, 1, 3])\n"
        f"logits = Squeeze(GatherElements({SCALED}, everywhere, axis=1), [1])",
        FACTOR[:, None] * W1, NONE, start="tokens", Z=found),
    "a token found in one list": form(
        f"{FOUND}{NUMBERED}rows = Add(Mul(number, 7), Reshape(where, [-1]))\n"
        f"logits = Gather(Reshape({SCALED}, [-1, 3]), rows, axis=0)",
        FACTOR[:, None] * W1, NONE, start="tokens", Z=found),
}  # fmt: skip


# -- quantised: the new head has float weights ----------------------------------------------------

WHOLE_PRODUCT = "Cast(MatMulInteger(zq, i1(WHOLE.T), {}), to=FLOAT)"
DYNAMIC = "zq, s, zero = DynamicQuantizeLinear(z)\nreal = " + WHOLE_PRODUCT.format("zero") + "\n"
STATIC = "zq = QuantizeLinear(z, 0.02, u1(3))\n"
QGEMM = "QGemm(zq, 0.02, u1(3), i1(WHOLE), FACTOR / 9, i1(NONE), STEPS, {}transB=1)"
UNIT = 0.02 * FACTOR / 9
ARRAYS["STEPS"] = np.round(B1 / UNIT).astype(np.int32)
SMALL = WHOLE * FACTOR[:, None] / 9
QUANTISED = {
    "QGemm": form(STATIC + "logits = " + QGEMM.format(""), SMALL, np.round(B1 / UNIT) * UNIT),
    "QGemm, quantised again": form(
        f"{STATIC}q = {QGEMM.format('0.05, u1(128), ')}\n"
        "logits = DequantizeLinear(q, 0.05, u1(128))", SMALL, np.round(B1 / UNIT) * UNIT),
    "QLinearMatMul": form(STATIC + """
        q = QLinearMatMul(zq, 0.02, u1(3), i1(WHOLE.T), 0.1, i1(0), 0.05, u1(128))
        bias = DequantizeLinear(i1(np.round(B1 / 0.02)), 0.02, i1(0))
        logits = Add(DequantizeLinear(q, 0.05, u1(128)), bias)""",
        WHOLE / 10, np.round(B1 / 0.02) * 0.02),
    "MatMulInteger, static": form(
        f"{STATIC}logits = Add(Mul({WHOLE_PRODUCT.format('u1(3)')}, 0.02 * FACTOR / 9), B1)",
        SMALL, B1),
    "MatMulInteger, dynamic, with a factor": form(
        DYNAMIC + "logits = Add(Mul(Mul(real, Mul(s, 0.1)), FACTOR), B1)",
        WHOLE * FACTOR[:, None] / 10, B1),
    "MatMulInteger, dynamic, with LoRA": form(
        f"{DYNAMIC}logits = Add(Mul(real, Mul(s, FACTOR / 9)), {LOW})", SMALL + (A1 @ C1).T, NONE),
    "MatMulNBits": form(
        "raw = MatMulNBits(z, u1(PACKED), FACTOR / 9, K=5, N=3, bits=4, block_size=16)\n"
        "logits = Add(raw, B1)", SMALL, B1),
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


@pytest.mark.more
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


@pytest.mark.more
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


def probabilities(logits):
    return softmax(logits, axis=1)


SHOWN_TOO = {"Softmax": ["z"], "a temperature": ["logits"]}
POWERS = "powers = Exp({})\ntotal = ReduceSum(powers, [1], keepdims=1)\n"
TAILS = {  # a program, and what its result ``p`` shows of a head's logits
    "Softmax": ("p = Softmax(logits, axis=-1)", probabilities),
    "LogSoftmax": ("p = Exp(LogSoftmax(logits, axis=-1))", probabilities),
    "percent": ("p = Div(Mul(Softmax(logits, axis=-1), 100.0), 100.0)", probabilities),
    "a temperature": ("p = Softmax(Mul(logits, 16.0), axis=-1)", probabilities),
    "a temperature on the left": ("p = Softmax(Mul([3.3], logits), axis=1)", probabilities),
    "a negative divisor": ("p = Softmax(Div(logits, -0.37), axis=-1)", probabilities),
    "clipped far away": ("p = Softmax(Clip(logits, -50.0, 50.0), axis=1)", probabilities),
    "clipped probabilities": ("p = Clip(Softmax(logits, axis=1), 0.01, 0.99)",
                              lambda logits: np.clip(softmax(logits, axis=1), 0.01, 0.99)),
    "a label": ("p = ArgMax(Softmax(logits, axis=1), axis=1, keepdims=0)",
                lambda logits: logits.argmax(axis=1)),
    "JAX's Softmax": ("""
        column = Unsqueeze(ReduceMax(logits, axes=[1], keepdims=0), [1])
        shifted = Sub(logits, Identity(column))
        """ + POWERS.format("shifted") + "p = Div(powers, total)", probabilities),
    "a bare Softmax": (POWERS.format("logits").replace("[1]", "[-1]") + "p = Div(powers, total)",
                       probabilities),
    "JAX's LogSoftmax": (
        "shifted = Sub(logits, ReduceMax(logits, axes=[1]))\n" + POWERS.format("shifted")
        + "p = Exp(Sub(shifted, Log(total)))", probabilities),
    "an old Softmax of all axes": ("row = Unsqueeze(logits, axes=[1])\np = Softmax(row)",
                                   lambda logits: softmax(logits, axis=1)[:, None]),
    "a row": ("row = Unsqueeze(logits, [1])\np = Softmax(row, axis=2)",
              lambda logits: softmax(logits, axis=1)[:, None]),
}  # fmt: skip
ODDS = "Add(Exp(Neg(logits)), 1.0)"
UNITS = {
    "Sigmoid": "p = Sigmoid(logits)",
    "Sigmoid without its axis": "p = Squeeze(Sigmoid(logits), [1])",
    "divided": f"p = Div(1.0, {ODDS})",
    "reciprocal": f"p = Reciprocal({ODDS})",
    "of powers": "e = Exp(logits)\np = Div(e, Add(1.0, e))",
}


@pytest.mark.more
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


def test_the_only_name_of_a_single_score_is_that_of_its_class(tmp_path):
    proto, X = zoo.built("p = Sigmoid(logits)", "classifier", n_logits=1), zoo.inputs()
    helper.set_model_props(proto, {"names": '["fraud"]'})
    path = zoo.save(proto, tmp_path / "m.onnx")
    y = np.where(zoo.run(proto, X)["p"].ravel() > 0.5, "fraud", "ok")
    assert FrozenModel.load(path).head.classes.tolist() == ["not fraud", "fraud"]
    found = ntkit.predict(path, (X, y), device="cpu")
    assert found.labels.tolist() == y.tolist()
    assert any("the class 'fraud', so 'ok' is the other" in note for note in found.notes)


def test_a_one_logit_head_in_a_two_logit_model(tmp_path):
    proto, X = zoo.built("p = Softmax(logits)", "classifier", n_logits=2), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(1, seed=5), [0, 1])
    new = model.with_head(head)
    assert new.nodes == model.nodes
    out = zoo.run(new.save(tmp_path / "new.onnx"), X)
    assert_allclose(out["p"], head.predict_proba(zoo.embedding(proto, X)), atol=1e-6)
