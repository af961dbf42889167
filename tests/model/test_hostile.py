"""Files made to hurt: each is answered in one sentence or works; nothing else ever happens.

Every file goes through load, describe, body, with_head and save in a process for files of its kind
(tests/fuzz/sandbox.py). Each is given some seconds, and the memory of the process is measured.
"""

import io
import os
import stat
import zipfile
from functools import partial
from itertools import product
from pathlib import Path
from textwrap import dedent

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import models as zoo
from tests.fuzz.sandbox import Outcome, Sandbox

K = 3
HUGE = 2**40


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


CASES = {}


def case(*variants, expect=None, match=""):
    """Register a builder of a model or a path, called once per variant with an empty folder.

    ``expect`` is "done" or "refused" where only one of the two is right.
    """

    def register(build):
        CASES[build.__name__] = (build, expect, match, variants or ((),))
        return build

    return register


@pytest.mark.more
@pytest.mark.parametrize("name", CASES_NAMES := [])
def test_a_hostile_file_is_refused_in_one_sentence_or_works(name, sandbox, tmp_path):
    build, expect, match, variants = CASES[name]
    files = []
    for number, variant in enumerate(variants):
        folder = tmp_path / str(number) / "hostile"
        folder.mkdir(parents=True)
        made = build(folder, *(variant if isinstance(variant, tuple) else (variant,)))
        path = made if isinstance(made, Path) else folder / "m.onnx"
        if not isinstance(made, Path):
            path.write_bytes(made.SerializeToString())
        # Next to the original and elsewhere: there, external data are in another folder.
        (folder.parent / "saved").mkdir()
        files.append((str(path), str(folder.parent / "saved" / "n.onnx")))
    before = listing(tmp_path)
    # What must not grow with the square of a file, or without end; a busy machine may take longer.
    limit = 40 if "hundred thousand" in name else 20 if "thousand" in name else 10
    together = sandbox.run("exchange_each", files=files, seconds=limit + len(files), patience=6)
    assert not together.problem(), together.problem()
    after = listing(tmp_path)
    assert {k: v for k, v in after.items() if k in before} == before
    for variant, (_, saved), fields in zip(
        variants, files, together.result["outcomes"], strict=True
    ):
        outcome = Outcome(**fields)
        what = f"{str(variant)[:200]}: {outcome.message} {outcome.problem()}"
        assert not outcome.problem(), what
        assert outcome.seconds < limit, what
        assert expect in (None, outcome.status), what
        if outcome.status == "refused":
            beside = str(Path(saved).parent.relative_to(tmp_path))
            assert not [k for k in after if k.startswith(f"{beside}/")], what
            assert match in outcome.message, what
        else:
            assert outcome.result == {"same_head": True}, what


def listing(folder):
    """Every path under a folder with what it holds; nothing is opened that could block."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content = None
        if stat.S_ISREG(about.st_mode):
            readable = about.st_mode & stat.S_IRUSR and about.st_size < 1e6
            content = path.read_bytes() if readable else (about.st_size, about.st_mtime_ns)
        found[str(path.relative_to(folder))] = (about.st_mode, content)
    return found


# -- builders ---------------------------------------------------------------------------------


def plain(**options):
    """body.weight, body.bias, Gemm, Relu → z; fc.weight, fc.bias, Gemm → logits."""
    return zoo.classifier(K, **options)


def tensor(model, name):
    return next(t for t in model.graph.initializer if t.name == name)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def before_head(model, *nodes):
    """Insert nodes in front of the head's Gemm."""
    gemm = model.graph.node.pop()
    model.graph.node.extend([*nodes, gemm])
    return model.graph.node[-1]


def weight_through(model, *nodes):
    """Let the head read its weight from the last of these nodes' first output."""
    before_head(model, *nodes).input[1] = nodes[-1].output[0]
    return model


def after_head(model, *nodes):
    """Let the model end in these nodes instead of the logits."""
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.append(end(nodes[-1].output[0]))
    return model


def end(name):
    """An output that ONNX's checker has nothing to say about."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "more"])


def initializer(model, name, array):
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return name


def rename(model, names):
    """Give tensors other names."""
    for one in model.graph.node:
        for listed in (one.input, one.output):
            for index, name in enumerate(listed):
                listed[index] = names.get(name, name)
    for one in (*model.graph.initializer, *model.graph.output):
        one.name = names.get(one.name, one.name)


def chain(op, start, end, length, *more):
    """So many nodes, one after the other."""
    names = [start, *(f"{end}_{i}" for i in range(length - 1)), end]
    made = [onnx.NodeProto(op_type=op) for _ in range(length)]
    for i, one in enumerate(made):
        one.input.extend([names[i], *more])
        one.output.append(names[i + 1])
        if op == "Cast":
            one.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    return made


def doublings(op):
    attributes = {"axis": 0} if op == "Concat" else {}
    return [node(op, [f"d{i}"] * 2, [f"d{i + 1}"], **attributes) for i in range(60)]


def without_weight(model, dims, data_type=TensorProto.FLOAT, raw=b"\0\0\0\0"):
    """Give the head a weight of these dimensions with next to no data."""
    weight = tensor(model, "fc.weight")
    weight.Clear()
    weight.name, weight.data_type, weight.raw_data = "fc.weight", data_type, raw
    weight.dims.extend(dims)
    return weight


def calling(model, functions, name="F"):
    """Let the logits go through functions, each a list of nodes from ``a`` to ``b``."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    for one, body in functions.items():
        model.functions.append(helper.make_function("local", one, ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    return after_head(model, call(name, "logits", "out"))


def call(name, source="a", target="b"):
    return node(name, [source], [target], domain="local")


MILLION = np.array([10**6, 10**6])
COLUMN, ROW = np.full((10**6, 1), 2, np.float32), np.ones((1, 10**6), np.float32)
BOMBS = {  # operators whose output would take 10^12 numbers, of constants that take few
    **{op: ([COLUMN, ROW], {}) for op in ("Mul", "Add", "Sub", "Div", "Pow", "MatMul", "Gemm")},
    "ConstantOfShape": ([MILLION], {}),
    "Expand": ([np.float32(1), MILLION], {}),
    "Tile": ([np.ones((1, 1), np.float32), MILLION], {}),
    "Where": ([COLUMN[: 10**4, None] > 0, COLUMN[: 10**4], ROW[0, : 10**4]], {}),
    "Range": ([np.float32(0), np.float32(1e12), np.float32(1)], {}),
    "EyeLike": ([np.ones((10, 10), np.float32)], {}),
    "OneHot": ([np.arange(10**6), np.int64(10**6), np.array([0, 1], np.float32)], {}),
    "Pad": ([np.ones((1, 1), np.float32), np.array([0, 0, 10**6, 10**6])], {}),
    "Gather": ([ROW, np.zeros(10**6, np.int64)], {}),
    "Resize": ([np.ones((1, 1), np.float32), "", np.array([1e6, 1e6], np.float32)], {}),
    "RandomNormal": ([], {"shape": [10**6, 10**6]}),
    "Upsample": ([np.ones((1, 1), np.float32), np.array([1e6, 1e6], np.float32)], {}),
    "Einsum": ([ROW[0], ROW[0]], {"equation": "i,j->ij"}),
}
FEW_BOMBS = ("ConstantOfShape", "Expand", "Mul")
NAMES = ("logits", "z", "h", "x", "fc.weight", "fc.bias", "body.weight")
OPERATORS = (
    *("Identity", "Cast", "Mul", "Gather", "Reshape", "Transpose", "DequantizeLinear", "Slice"),
    *("Concat", "Split", "Unsqueeze", "Constant", "Add", "MatMul"),
)


def bomb(model, op):
    given, attributes = BOMBS[op]
    names = [
        name if isinstance(name, str) else initializer(model, f"{op}{i}", name)
        for i, name in enumerate(given)
    ]
    return node(op, names, ["bomb"], **attributes)


# A program that edits the plain model (see ``edited``), what must become of it, and values of v.
EDITS = {
    # -- graphs that go in circles
    "an output of a node that reads itself": (
        'after_head(model, node("Identity", ["out"], ["out"]))', "refused"),
    "a cycle before the output": ("""
        attributes = {"to": FLOAT} if v == "Cast" else {}
        after_head(model, node(v, ["a"], ["b"], **attributes), node(v, ["b"], ["a"]))""",
        "refused", "Identity", "Relu", "Softmax", "Cast"),
    "a cycle off the path": ("""
        names = [f"c{i}" for i in range(v)]
        nodes.extend(node("Relu", [names[i - 1]], [names[i]]) for i in range(v))""", None, 2, 3),
    "a cycle in the weight": (
        'weight_through(model, node(v[0], ["b"] * v[1], ["a"]), node(v[0], ["a"] * v[1], ["b"]))',
        "refused", ("Identity", 1), ("Transpose", 1), ("Mul", 2)),
    "a cycle in the body": ('nodes[0].input[0] = "z"',),
    "a head that reads its own logits": ('head.input[0] = "logits"',),
    "nodes in reverse order": (
        "reverse = [*nodes][::-1]\ndel nodes[:]\nnodes.extend(reverse)",),
    # -- names that collide
    "a node output that is named like": (
        'nodes.insert(v[0], node("Relu", ["x"], [v[1]]))', None, *product((0, 99), NAMES)),
    "an initializer that is named like": (
        "initializer(model, v, np.ones((K, zoo.N_NEURONS), np.float32))", None,
        "fc.weight", "fc.bias", "x", "z", "logits"),
    "an input that is named like": (
        "graph.input.append(zoo.value(v, [3, 5]))", None, "fc.weight", "logits", "z", "x"),
    "a second output that is named like": (
        "graph.output.append(end(v))", None, "logits", "x", "z", "fc.weight", "nowhere", ""),
    "an empty name of": ("rename(model, {v: ''})", None, "z", "fc.weight", "logits"),
    "a strange name": (
        "rename(model, {'z': v, 'logits': v})", None,
        "a" * 10**6, "\n" * 50, "\x00", "../../x", "'; rm -rf"),
    # -- shapes and sizes
    "a weight without data": (
        "without_weight(model, v)", "refused", (HUGE, HUGE), (HUGE, 1), (-1, 5), (3, -5), (-3, -5),
        (0, 5), (3, 0), (0, 0), (), (15,), (3, 5, 1), (1,) * 1000, (2**62, 4), (2**63 - 1,) * 2),
    "another initializer without data": ("""
        big = TensorProto(name="big", data_type=FLOAT, dims=v, raw_data=b"0000")
        graph.initializer.append(big)
        after_head(model, node("Add", ["logits", "big"], ["out"]))""", None,
        (HUGE, HUGE), (-1,), (0,), (2**62, 4)),
    "a graph that declares shapes": ("""
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.Clear()
            for size in v:
                value.type.tensor_type.shape.dim.add().dim_value = size""", None,
        (HUGE, HUGE), (-1, -1), (0, 0)),
    "a weight of type": (
        "without_weight(model, (K, 5), v, bytes(15 * 8))", "refused",
        *map(TensorProto.DataType.Value, ("INT64", "BOOL", "STRING", "COMPLEX64", "UINT8", "INT4",
                                          "FLOAT8E4M3FN", "UNDEFINED")), 99),
    "an input and an output of type": ("""
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.elem_type = v""", None,
        TensorProto.INT64, TensorProto.STRING, TensorProto.UNDEFINED),
    "a weight that holds": ("""
        array = np.full((K, zoo.N_NEURONS), v, np.float32)
        weight.CopyFrom(numpy_helper.from_array(array, "fc.weight"))""", None,
        np.nan, np.inf, -np.inf, 3e38, 1e-45, 0.0),
    "alpha and beta": (
        "head.attribute.extend(helper.make_attribute(name, v) for name in ('alpha', 'beta'))", None,
        np.nan, np.inf, 0.0, 1e-45, 3e38),
    "logits times": ("""
        initializer(model, "factor", np.float32(v))
        after_head(model, node("Mul", ["logits", "factor"], ["out"]))""", None,
        np.nan, np.inf, 0.0, 1e-45, 3e38, -1.0),
    "a number of classes": (
        "model = zoo.built('logits = Gemm(z, np.ones((n, 5)), transB=1)', arrays={'n': v})",
        None, 0, 1),
    "a sparse initializer": ("""
        values = numpy_helper.from_array(np.ones(1, np.float32), "fc.weight")
        at = numpy_helper.from_array(np.zeros(1, np.int64))
        sparse = onnx.SparseTensorProto(values=values, indices=at, dims=(HUGE, *v))
        graph.initializer.remove(weight)
        graph.sparse_initializer.append(sparse)""", None, (1000000, 1), (1, 1000000)),
    "a segment of the weight": (
        "weight.segment.begin, weight.segment.end = v, v + 1", None, 0, 3, 10**9, -1),
    # -- constants that unfold
    "a weight that unfolds by": ("weight_through(model, bomb(model, v))", None, *BOMBS),
    "a weight that is added to": (
        'weight_through(model, bomb(model, v), node("Add", ["fc.weight", "bomb"], ["w"]))',
        None, *FEW_BOMBS),
    "logits plus": (
        'after_head(model, bomb(model, v), node("Add", ["logits", "bomb"], ["out"]))',
        None, *FEW_BOMBS),
    "a bomb as a table after the head": ("""
        inputs = ["logits", "bomb"] if v == "Reshape" else ["bomb", "logits"]
        domain = "ai.onnx.ml" if v == "ArrayFeatureExtractor" else ""
        after_head(model, bomb(model, "Expand"), node(v, inputs, ["out"], domain=domain))""", None,
        "Gather", "Reshape", "Mul", "ArrayFeatureExtractor"),
    "a weight of sixty doublings by": ("""
        initializer(model, "d0", np.ones((5, 5), np.float32))
        weight_through(model, *doublings(v))""", None,
        "Add", "Concat", "MatMul", "Sum"),
    "logits of sixty doublings by": (
        'head.output[0] = "d0"\nafter_head(model, *doublings(v))', None,
        "Mul", "Concat"),
    # -- very many nodes
    "a hundred thousand nodes before the head": (
        'before_head(model, *chain("Relu", "z", "deep", 10**5)).input[0] = "deep"', "done"),
    "ten thousand nodes before the weight": (
        'weight_through(model, *chain(v, "fc.weight", "w", 10**4))', None,
        "Identity", "Transpose", "Cast", "Neg", "Sqrt"),
    "ten thousand steps with a constant after the head": ("""
        initializer(model, "one", np.float32(1))
        after_head(model, *chain(v, "logits", "out", 10**4, "one"))""", None,
        "Mul", "Add", "Sub", "Div"),
    "ten thousand heads": ("""
        names = [f"out{i}" for i in range(10_000)]
        nodes.extend(node("Gemm", head.input, [name], transB=1) for name in names)
        graph.output.extend(map(end, names))""",),
    "a node with a hundred thousand inputs": ("""
        many = node("Sum", ["logits"] * 10**5, ["sum"])
        after_head(model, many, node("Identity", ["sum"], ["out"]))""",),
    # -- functions
    "a function that calls itself": (
        "calling(model, {'F': [call('F')]})\ngraph.output[0].name = v", None, "out", "logits"),
    "functions that call each other": ("calling(model, {'F': [call('G')], 'G': [call('F')]})",),
    "functions that call the next": ("""
        bodies = {f"F{i}": [call(f"F{i + 1}")] for i in range(999)}
        calling(model, {**bodies, "F999": [node("Identity", ["a"], ["b"])]}, "F0")""",),
    "functions that call the next twice": ("""
        twice = lambda i: [call(f"F{i}", "a", "m"), call(f"F{i}", "m", "b")]
        bodies = {f"F{i}": twice(i + 1) for i in range(39)}  # 2^40 nodes, were they put in line
        calling(model, {**bodies, "F39": [node("Identity", ["a"], ["b"])]}, "F0")""",),
    "a function of a standard name": ("""
        made = helper.make_function("", "Relu", ["a"], ["b"], [node("Neg", ["a"], ["b"])],
                                    [helper.make_opsetid("", 17)])
        model.functions.append(made)""",),
    # -- versions and domains
    "an opset version": ("model.opset_import[0].version = v", None, 0, -1, 1, 10**9, 2**62),
    "an IR version": ("model.ir_version = v", None, 0, -1, 1, 10**9, 2**62),
    "no opset": ("del model.opset_import[:]",),
    "two opsets of one domain": ('model.opset_import.append(helper.make_opsetid("", 9))',),
    "no inputs": ("del graph.input[:]",),
    "no graph": ('model.ClearField("graph")',),
    "a head of an unknown domain": ('head.domain = "somewhere.else"',),
    "an end of an unknown domain": (
        'after_head(model, node("Softmax", ["logits"], ["out"], domain="somewhere.else"))',),
    # -- operators that are used wrongly
    "a Gemm with": ("""
        kept = [a for a in head.attribute if a.name != v[0]]
        del head.attribute[:]
        head.attribute.extend([*kept, helper.make_attribute(*v)])""", None,
        ("alpha", "x"), ("alpha", 1), ("alpha", [1.0]), ("transB", 1.5), ("transB", "yes"),
        ("transB", 2), ("transB", -1), ("transA", "no"), ("beta", "x"), ("beta", [0.5])),
    "a Gemm with an attribute twice": (
        "head.attribute.extend([helper.make_attribute(*v)] * 2)", None,
        ("alpha", 2.0), ("transB", 0)),
    "nodes that share a name": ("for one in nodes:\n    one.name = 'same'",),
    "a body of an unknown domain": ("""
        odd = node("Odd", ["z"], ["odd"], domain="somewhere.else")
        before_head(model, odd).input[0] = "odd\"""",),
    "a Gemm with a reference to an attribute": (
        'head.attribute.append(onnx.AttributeProto(name=v, ref_attr_name="outer", type=1))', None,
        "alpha", "transB"),
    "a Gemm with inputs": (
        'names = [*head.input, *["z"] * 9][:v]\ndel head.input[:]\nhead.input.extend(names)',
        None, 0, 1, 2, 9),
    "a node without outputs": ("del nodes[v].output[:]", None, 1, 2),
    "an operator without inputs after the head": ("""
        domain = "ai.onnx.ml" if v in ("LabelEncoder", "ZipMap") else ""
        after_head(model, node(v, [], ["out"], domain=domain))""", None, *OPERATORS, "Softmax",
        "ArgMax", "LabelEncoder", "ZipMap", "TopK", "Squeeze", "Flatten", "If", "Loop", "Clip"),
    "an operator without inputs as the weight": (
        'weight_through(model, node(v, [], ["w"]))', None, *OPERATORS),
    "an operator with the weight alone": (
        'weight_through(model, node(v, ["fc.weight"], ["w"]))', None, *OPERATORS),
    "a Transpose by": (
        'weight_through(model, node("Transpose", ["fc.weight"], ["w"], perm=v))', None,
        [0, 0], [0], [0, 2], [-1, 0], [0, 1, 2], [2**40, 0], "x", 1),
    "a Transpose by nothing": ("""
        weight_through(model, turned := node("Transpose", ["fc.weight"], ["w"]))
        turned.attribute.append(onnx.AttributeProto(name="perm", type=onnx.AttributeProto.INTS))
        """,),
    "a Cast to": (
        'weight_through(model, node("Cast", ["fc.weight"], ["w"], to=v))', None,
        "x", 99, -(10**9), [1, 2], 1.5, 0),
    "a weight reshaped to": ("""
        initializer(model, "shape", np.array(v, np.int64))
        weight_through(model, node("Reshape", ["fc.weight", "shape"], ["w"]))""", None,
        (7,), (-1, -1), (0, 0), (0,), (HUGE, HUGE), (-5, 3), (5, 3), ()),
    "logits reshaped to": ("""
        initializer(model, "shape", np.array(v, None if "text" in v else np.int64))
        after_head(model, node("Reshape", ["logits", "shape"], ["out"]))""", None,
        (7,), (-1, -1), (0, 0), (HUGE, HUGE), (-5, 3), (), ("text",)),
    "a Gather on axis": ("""
        initializer(model, "which", np.array([0, 1]))
        after_head(model, node("Gather", ["logits", "which"], ["out"], axis=v))""", None,
        99, -99, 2**62, "x", 1.5),
    "a Gather of": ("""
        initializer(model, "which", np.array(v))
        weight_through(model, node("Gather", ["fc.weight", "which"], ["w"]))""", None,
        [99], [-99], [2**62, 0], [0.5]),
    "an axis of text or out of range": (
        'after_head(model, node(v[0], ["logits"], ["out"], axis=v[1]))', None,
        *zip(("Softmax", "LogSoftmax", "ArgMax", "Flatten", "Concat", "Split", "Unsqueeze",
              "Squeeze"), ("x", 99) * 4, strict=True)),
    "a LabelEncoder with": ("""
        index = node("ArgMax", ["logits"], ["i"], axis=1, keepdims=0)
        after_head(model, index, node("LabelEncoder", ["i"], ["out"], domain="ai.onnx.ml", **v))""",
        None, {"keys_int64s": [0, 1], "values_strings": ["a"]},
        {"keys_int64s": [0, 1, 2], "values_strings": ["a", "a", "b"]},
        {"keys_int64s": [0, 1, 2], "values_strings": [b"\xff", b"\xfe", b"c"]},
        {"keys_strings": ["a"], "values_strings": ["b"]},
        {"keys_int64s": 3, "values_floats": "x"},
        {"values_floats": [float("nan")] * 3, "keys_int64s": [0, 1, 2]}, {}),
    "class names in the metadata": (
        'helper.set_model_props(model, {"ntkit.classes": v})', None,
        "{", "[1]" * 10**5, "[" * 10**5, '["a","a","b"]', "[1e999, 2, 3]", "[NaN, 1, 2]",
        '[true, false, "x"]', "[[1], [2], [3]]", "[1" + "0" * 5000 + ", 1, 2]",
        '["\\ud800", "b", "c"]', "[{}, 1, 2]", "[null, 1, 2]"),
}  # fmt: skip


def edited(text, variant):
    """The plain model after a program; ``v`` is the variant."""
    model = plain()
    graph, nodes = model.graph, model.graph.node
    names = {"graph": graph, "nodes": nodes, "head": nodes[-1], "FLOAT": TensorProto.FLOAT}
    names |= {"model": model, "weight": tensor(model, "fc.weight"), "v": variant, **globals()}
    exec(dedent(text), names)
    return names["model"]


for title, (text, *about) in EDITS.items():
    expect, *variants = about or [None]
    build = partial(lambda text, folder, v: edited(text, v), text)
    CASES[title] = (build, expect, "", [(v,) for v in variants] or [((),)])


# -- external data ----------------------------------------------------------------------------


def external(folder, **fields):
    """The head's weight in ``w.data`` next to odd files, with these fields in its reference."""
    weight = np.ones((K, zoo.N_NEURONS), np.float32).tobytes()
    (folder / "w.data").write_bytes(weight)
    (folder / "sub").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "empty").touch()
    outside = folder.parent / "outside"
    outside.mkdir()
    for secret in (outside / "secret", folder.parent / "secret"):
        secret.write_bytes(bytes(60))
    links = {"link": outside / "secret", "links": outside, "device": "/dev/zero"}
    for name, target in {**links, "random": "/dev/random", "itself": "itself"}.items():
        (folder / name).symlink_to(target)
    model = plain()
    reference = tensor(model, "fc.weight")
    reference.ClearField("raw_data")
    reference.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.data", "offset": 0, "length": 60, **fields}.items():
        if value is not None:
            reference.external_data.add(key=key, value=str(value))
    return model


FIELDS = {  # of the reference to the head's weight
    "as they should be": ("done", "", {}),
    "in the system": ("refused", "", *(
        {"location": path} for path in ("/etc/passwd", "/dev/zero", "/proc/self/mem"))),
    "at an offset": ("refused", "", *(
        {"offset": n} for n in (1, 59, 60, 10**9, 2**63 - 1, 2**63, 2**64, 10**30))),
    "of a length": (None, "", *({"length": n} for n in (0, 59, 61, 10**9, 2**63, 10**30))),
    "at no number": ("refused", "which is not a number of bytes", *(
        {key: n} for key in ("offset", "length") for n in (-1, -(2**63), "x", "", "1.5", "٣"))),
    "at a location": ("refused", "", *(
        {"location": name} for name in ("", ".", "..", "/", "w.data/", "m.onnx", "w.data\x00",
                                        "a" * 5000, "\n", "missing", None))),
    "above the folder": ("refused", "outside", *(
        {"location": path} for path in ("../secret", "./../secret", "sub/../../secret"))),
    "behind a link or in no file": ("refused", "", *(
        {"location": name} for name in ("link", "links/secret", "device", "random", "itself",
                                        "fifo", "sub", "empty"))),
}  # fmt: skip
for title, (expect, match, *variants) in FIELDS.items():
    build = lambda folder, fields: external(folder, **fields)  # noqa: E731
    CASES[f"external data {title}"] = (build, expect, match, variants)


@case(expect="refused", match="outside its own folder")
def external_data_at_an_absolute_path(folder):
    return external(folder, location=folder.parent / "secret")


@case(expect="refused")
def external_data_behind_a_hard_link(folder):
    model = external(folder)
    os.link(folder / "w.data", folder.parent / "another name")
    return model


@case((HUGE, HUGE), (-3, -5), (0, 5), (3, 5, 1), (10**5, 10**5))
def external_data_with(folder, *dims):
    model = external(folder)
    weight = tensor(model, "fc.weight")
    del weight.dims[:]
    weight.dims.extend(dims)
    return model


@case("missing", "sub", "fifo", "../secret", "w.data")
def external_data_of_the_body_in(folder, location):
    model = external(folder)
    body = tensor(model, "body.weight")
    body.ClearField("raw_data")
    body.data_location = TensorProto.EXTERNAL
    body.external_data.add(key="location", value=location)
    if location == "w.data":
        body.external_data.add(key="offset", value=str(2**40))
    return model


@case("Constant", "subgraph", "function", "sparse", expect="refused")
def external_data_outside_the_folder_in_a(folder, place):
    """Not only initialisers: ONNX lets every tensor lie in a file."""
    (folder.parent / "secret").write_bytes(np.ones((K, 5), np.float32).tobytes())
    outside = TensorProto(name="t", data_type=1, dims=[K, 5], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../secret")
    model = plain()
    constant = node("Constant", [], ["w"], value=outside)
    if place == "Constant":
        return weight_through(model, constant)
    if place == "subgraph":
        inner = helper.make_graph([node("Identity", ["t"], ["u"])], "inner", [], [], [outside])
        inner.output.append(zoo.value("u", None))
        initializer(model, "yes", np.array(True))
        one = node("If", ["yes"], ["kept"], then_branch=inner, else_branch=inner)
        before_head(model, one)
        return after_head(model, node("Add", ["logits", "kept"], ["out"]))
    if place == "function":
        body = [constant, node("Add", ["a", "w"], ["b"])]
        return calling(model, {"F": body})
    sparse = onnx.SparseTensorProto(values=outside, dims=[K, 5])
    sparse.values.name, sparse.indices.data_type = "fc.weight", TensorProto.INT64
    model.graph.initializer.remove(tensor(model, "fc.weight"))
    model.graph.sparse_initializer.append(sparse)
    return model


# -- nesting ----------------------------------------------------------------------------------


def field(number, content):
    """One field of a protobuf message: a message or a string."""
    length, prefix = len(content), bytearray([number << 3 | 2])
    while length > 127:
        prefix.append(length & 127 | 128)
        length >>= 7
    return bytes([*prefix, length]) + content


@case(5, 30, 300, 3000)
def graphs_in_graphs(folder, levels):
    """Written byte by byte: protobuf itself refuses to write such a file."""
    graph = field(2, b"inner")
    for _ in range(levels):
        attribute = field(1, b"then_branch") + field(6, graph) + bytes([20 << 3 & 127 | 128, 1, 5])
        one = field(1, b"logits") + field(2, b"if_out") + field(4, b"If") + field(5, attribute)
        graph = field(1, one) + field(2, b"inner")
    (folder / "m.onnx").write_bytes(plain().SerializeToString() + field(7, graph))
    return folder / "m.onnx"


# -- files of other kinds ---------------------------------------------------------------------


def zipped(content):
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("m.onnx", content)
    return file.getvalue()


WHOLE = plain().SerializeToString()
CONTENTS = [b"", b"a text\n" * 1000, b"\x00" * 10**6, b"\xff" * 10**6, b"\x0a" * 10**6,
            b"\x1f\x8b\x08", zipped(WHOLE),
            *(WHOLE[: len(WHOLE) * share // 20] for share in range(0, 20, 3))]  # fmt: skip


@case(*CONTENTS, expect="refused")
def content(folder, content):
    (folder / "m.onnx").write_bytes(content)
    return folder / "m.onnx"


@case("fc.weight", "logits", "author", "someone", "Gemm")
def invalid_utf8_in(folder, text):
    bad = b"\xff\xfe" + text.encode()[2:]
    (folder / "m.onnx").write_bytes(WHOLE.replace(text.encode(), bad))
    return folder / "m.onnx"


def odd_path(path, kind):
    """Make something at a path that is not a file; the path to use."""
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind in ("device", "link to itself"):
        path.symlink_to("/dev/zero" if kind == "device" else path.name)
    elif kind == "in a file":
        path.write_bytes(b"x")
        return path / "m.onnx"
    elif kind == "long":
        return path.parent / ("m" * 300)  # no file system takes that
    return path


@case(
    "folder", "missing", "fifo", "device", "link to itself", "in a file", "long", expect="refused"
)
def path_that_is_a(folder, kind):
    return odd_path(folder / "m.onnx", kind)


@case()
def file_that_cannot_be_read(folder):
    path = zoo.save(plain(), folder / "m.onnx")
    path.chmod(0)  # root reads it all the same
    return path


LARGE = [pytest.param(name, marks=pytest.mark.more) for name in CASES if "thousand" in name]
CASES_NAMES.extend([*(name for name in CASES if "thousand" not in name), *LARGE])


# -- targets that are hostile -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "fifo", "link to itself", "in a file", "long", "null"])
def test_a_hostile_target_is_refused_in_one_sentence(kind, sandbox, tmp_path):
    path = zoo.save(plain(), tmp_path / "m.onnx")
    target = f"{odd_path(tmp_path / 'n.onnx', kind)}" + "\0" * (kind == "null")
    before = listing(tmp_path)
    outcome = sandbox.run("exchange", path=str(path), target=str(target))
    assert not outcome.problem(), outcome.problem()
    assert outcome.status == "refused"
    assert listing(tmp_path) == before


def test_a_full_disk_leaves_nothing(sandbox, tmp_path):
    """A limit on the size of files stands in for the disk: writing fails half-way."""
    model = plain()
    initializer(model, "large", np.ones(10**5, np.float32))
    path = zoo.save(after_head(model, node("Identity", ["logits"], ["out"])), tmp_path / "m.onnx")
    (tmp_path / "saved").mkdir()
    before = listing(tmp_path)
    outcome = sandbox.run(
        "exchange_on_a_full_disk", path=str(path), target=str(tmp_path / "saved" / "n.onnx")
    )
    assert not outcome.problem(), outcome.problem()
    assert outcome.status == "refused"
    assert "There is not enough disk space for" in outcome.message
    assert listing(tmp_path) == before
