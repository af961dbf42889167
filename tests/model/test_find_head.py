"""The head read out of a file is the function ONNX Runtime computes with that file."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper

from ntkit import FrozenModel, LinearHead
from ntkit.exceptions import HeadNotFoundError

K = 3
RUNTIME = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
TOLERANCE = {np.float16: 2e-2, np.float32: 1e-5, np.float64: 1e-12}


# -- forms of a linear layer: each adds ``logits`` = z Wᵀ + b to a graph -----------------------


def gemm_trans_b(g, W, b):
    g.add("Gemm", ["z", g.constant("w", W), g.constant("b", b)], "logits", transB=1)


def gemm_plain(g, W, b):
    g.add("Gemm", ["z", g.constant("w", W.T), g.constant("b", b)], "logits")


def gemm_alpha_beta(g, W, b):
    w, c = g.constant("w", W / 0.3), g.constant("b", b / -1.7)
    g.add("Gemm", ["z", w, c], "logits", transB=1, alpha=0.3, beta=-1.7)


def gemm_row_bias(g, W, b):
    g.add("Gemm", ["z", g.constant("w", W), g.constant("b", b[None])], "logits", transB=1)


def gemm_then_add(g, W, b):
    w, c = g.constant("w", W), g.constant("c", b / 4)
    g.add("Gemm", ["z", w, c], "product", transB=1)
    g.add("Add", ["product", g.constant("b", b - b / 4)], "logits")


def matmul_add(g, W, b):
    g.add("MatMul", ["z", g.constant("w", W.T)], "product")
    g.add("Add", ["product", g.constant("b", b)], "logits")


def add_with_bias_first(g, W, b):
    g.add("MatMul", ["z", g.constant("w", W.T)], "product")
    g.add("Add", [g.constant("b", b), "product"], "logits")


def matmul_casts_add(g, W, b):
    kind = helper.np_dtype_to_tensor_dtype(g.dtype)
    g.add("MatMul", ["z", g.constant("w", W.T)], "product")
    g.add("Cast", ["product"], "again", to=kind)
    g.add("Add", ["again", g.constant("b", b)], "sum")
    g.add("Cast", ["sum"], "logits", to=kind)


def constant_nodes(g, W, b):
    for name, array in (("w", W), ("b", b)):
        tensor = helper.make_tensor(
            name, helper.np_dtype_to_tensor_dtype(g.dtype), array.shape, array.astype(g.dtype)
        )
        g.add("Constant", [], name, value=tensor)
    g.add("Gemm", ["z", "w", "b"], "logits", transB=1)


def behind_identity(g, W, b):
    g.add("Identity", [g.constant("w0", W)], "w")
    g.add("Identity", [g.constant("b0", b)], "b")
    g.add("Gemm", ["z", "w", "b"], "logits", transB=1)


def behind_transpose(g, W, b):
    g.add("Transpose", [g.constant("w0", W)], "w", perm=[1, 0])
    g.add("MatMul", ["z", "w"], "product")
    g.add("Add", ["product", g.constant("b", b)], "logits")


def behind_idle_transpose(g, W, b):
    g.add("Transpose", [g.constant("w0", W)], "w", perm=[0, 1])
    g.add("Gemm", ["z", "w", g.constant("b", b)], "logits", transB=1)


def behind_transpose_without_perm(g, W, b):
    g.add("Transpose", [g.constant("w0", W)], "w")
    g.add("Gemm", ["z", "w", g.constant("b", b)], "logits")


def behind_cast(g, W, b):
    kind = helper.np_dtype_to_tensor_dtype(g.dtype)
    g.add("Cast", [g.constant("w0", W, np.float64)], "w", to=kind)
    g.add("Gemm", ["z", "w", g.constant("b", b)], "logits", transB=1)


def behind_reshapes(g, W, b):
    g.add("Reshape", [g.constant("w0", W.ravel()), g.constant("rows", W.shape, np.int64)], "w1")
    g.add("Unsqueeze", ["w1", g.constant("one", [1], np.int64)], "w2")
    g.add("Squeeze", ["w2", g.constant("also one", [1], np.int64)], "w")
    g.add("Gemm", ["z", "w", g.constant("b", b)], "logits", transB=1)


def flat_matmul(g, W, b):
    g.add("Flatten", ["z"], "flat")
    g.add("MatMul", ["flat", g.constant("w", W.T)], "product")
    g.add("Add", ["product", g.constant("b", b[None])], "logits")


FORMS = [
    gemm_trans_b, gemm_plain, gemm_alpha_beta, gemm_row_bias, gemm_then_add, matmul_add,
    add_with_bias_first, matmul_casts_add, constant_nodes, behind_identity, behind_transpose,
    behind_idle_transpose, behind_transpose_without_perm, behind_cast, behind_reshapes,
    flat_matmul,
]  # fmt: skip


@pytest.fixture(params=FORMS, ids=lambda form: form.__name__)
def form(request):
    if request.param is behind_idle_transpose and RUNTIME < (1, 30):
        pytest.skip("ONNX Runtime before 1.30 takes an idle Transpose before a Gemm for a swap")
    return request.param


@pytest.fixture(params=[np.float32, np.float64, np.float16], ids=lambda d: d.__name__)
def dtype(request):
    return request.param


@pytest.fixture
def formed(zoo, form, dtype):
    graph = zoo.body(dtype)
    form(graph, *zoo.weights(K))
    graph.output("logits", ["batch", K])
    return graph.model()


def test_the_head_is_what_onnx_runtime_computes(zoo, formed, dtype, tmp_path):
    X = zoo.inputs(dtype=dtype)
    out = zoo.run(zoo.with_outputs(formed, "z"), X)
    model = FrozenModel.load(zoo.save(formed, tmp_path / "m.onnx"))
    assert model.embedding.name in ("z", "flat")
    assert model.head.coef.shape == (K, zoo.N_NEURONS)
    tolerance = TOLERANCE[dtype]
    assert_allclose(
        model.head.decision_function(out["z"]), out["logits"], rtol=tolerance, atol=tolerance
    )


def test_a_new_head_computes_itself_and_nothing_else_changes(zoo, formed, dtype, tmp_path):
    X = zoo.inputs(dtype=dtype)
    model = FrozenModel.load(zoo.save(formed, tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(K, seed=9), range(K))
    new = model.with_head(head).save(tmp_path / "new.onnx")
    out = zoo.run(new, X)
    z = zoo.embedding(formed, X)
    tolerance = TOLERANCE[dtype]
    assert_allclose(
        head.decision_function(z.astype(float)), out["logits"], rtol=tolerance, atol=tolerance
    )
    again = FrozenModel.load(new)
    assert again.nodes == model.nodes
    assert (again.inputs, again.outputs) == (model.inputs, model.outputs)
    assert_array_equal(
        zoo.embedding(formed, X), zoo.run(zoo.with_outputs(onnx.load(new), "z"), X)["z"]
    )


def test_the_models_own_head_written_back_is_bit_equal(zoo, formed, dtype, tmp_path):
    X = zoo.inputs(dtype=dtype)
    model = FrozenModel.load(zoo.save(formed, tmp_path / "m.onnx"))
    new = model.with_head(model.head).save(tmp_path / "new.onnx")
    assert_array_equal(zoo.run(new, X)["logits"], zoo.run(formed, X)["logits"])


def test_a_bias_of_zeros_that_the_graph_fills_in_is_exchanged(zoo, tmp_path):
    graph = zoo.body()
    W, b = zoo.weights(K)
    graph.add("ConstantOfShape", [graph.constant("size", [K], np.int64)], "zeros")
    graph.add("Gemm", ["z", graph.constant("w", W), "zeros"], "logits", transB=1)
    graph.output("logits", ["batch", K])
    proto, X = graph.model(), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    assert not model.head.intercept.any()
    head = LinearHead(W + 1, b, range(K))
    out = zoo.run(model.with_head(head).save(tmp_path / "new.onnx"), X)
    logits = head.decision_function(zoo.embedding(proto, X))
    assert_allclose(out["logits"], logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_a_layer_without_a_bias_gets_one(zoo, op, tmp_path):
    graph = zoo.body()
    W, b = zoo.weights(K)
    w = graph.constant("w", W.T)
    graph.add(op, ["z", w], "logits")
    graph.output("logits", ["batch", K])
    X = zoo.inputs()
    proto = graph.model()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    assert not model.head.intercept.any()
    head = LinearHead(W + 1, b, range(K))
    new = model.with_head(head)
    z = zoo.embedding(proto, X)
    out = zoo.run(new.save(tmp_path / "new.onnx"), X)
    assert_allclose(out["logits"], head.decision_function(z), rtol=1e-5, atol=1e-5)
    assert list(out) == ["logits"]
    added = [o for _, o in new.nodes][len(model.nodes) :]
    assert added == ([] if op == "Gemm" else ["Add"])
    third = LinearHead(W - 1, -b, range(K))  # and what was added is a head like any other
    out = zoo.run(new.with_head(third).save(tmp_path / "third.onnx"), X)
    assert_allclose(out["logits"], third.decision_function(z), rtol=1e-5, atol=1e-5)


# -- what follows the head --------------------------------------------------------------------


def softmax(g):
    g.add("Softmax", ["logits"], "probabilities", axis=-1)
    g.output("probabilities", ["batch", K])


def log_softmax(g):
    g.add("LogSoftmax", ["logits"], "log_probabilities", axis=-1)
    g.add("Exp", ["log_probabilities"], "probabilities")
    g.output("probabilities", ["batch", K])


def percent(g):
    g.add("Softmax", ["logits"], "shares", axis=-1)
    g.add("Mul", ["shares", g.constant("hundred", 100.0)], "percent")
    g.add("Div", ["percent", g.constant("again", 100.0)], "probabilities")
    g.output("probabilities", ["batch", K])


def cosine(g):
    g.add("Mul", ["logits", g.constant("temperature", 16.0)], "scaled")
    g.add("Softmax", ["scaled"], "probabilities", axis=-1)
    g.output("probabilities", ["batch", K])


def cosine_vector_scale(g):
    g.add("Mul", [g.constant("temperature", [3.3]), "logits"], "scaled")
    g.add("Softmax", ["scaled"], "probabilities", axis=-1)
    g.output("probabilities", ["batch", K])


def divided(g):
    g.add("Div", ["logits", g.constant("temperature", -0.37)], "scaled")
    g.add("Softmax", ["scaled"], "probabilities", axis=-1)
    g.output("probabilities", ["batch", K])


def raw_and_scaled(g):
    g.output("logits", ["batch", K])
    cosine(g)


def label_and_probabilities(g):
    softmax(g)
    g.add("ArgMax", ["probabilities"], "label", axis=1, keepdims=0)
    g.output("label", ["batch"], TensorProto.INT64)


def embedding_and_probabilities(g):
    g.output("z", ["batch", 5])
    softmax(g)


TAILS = [
    softmax, log_softmax, percent, cosine, cosine_vector_scale, divided, raw_and_scaled,
    label_and_probabilities, embedding_and_probabilities,
]  # fmt: skip


@pytest.mark.parametrize("tail", TAILS, ids=lambda tail: tail.__name__)
@pytest.mark.parametrize("named", [None, "logits"])
def test_the_head_has_the_models_probabilities_before_and_after(zoo, tail, named, tmp_path):
    graph = zoo.classifier(K, output=False)
    tail(graph)
    proto = graph.model()
    X = zoo.inputs()
    z, out = zoo.embedding(proto, X), zoo.run(proto, X)
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"), logits=named)
    assert_allclose(model.head.predict_proba(z), out["probabilities"], atol=1e-5)

    head = LinearHead(*zoo.weights(K, seed=7), range(K))
    new = model.with_head(head)
    assert_allclose(new.head.coef, head.coef, rtol=1e-5)
    assert new.logit_scale == model.logit_scale
    out = zoo.run(new.save(tmp_path / "new.onnx"), X)
    assert_allclose(head.predict_proba(z), out["probabilities"], atol=1e-5)
    if "label" in out:
        assert_array_equal(out["label"], head.predict(z))
    second = new.with_head(model.head)  # there and back
    out = zoo.run(second.save(tmp_path / "back.onnx"), X)
    assert_allclose(model.head.predict_proba(z), out["probabilities"], atol=1e-5)


@pytest.mark.parametrize("squeeze", [False, True])
def test_a_single_sigmoid_unit(zoo, squeeze, tmp_path):
    graph = zoo.classifier(1, output=False)
    graph.add("Sigmoid", ["logits"], "p")
    last = (
        graph.add("Squeeze", ["p", graph.constant("axes", [1], np.int64)], "q") if squeeze else "p"
    )
    graph.output(last, ["batch"] if squeeze else ["batch", 1])
    proto, X = graph.model(), zoo.inputs()
    z = zoo.embedding(proto, X)
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"), classes=["land", "water"])
    assert (model.head.n_logits, model.head.classes.tolist()) == (1, ["land", "water"])
    p = zoo.run(proto, X)[last].ravel()
    assert_allclose(model.head.predict_proba(z)[:, 1], p, atol=1e-6)
    assert_array_equal(model.head.predict(z), np.where(p > 0.5, "water", "land"))
    # A head with two logits has the same probabilities in the one-logit model, in either order.
    two = LinearHead(*zoo.weights(2, seed=5), ["water", "land"])
    new = model.with_head(two).save(tmp_path / "new.onnx")
    assert_allclose(zoo.run(new, X)[last].ravel(), two.predict_proba(z)[:, 0], atol=1e-6)


def test_a_one_logit_head_in_a_two_logit_model(zoo, tmp_path):
    graph = zoo.classifier(2, output=False)
    graph.add("Softmax", ["logits"], "probabilities")
    graph.output("probabilities", ["batch", 2])
    proto, X = graph.model(), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(1, seed=5), [0, 1])
    new = model.with_head(head)
    assert new.nodes == model.nodes
    out = zoo.run(new.save(tmp_path / "new.onnx"), X)
    assert_allclose(out["probabilities"], head.predict_proba(zoo.embedding(proto, X)), atol=1e-6)


# -- class names ------------------------------------------------------------------------------

NAMES = ["ant", "bee", "cow"]


def gather(g):
    g.add("Gather", [g.constant("names", NAMES, object), "index"], "label")


def array_feature_extractor(g):
    table = g.constant("names", [NAMES], object)
    g.add("ArrayFeatureExtractor", [table, "index"], "row", domain="ai.onnx.ml")
    g.add("Reshape", ["row", g.constant("shape", [-1], np.int64)], "label")


def label_encoder(g):
    g.add("LabelEncoder", ["index"], "label", domain="ai.onnx.ml",
          keys_int64s=[0, 1, 2], values_strings=NAMES)  # fmt: skip


@pytest.mark.parametrize("lookup", [gather, array_feature_extractor, label_encoder])
@pytest.mark.parametrize("probabilities", [True, False])
def test_class_names_in_the_graph_are_found(zoo, lookup, probabilities, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("Softmax", ["logits"], "probabilities")
    if probabilities:
        graph.output("probabilities", ["batch", K])
    graph.add("ArgMax", ["probabilities"], "index", axis=1, keepdims=0)
    lookup(graph)
    graph.output("label", ["batch"], TensorProto.STRING)
    proto, X = graph.model(), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    assert model.has_class_names
    assert model.head.classes.tolist() == NAMES
    z = zoo.embedding(proto, X)
    assert_array_equal(model.head.predict(z), zoo.run(proto, X)["label"])
    head = LinearHead(*zoo.weights(K, seed=8), ["cow", "ant", "bee"])
    new = model.with_head(head).save(tmp_path / "new.onnx")
    assert_array_equal(zoo.run(new, X)["label"], head.predict(z))
    for exchanged in (model, FrozenModel.load(new), model.with_head(head)):
        for other in (["ant", "bee", "dog"], ["ant", "bee"], range(3)):
            with pytest.raises(ValueError, match="maps its logits to the labels"):
                exchanged.with_head(LinearHead(*zoo.weights(len(other)), other))


def test_labels_that_several_logits_share_are_no_class_names(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("ArgMax", ["logits"], "index", axis=1, keepdims=0)
    graph.add("Gather", [graph.constant("names", ["dog", "dog", "cat"], object), "index"], "label")
    graph.output("label", ["batch"], TensorProto.STRING)
    model = FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))
    assert not model.has_class_names
    assert model.head.classes.tolist() == [0, 1, 2]


# -- which layer ------------------------------------------------------------------------------


def test_a_linear_embedding_output_that_feeds_the_head_is_not_the_head(zoo, tmp_path):
    graph = zoo.body()
    graph.add("Gemm", ["z", graph.constant("p", np.eye(5)[:4])], "projected", transB=1)
    graph.add("Gemm", ["projected", graph.constant("w", np.ones((K, 4)))], "logits", transB=1)
    graph.output("projected", ["batch", 4])
    graph.output("logits", ["batch", K])
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    for model in (FrozenModel.load(path), FrozenModel.load(path, embedding="projected")):
        assert (model.embedding.name, model.logits.name) == ("projected", "logits")


@pytest.fixture
def two_heads(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("Gemm", ["h", graph.constant("w2", np.ones((2, 5)))], "domain", transB=1)
    graph.output("logits", ["batch", K])
    graph.output("domain", ["batch", 2])
    return zoo.save(graph.model(), tmp_path / "m.onnx")


def test_two_heads_are_listed_and_one_is_chosen(zoo, two_heads, tmp_path):
    with pytest.raises(HeadNotFoundError, match=r"'logits' .*'domain' .*--logits"):
        FrozenModel.load(two_heads)
    X = zoo.inputs()
    before = zoo.run(two_heads, X)
    for chosen, other, width in (("logits", "domain", K), ("domain", "logits", 2)):
        model = FrozenModel.load(two_heads, logits=chosen)
        assert model.head.n_logits == width
        head = LinearHead(*zoo.weights(width, seed=3), range(width))
        out = zoo.run(model.with_head(head).save(tmp_path / f"{chosen}.onnx"), X)
        assert_array_equal(out[other], before[other])
        assert not np.allclose(out[chosen], before[chosen])


def test_a_head_may_be_named_by_what_it_reads(two_heads):
    assert FrozenModel.load(two_heads, embedding="z").logits.name == "logits"
    assert FrozenModel.load(two_heads, embedding="h").logits.name == "domain"
    with pytest.raises(HeadNotFoundError, match="reads 'h', not 'z'"):
        FrozenModel.load(two_heads, embedding="z", logits="domain")


def test_two_heads_on_one_embedding_are_listed_too(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("Gemm", ["z", graph.constant("w2", np.ones((2, 5)))], "domain", transB=1)
    graph.output("logits", ["batch", K])
    graph.output("domain", ["batch", 2])
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=r"'logits' .*'domain' "):
        FrozenModel.load(path, embedding="z")
    assert FrozenModel.load(path, embedding="z", logits="domain").head.n_logits == 2


@pytest.mark.parametrize("op", ["Cast", "Identity", "Flatten", "Dropout"])
def test_an_embedding_named_before_a_no_op_still_finds_the_head(zoo, op, tmp_path):
    graph = zoo.body()
    graph.add(op, ["z"], "y", **({"to": TensorProto.FLOAT} if op == "Cast" else {}))
    graph.add("Gemm", ["y", graph.constant("w", np.ones((K, 5)))], "logits", transB=1)
    graph.output("logits", ["batch", K])
    model = FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"), embedding="z")
    assert (model.embedding.name, model.head.n_logits) == ("y", K)
    assert [o.name for o in model.with_head(model.head).outputs] == ["logits"]


def test_a_product_of_two_branches_is_not_a_head(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("Mul", ["logits", "logits"], "squares")
    graph.output("squares", ["batch", K])
    with pytest.raises(HeadNotFoundError, match=r"'squares' comes from Mul .*--logits NAME"):
        FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda g: g.add("Relu", ["logits"], "out"), "comes from Relu"),
        (lambda g: g.add("Abs", ["logits"], "out"), "comes from Abs"),
        (lambda g: g.add("MatMul", ["logits", "logits2"], "out"), "MatMul .*computed weights"),
        (lambda g: g.add("Gemm", ["logits", "logits2"], "out"), "Gemm .*computed weights"),
        (lambda g: g.add("Gemm", ["z", "fc.weight"], "out", transB=1, alpha=0.0), "all 0"),
        (lambda g: g.add("Add", ["p", g.constant("c", np.ones((40, 1)))], "out"), "fit together"),
        (lambda g: g.add("Gemm", ["z", "fc.weight", g.constant("c", np.ones((40, 1)))], "out",
                         transB=1), "fit together"),
    ],
)  # fmt: skip
def test_a_model_without_a_linear_last_layer_says_what_it_found(zoo, build, said, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("Transpose", ["logits"], "logits2")
    graph.add("MatMul", ["z", graph.constant("m", np.ones((5, K)))], "p")
    build(graph)
    graph.output("out", [None, None])
    with pytest.raises(HeadNotFoundError, match=said) as error:
        FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))
    assert "--logits NAME" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["logits", "embedding"])
def test_a_wrong_tensor_name_is_answered_with_names(zoo, option, tmp_path):
    path = zoo.save(zoo.classifier(K), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=r"no tensor 'nonsense'; its last ones are .*'z'"):
        FrozenModel.load(path, **{option: "nonsense"})
