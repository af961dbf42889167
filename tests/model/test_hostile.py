"""Files made to hurt: each is answered in one sentence or works; nothing else ever happens.

Every file goes through load, describe, body, with_head and save in a process of its own
(tests/fuzz/sandbox.py), which is given five seconds and whose memory is measured.
"""

import os
import shutil
import stat
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import models as zoo
from tests.fuzz.sandbox import Sandbox

K = 3
HUGE = 2**40


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


CASES = {}


def case(*variants, expect=None, match=""):
    """Register a builder, once per variant: it gets an empty folder and returns a model or a path.

    ``expect`` is "done" or "refused" where only one of the two is right.
    """

    def register(build):
        for variant in variants or ((),):
            variant = variant if isinstance(variant, tuple) else (variant,)
            words = [build.__name__, *(str(getattr(v, "__name__", v))[:30] for v in variant)]
            CASES["-".join(words)] = (build, variant, expect, match)
        return build

    return register


@pytest.mark.parametrize("name", CASES_NAMES := [])
def test_a_hostile_file_is_refused_in_one_sentence_or_works(name, sandbox, tmp_path):
    build, variant, expect, match = CASES[name]
    folder, saved = tmp_path / "hostile", tmp_path / "saved"
    folder.mkdir()
    saved.mkdir()
    path = build(folder, *variant)
    if isinstance(path, onnx.ModelProto):
        path, content = folder / "m.onnx", path.SerializeToString()
        path.write_bytes(content)
    before = listing(tmp_path)
    # Next to the original and elsewhere: there, external data are in another folder.
    limit = 15 if "hundred_thousand_nodes" in name else 5
    saving = {"path": str(path), "target": str(saved / "n.onnx")}
    outcome = sandbox.run("exchange", seconds=limit, patience=6, **saving)
    assert not outcome.problem(), outcome.problem()
    if outcome.status == "refused":
        assert listing(tmp_path) == before
        assert match in outcome.message
    else:
        saving = {"path": str(path), "saved": str(saved / "n.onnx")}
        back = sandbox.run("read_back", seconds=20, patience=6, **saving)
        assert back.result == {"same_head": True}, back.message
        assert {k: v for k, v in listing(tmp_path).items() if k in before} == before
    assert expect in (None, outcome.status), outcome.message


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


def chain(op, start, end, length):
    names = [start, *(f"{end}_{i}" for i in range(length - 1)), end]
    made = []
    for i in range(length):
        one = onnx.NodeProto(op_type=op)
        one.input.append(names[i])
        one.output.append(names[i + 1])
        made.append(one)
    return made


def without_weight(model, dims, data_type=TensorProto.FLOAT, raw=b"\0\0\0\0"):
    """Give the head a weight of these dimensions with next to no data."""
    weight = tensor(model, "fc.weight")
    weight.Clear()
    weight.name, weight.data_type, weight.raw_data = "fc.weight", data_type, raw
    weight.dims.extend(dims)
    return model


# -- graphs that go in circles ----------------------------------------------------------------


@case(expect="refused")
def output_of_a_node_that_reads_itself(folder):
    return after_head(plain(), node("Identity", ["out"], ["out"]))


@case("Identity", "Relu", "Softmax", "Cast", expect="refused")
def cycle_before_the_output(folder, op):
    attributes = {"to": TensorProto.FLOAT} if op == "Cast" else {}
    return after_head(plain(), node(op, ["a"], ["b"], **attributes), node(op, ["b"], ["a"]))


@case(2, 3)
def cycle_off_the_path(folder, length):
    model = plain()
    names = [f"c{i}" for i in range(length)]
    for one, other in zip(names, [*names[1:], names[0]], strict=True):
        model.graph.node.append(node("Relu", [one], [other]))
    return model


@case("Identity", "Transpose", "Mul", expect="refused")
def cycle_in_the_weight(folder, op):
    model = plain()
    second = ["a", "a"] if op == "Mul" else ["a"]
    first = ["b", "b"] if op == "Mul" else ["b"]
    return weight_through(model, node(op, first, ["a"]), node(op, second, ["b"]))


@case()
def cycle_in_the_bias(folder):
    model = plain()
    before_head(model, node("Identity", ["b"], ["a"]), node("Identity", ["a"], ["b"])).input[2] = (
        "b"
    )
    return model


@case()
def cycle_in_the_body(folder):
    model = plain()
    model.graph.node[0].input[0] = "z"
    return model


@case()
def head_that_reads_its_own_logits(folder):
    model = plain()
    model.graph.node[-1].input[0] = "logits"
    return model


@case()
def nodes_in_reverse_order(folder):
    model = plain()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    return model


# -- names that collide -----------------------------------------------------------------------


@case("logits", "z", "h", "x", "fc.weight", "fc.bias", "body.weight")
def node_output_that_is_named_like(folder, name):
    model = plain()
    model.graph.node.append(node("Relu", ["x"], [name]))
    return model


@case("logits", "z", "h", "x", "fc.weight", "fc.bias", "body.weight")
def node_output_in_front_that_is_named_like(folder, name):
    model = plain()
    model.graph.node.insert(0, node("Relu", ["x"], [name]))
    return model


@case("fc.weight", "fc.bias", "x", "z", "logits")
def initializer_that_is_named_like(folder, name):
    model = plain()
    initializer(model, name, np.ones((K, zoo.N_NEURONS), np.float32))
    return model


@case("fc.weight", "logits", "z", "x")
def input_that_is_named_like(folder, name):
    model = plain()
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 5]))
    return model


@case("logits", "x", "z", "fc.weight", "nowhere", "")
def second_output_that_is_named_like(folder, name):
    model = plain()
    model.graph.output.append(end(name))
    return model


@case("z", "fc.weight", "logits")
def empty_name_of(folder, name):
    model = plain()
    for one in model.graph.node:
        for names in (one.input, one.output):
            for index, given in enumerate(names):
                names[index] = "" if given == name else given
    for one in (*model.graph.initializer, *model.graph.output):
        one.name = "" if one.name == name else one.name
    return model


@case()
def names_that_ntkit_itself_would_choose(folder):
    model = zoo.body()
    model.add("MatMul", ["z", model.constant("w", np.ones((zoo.N_NEURONS, K)))], "logits")
    for name in ("ntkit.head.weight", "ntkit.head.bias", "logits.ntkit.product"):
        model.constant(name, np.ones(2))
    model.add("Relu", ["ntkit.head.bias"], "ntkit.head.bias_1")
    model.output("logits", ["batch", K])
    return model.model()


@case("a" * 10**6, "\n" * 50, "\x00", "../../x", "'; rm -rf")
def strange_name(folder, name):
    model = plain()
    for one in model.graph.node:
        for names in (one.input, one.output):
            for index, given in enumerate(names):
                names[index] = name if given in ("z", "logits") else given
    model.graph.output[0].name = name
    return model


@case()
def nodes_that_share_a_name(folder):
    model = plain()
    for one in model.graph.node:
        one.name = "same"
    return model


@case("fc.weight", "logits", "author", "someone", "Gemm")
def invalid_utf8_in(folder, text):
    content = plain().SerializeToString()
    path = folder / "m.onnx"
    bad = b"\xff\xfe" + text.encode()[2:]
    path.write_bytes(content.replace(text.encode(), bad))
    return path


# -- shapes and sizes -------------------------------------------------------------------------


@case((HUGE, HUGE), (HUGE, 1), (-1, 5), (3, -5), (-3, -5), (0, 5), (3, 0), (0, 0), (), (15,),
      (3, 5, 1), (1,) * 1000, (2**62, 4), (2**63 - 1, 2**63 - 1), expect="refused")  # fmt: skip
def weight_without_data(folder, *dims):
    return without_weight(plain(), dims)


@case((HUGE, HUGE), (-1,), (0,), (2**62, 4))
def other_initializer_without_data(folder, *dims):
    model = plain()
    model.graph.initializer.append(
        TensorProto(name="big", data_type=TensorProto.FLOAT, dims=dims, raw_data=b"\0\0\0\0")
    )
    return after_head(model, node("Add", ["logits", "big"], ["out"]))


@case((HUGE, HUGE), (-1, 5), (0, 5))
def initializer_with_float_data_of(folder, *dims):
    model = without_weight(plain(), dims)
    tensor(model, "fc.weight").ClearField("raw_data")
    tensor(model, "fc.weight").float_data.append(1.0)
    return model


@case((HUGE, HUGE), (-1, -1), (0, 0))
def graph_that_declares_shapes(folder, *dims):
    model = plain()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.Clear()
        for dim in dims:
            value.type.tensor_type.shape.dim.add().dim_value = dim
    return model


@case(TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING, TensorProto.COMPLEX64,
      TensorProto.UINT8, TensorProto.INT4, TensorProto.FLOAT8E4M3FN, TensorProto.UNDEFINED, 99,
      expect="refused")  # fmt: skip
def weight_of_type(folder, data_type):
    return without_weight(plain(), (K, 5), data_type, bytes(15 * 8))


@case()
def weight_of_strings(folder):
    model = without_weight(plain(), (K, 5), TensorProto.STRING, b"")
    tensor(model, "fc.weight").ClearField("raw_data")
    tensor(model, "fc.weight").string_data.extend([b"\xff"] * 15)
    return model


@case(TensorProto.INT64, TensorProto.STRING, TensorProto.UNDEFINED)
def input_and_output_of_type(folder, data_type):
    model = plain()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = data_type
    return model


@case(np.nan, np.inf, -np.inf, 3e38, 1e-45, 0.0)
def weight_that_holds(folder, number):
    model = plain()
    array = np.full((K, zoo.N_NEURONS), number, np.float32)
    tensor(model, "fc.weight").CopyFrom(numpy_helper.from_array(array, "fc.weight"))
    return model


@case(np.nan, np.inf, 0.0, 1e-45, 3e38)
def alpha_and_beta(folder, number):
    model = plain()
    gemm = model.graph.node[-1]
    gemm.attribute.extend(
        [helper.make_attribute("alpha", number), helper.make_attribute("beta", number)]
    )
    return model


@case(np.nan, np.inf, 0.0, 1e-45, 3e38, -1.0)
def logits_times(folder, number):
    model = plain()
    initializer(model, "factor", np.float32(number))
    return after_head(model, node("Mul", ["logits", "factor"], ["out"]))


@case(0, 1)
def number_of_classes(folder, classes):
    graph = zoo.body()
    graph.constant("fc.weight", np.ones((classes, zoo.N_NEURONS)))
    graph.add("Gemm", ["z", "fc.weight"], "logits", transB=1)
    graph.output("logits", ["batch", classes])
    return graph.model()


@case((1000000, 1), (1, 1000000))
def sparse_initializer_with(folder, *dims):
    model = plain()
    values = numpy_helper.from_array(np.ones(1, np.float32), "fc.weight")
    sparse = onnx.SparseTensorProto(
        values=values, indices=numpy_helper.from_array(np.zeros(1, np.int64)), dims=(HUGE, *dims)
    )
    model.graph.initializer.remove(tensor(model, "fc.weight"))
    model.graph.sparse_initializer.append(sparse)
    return model


# -- constants that unfold --------------------------------------------------------------------

BOMBS = {
    "ConstantOfShape": ([np.array([10**6, 10**6])], {}),
    "Expand": ([np.float32(1), np.array([10**6, 10**6])], {}),
    "Tile": ([np.ones((1, 1), np.float32), np.array([10**6, 10**6])], {}),
    "Mul": ([np.ones((10**6, 1), np.float32), np.ones((1, 10**6), np.float32)], {}),
    "Add": ([np.ones((10**6, 1), np.float32), np.ones((1, 10**6), np.float32)], {}),
    "Sub": ([np.ones((10**6, 1), np.float32), np.ones((1, 10**6), np.float32)], {}),
    "Div": ([np.ones((10**6, 1), np.float32), np.ones((1, 10**6), np.float32)], {}),
    "Pow": ([np.full((10**6, 1), 2, np.float32), np.ones((1, 10**6), np.float32)], {}),
    "Where": (
        [np.ones((10**4, 1, 1), bool), np.ones((10**4, 1), np.float32), np.ones(10**4, np.float32)],
        {},
    ),
    "MatMul": ([np.ones((10**6, 1), np.float32), np.ones((1, 10**6), np.float32)], {}),
    "Gemm": ([np.ones((10**6, 1), np.float32), np.ones((1, 10**6), np.float32)], {}),
    "Range": ([np.float32(0), np.float32(1e12), np.float32(1)], {}),
    "EyeLike": ([np.ones((10, 10), np.float32)], {}),
    "OneHot": ([np.arange(10**6), np.int64(10**6), np.array([0, 1], np.float32)], {}),
    "Pad": ([np.ones((1, 1), np.float32), np.array([0, 0, 10**6, 10**6])], {}),
    "Gather": ([np.ones((1, 10**6), np.float32), np.zeros(10**6, np.int64)], {}),
    "Resize": ([np.ones((1, 1), np.float32), "", np.array([1e6, 1e6], np.float32)], {}),
    "RandomNormal": ([], {"shape": [10**6, 10**6]}),
    "Upsample": ([np.ones((1, 1), np.float32), np.array([1e6, 1e6], np.float32)], {}),
    "Einsum": (
        [np.ones(10**6, np.float32), np.ones(10**6, np.float32)],
        {"equation": "i,j->ij"},
    ),
}


def bomb(model, op):
    """A node whose output would take 10^12 numbers, of constants that take few."""
    given, attributes = BOMBS[op]
    names = [
        name if isinstance(name, str) else initializer(model, f"{op}{i}", name)
        for i, name in enumerate(given)
    ]
    return node(op, names, ["bomb"], **attributes)


@case(*BOMBS)
def weight_that_unfolds_by(folder, op):
    model = plain()
    return weight_through(model, bomb(model, op))


@case(*BOMBS)
def weight_that_is_added_to_a(folder, op):
    model = plain()
    return weight_through(model, bomb(model, op), node("Add", ["fc.weight", "bomb"], ["w"]))


@case("ConstantOfShape", "Expand", "Mul")
def bias_that_unfolds_by(folder, op):
    model = plain()
    made = bomb(model, op)
    before_head(model, made).input[2] = "bomb"
    return model


@case("ConstantOfShape", "Expand", "Mul")
def logits_plus_a(folder, op):
    model = plain()
    made = bomb(model, op)
    return after_head(model, made, node("Add", ["logits", "bomb"], ["out"]))


@case("ConstantOfShape", "Tile", "Mul")
def bomb_off_the_path(folder, op):
    model = plain()
    model.graph.node.append(bomb(model, op))
    return model


@case("Gather", "Reshape", "Mul", "ArrayFeatureExtractor")
def bomb_as_a_table_after_the_head(folder, op):
    model = plain()
    made = bomb(model, "Expand")
    inputs = {"Reshape": ["logits", "bomb"]}.get(op, ["bomb", "logits"])
    domain = "ai.onnx.ml" if op == "ArrayFeatureExtractor" else ""
    return after_head(model, made, node(op, inputs, ["out"], domain=domain))


@case("Add", "Mul", "Sub", "Concat", "MatMul", "Sum", "Max")
def weight_of_sixty_doublings_by(folder, op):
    model = plain()
    attributes = {"axis": 0} if op == "Concat" else {}
    initializer(model, "w0", np.ones((5, 5), np.float32))
    doublings = [node(op, [f"w{i}"] * 2, [f"w{i + 1}"], **attributes) for i in range(60)]
    return weight_through(model, *doublings)


@case("Add", "Mul", "Concat", "MatMul")
def logits_of_sixty_doublings_by(folder, op):
    attributes = {"axis": 0} if op == "Concat" else {}
    model = plain()
    model.graph.node[-1].output[0] = "l0"
    return after_head(
        model, *(node(op, [f"l{i}"] * 2, [f"l{i + 1}"], **attributes) for i in range(60))
    )


@case("Add", "Mul", "Concat")
def body_of_sixty_doublings_by(folder, op):
    model = plain()
    model.graph.node[1].output[0] = "d0"
    attributes = {"axis": 0} if op == "Concat" else {}
    doublings = [node(op, [f"d{i}"] * 2, [f"d{i + 1}"], **attributes) for i in range(60)]
    before_head(model, *doublings).input[0] = "d60"
    return model


# -- very many nodes --------------------------------------------------------------------------


@case(expect="done")
def hundred_thousand_nodes_before_the_head(folder):
    model = plain()
    before_head(model, *chain("Relu", "z", "deep", 10**5)).input[0] = "deep"
    return model


@case("Identity")
def hundred_thousand_nodes_after_the_head(folder, op):
    model = plain()
    made = chain(op, "logits", "out", 10**5)
    return after_head(model, *made)


@case("Identity", "Transpose", "Cast", "Neg", "Sqrt")
def ten_thousand_nodes_before_the_weight(folder, op):
    model = plain()
    made = chain(op, "fc.weight", "w", 10**4)
    for one in made if op == "Cast" else ():
        one.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    return weight_through(model, *made)


@case("Mul", "Add", "Sub", "Div")
def ten_thousand_steps_with_a_constant_after_the_head(folder, op):
    model = plain()
    initializer(model, "one", np.float32(1))
    made = chain(op, "logits", "out", 10**4)
    for one in made:
        one.input.append("one")
    return after_head(model, *made)


@case()
def ten_thousand_outputs(folder):
    model = plain()
    names = ["logits", *(f"out{i}" for i in range(10_000))]
    made = [node("Identity", ["logits"], [name]) for name in names[1:]]
    model.graph.node.extend(made)
    model.graph.output.extend(end(name) for name in names[1:])
    return model


@case()
def ten_thousand_heads(folder):
    model = plain()
    for i in range(10_000):
        one = onnx.NodeProto(op_type="Gemm")
        one.input.extend(["z", "fc.weight", "fc.bias"])
        one.output.append(f"other{i}")
        one.attribute.append(helper.make_attribute("transB", 1))
        model.graph.node.append(one)
        model.graph.output.append(end(f"other{i}"))
    return model


@case()
def thousand_heads_one_after_another(folder):
    model = plain()
    initializer(model, "square", np.eye(K, dtype=np.float32))
    made = chain("MatMul", "logits", "out", 1000)
    for one in made:
        one.input.append("square")
        model.graph.output.append(end(one.output[0]))
    model.graph.node.extend(made)
    return model


@case()
def ten_thousand_initializers(folder):
    model = plain()
    for i in range(10_000):
        model.graph.initializer.append(
            TensorProto(name=f"t{i}", data_type=TensorProto.FLOAT, dims=[1], raw_data=b"1234")
        )
    return model


@case()
def node_with_a_hundred_thousand_inputs(folder):
    model = plain()
    model.graph.node.append(node("Sum", ["logits"] * 10**5, ["sum"]))
    return after_head(model, node("Identity", ["sum"], ["out"]))


# -- external data ----------------------------------------------------------------------------


def external(folder, **fields):
    """The head's weight in ``w.data``, with these fields in the reference to it."""
    weight = np.ones((K, zoo.N_NEURONS), np.float32).tobytes()
    (folder / "w.data").write_bytes(weight)
    model = plain()
    reference = tensor(model, "fc.weight")
    reference.ClearField("raw_data")
    reference.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.data", "offset": 0, "length": 60, **fields}.items():
        if value is not None:
            reference.external_data.add(key=key, value=str(value))
    return model


@case(expect="done")
def external_data_as_they_should_be(folder):
    return external(folder)


@case(expect="refused", match="outside its own folder")
def external_data_at_an_absolute_path(folder):
    secret = folder.parent / "secret"
    secret.write_bytes(bytes(60))
    return external(folder, location=secret)


@case("../secret", "./../secret", "sub/../../secret", expect="refused", match="outside")
def external_data_above_the_folder(folder, location):
    (folder.parent / "secret").write_bytes(bytes(60))
    (folder / "sub").mkdir()
    return external(folder, location=location)


@case("file", "folder", expect="refused")
def external_data_behind_a_link(folder, kind):
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(bytes(60))
    (folder / "link").symlink_to(outside if kind == "folder" else outside / "secret")
    return external(folder, location="link/secret" if kind == "folder" else "link")


@case("/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem", expect="refused")
def external_data_in_the_system(folder, location):
    return external(folder, location=location)


@case("/dev/zero", "/dev/random", expect="refused")
def external_data_behind_a_link_to_a_device(folder, device):
    (folder / "link").symlink_to(device)
    return external(folder, location="link")


@case(expect="refused")
def external_data_behind_a_hard_link(folder):
    model = external(folder)
    os.link(folder / "w.data", folder.parent / "secret")
    return model


@case(expect="refused")
def external_data_behind_a_link_to_itself(folder):
    (folder / "link").symlink_to("link")
    return external(folder, location="link")


@case(1, 59, 60, 10**9, 2**63 - 1, 2**63, 2**64, 10**30, expect="refused")
def external_offset(folder, offset):
    return external(folder, offset=offset)


@case(-1, -(2**63), "x", "", "1.5", "٣", expect="refused", match="which is not a number of bytes")
def external_offset_that_is_none(folder, offset):
    return external(folder, offset=offset)


@case(-1, "x", "", expect="refused", match="which is not a number of bytes")
def external_length_that_is_none(folder, length):
    return external(folder, length=length)


@case(0, 59, 61, 10**9, 2**63, 10**30)
def external_length(folder, length):
    return external(folder, length=length)


@case("", ".", "..", "/", "w.data/", "m.onnx", "w.data\x00", "a" * 5000, "\n", "missing", None,
      expect="refused")  # fmt: skip
def external_location(folder, location):
    return external(folder, location=location)


@case(expect="refused")
def external_data_in_a_fifo(folder):
    os.mkfifo(folder / "fifo")
    return external(folder, location="fifo")


@case(expect="refused")
def external_data_in_a_folder(folder):
    (folder / "sub").mkdir()
    return external(folder, location="sub")


@case(expect="refused")
def external_data_in_an_empty_file(folder):
    model = external(folder)
    (folder / "w.data").write_bytes(b"")
    return model


@case((HUGE, HUGE), (-3, -5), (0, 5), (3, 5, 1), (10**5, 10**5))
def external_data_with(folder, *dims):
    model = external(folder)
    weight = tensor(model, "fc.weight")
    del weight.dims[:]
    weight.dims.extend(dims)
    return model


@case("offset", "location", "folder", "fifo", "outside")
def external_data_of_the_body_with_a_bad(folder, field):
    model = external(folder)
    body = tensor(model, "body.weight")
    body.ClearField("raw_data")
    body.data_location = TensorProto.EXTERNAL
    (folder / "sub").mkdir()
    os.mkfifo(folder / "fifo")
    (folder.parent / "secret").write_bytes(bytes(1000))
    location = {"location": "missing", "folder": "sub", "fifo": "fifo", "outside": "../secret"}
    body.external_data.add(key="location", value=location.get(field, "w.data"))
    if field == "offset":
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
        inner.output.append(helper.make_tensor_value_info("u", 1, None))
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
    path = folder / "m.onnx"
    one = onnx.ModelProto()
    one.CopyFrom(plain())
    path.write_bytes(one.SerializeToString() + field(7, graph))
    return path


def calling(model, functions, call="F"):
    """A model whose logits go through functions, each a list of nodes from ``a`` to ``b``."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    for name, body in functions.items():
        model.functions.append(helper.make_function("local", name, ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    return after_head(model, node(call, ["logits"], ["out"], domain="local"))


@case("on the path", "off the path")
def function_that_calls_itself(folder, where):
    model = calling(plain(), {"F": [node("F", ["a"], ["b"], domain="local")]})
    if where == "off the path":
        model.graph.output[0].name = "logits"
    return model


@case()
def functions_that_call_each_other(folder):
    both = {
        "F": [node("G", ["a"], ["b"], domain="local")],
        "G": [node("F", ["a"], ["b"], domain="local")],
    }
    return calling(plain(), both)


@case(1000)
def functions_that_call_the_next(folder, count):
    bodies = {f"F{i}": [node(f"F{i + 1}", ["a"], ["b"], domain="local")] for i in range(count - 1)}
    bodies[f"F{count - 1}"] = [node("Identity", ["a"], ["b"])]
    return calling(plain(), bodies, "F0")


@case(40)
def functions_that_call_the_next_twice(folder, count):
    """2^40 nodes, were they put in line."""
    bodies = {
        f"F{i}": [
            node(f"F{i + 1}", ["a"], ["m"], domain="local"),
            node(f"F{i + 1}", ["m"], ["b"], domain="local"),
        ]
        for i in range(count - 1)
    }
    bodies[f"F{count - 1}"] = [node("Identity", ["a"], ["b"])]
    return calling(plain(), bodies, "F0")


@case()
def function_of_a_standard_name(folder):
    model = plain()
    opsets = [helper.make_opsetid("", 17)]
    body = [node("Neg", ["a"], ["b"])]
    model.functions.append(helper.make_function("", "Relu", ["a"], ["b"], body, opsets))
    return model


# -- versions and domains ---------------------------------------------------------------------


@case(0, -1, 1, 10**9, 2**62)
def opset_version(folder, version):
    model = plain()
    model.opset_import[0].version = version
    return model


@case()
def no_opset(folder):
    model = plain()
    del model.opset_import[:]
    return model


@case(0, -1, 1, 10**9, 2**62)
def ir_version(folder, version):
    model = plain()
    model.ir_version = version
    return model


@case("before", "after", "head")
def operator_of_an_unknown_domain(folder, where):
    model = plain()
    if where == "head":
        model.graph.node[-1].domain = "somewhere.else"
        return model
    if where == "after":
        return after_head(model, node("Softmax", ["logits"], ["out"], domain="somewhere.else"))
    one = node("Odd", ["z"], ["odd"], domain="somewhere.else")
    before_head(model, one).input[0] = "odd"
    return model


@case()
def no_inputs(folder):
    model = plain()
    del model.graph.input[:]
    return model


@case()
def no_graph(folder):
    model = plain()
    model.ClearField("graph")
    return model


@case()
def two_opsets_of_one_domain(folder):
    model = plain()
    model.opset_import.append(helper.make_opsetid("", 9))
    return model


# -- operators that are used wrongly ----------------------------------------------------------


@case(("alpha", "x"), ("alpha", 1), ("alpha", [1.0]), ("transB", 1.5), ("transB", "yes"),
      ("transB", 2), ("transB", -1), ("transA", "no"), ("beta", "x"), ("beta", [0.5]))  # fmt: skip
def gemm_with(folder, name, value):
    model = plain()
    gemm = model.graph.node[-1]
    kept = [a for a in gemm.attribute if a.name != name]
    del gemm.attribute[:]
    gemm.attribute.extend([*kept, helper.make_attribute(name, value)])
    return model


@case("alpha", "transB")
def gemm_with_an_attribute_twice(folder, name):
    model = plain()
    value = {"alpha": 2.0, "transB": 0}[name]
    for _ in range(2):
        model.graph.node[-1].attribute.append(helper.make_attribute(name, value))
    return model


@case("alpha", "transB")
def gemm_with_a_reference_to_an_attribute(folder, name):
    model = plain()
    reference = onnx.AttributeProto(name=name, ref_attr_name="outer", type=1)
    model.graph.node[-1].attribute.append(reference)
    return model


@case(0, 1, 2, 9)
def gemm_with_inputs(folder, count):
    model = plain()
    gemm = model.graph.node[-1]
    names = [*gemm.input, *["z"] * 9][:count]
    del gemm.input[:]
    gemm.input.extend(names)
    return model


@case("Gemm", "Relu")
def no_outputs_of(folder, op):
    model = plain()
    for one in model.graph.node[1:]:
        if one.op_type == op:
            del one.output[:]
    return model


@case("Identity", "Cast", "Mul", "Softmax", "Gather", "Reshape", "ArgMax", "LabelEncoder", "ZipMap",
      "Add", "TopK", "Squeeze", "Transpose", "DequantizeLinear", "Flatten", "Slice", "Concat",
      "Split", "If", "Loop", "Constant", "Clip")  # fmt: skip
def operator_without_inputs_after_the_head(folder, op):
    domain = "ai.onnx.ml" if op in ("LabelEncoder", "ZipMap") else ""
    return after_head(plain(), node(op, [], ["out"], domain=domain))


@case("Identity", "Cast", "Mul", "Gather", "Reshape", "Transpose", "DequantizeLinear", "Slice",
      "Concat", "Split", "Unsqueeze", "Constant", "Add", "MatMul")  # fmt: skip
def operator_without_inputs_as_the_weight(folder, op):
    return weight_through(plain(), node(op, [], ["w"]))


@case("Identity", "Cast", "Mul", "Gather", "Reshape", "Transpose", "DequantizeLinear", "Slice",
      "Concat", "Split", "Unsqueeze", "Constant", "Add", "MatMul")  # fmt: skip
def operator_with_the_weight_alone(folder, op):
    """Without the attributes and further inputs it needs."""
    return weight_through(plain(), node(op, ["fc.weight"], ["w"]))


@case([0, 0], [0], [0, 2], [-1, 0], [0, 1, 2], [2**40, 0], "x", 1, [])
def transpose_with(folder, perm):
    one = node("Transpose", ["fc.weight"], ["w"])
    one.attribute.append(
        helper.make_attribute("perm", perm)
        if perm != []
        else onnx.AttributeProto(name="perm", type=onnx.AttributeProto.INTS)
    )
    return weight_through(plain(), one)


@case("x", 99, -(10**9), [1, 2], 1.5, 0)
def cast_to(folder, to):
    return weight_through(plain(), node("Cast", ["fc.weight"], ["w"], to=to))


@case((7,), (-1, -1), (0, 0), (0,), (HUGE, HUGE), (-5, 3), (5, 3), ())
def weight_reshaped_to(folder, *shape):
    model = plain()
    initializer(model, "shape", np.array(shape, np.int64))
    return weight_through(model, node("Reshape", ["fc.weight", "shape"], ["w"]))


@case((7,), (-1, -1), (0, 0), (HUGE, HUGE), (-5, 3), (), "text")
def logits_reshaped_to(folder, *shape):
    model = plain()
    initializer(model, "shape", np.array(shape if "text" not in shape else ["a"], dtype=None if
                "text" in shape else np.int64))  # fmt: skip
    return after_head(model, node("Reshape", ["logits", "shape"], ["out"]))


@case(99, -99, 2**62, "x", 1.5)
def gather_on_axis(folder, axis):
    model = plain()
    initializer(model, "which", np.array([0, 1]))
    return after_head(model, node("Gather", ["logits", "which"], ["out"], axis=axis))


@case([99], [-99], [2**62, 0], [0.5])
def gather_of(folder, *indices):
    model = plain()
    initializer(model, "which", np.array(indices))
    return weight_through(model, node("Gather", ["fc.weight", "which"], ["w"]))


@case("Softmax", "LogSoftmax", "ArgMax", "Flatten", "Concat", "Split", "Unsqueeze", "Squeeze")
def axis_of_text_in(folder, op):
    return after_head(plain(), node(op, ["logits"], ["out"], axis="x"))


@case("Softmax", "ArgMax", "Flatten", "Concat", "Split")
def axis_out_of_range_in(folder, op):
    return after_head(plain(), node(op, ["logits"], ["out"], axis=99))


@case(
    {"keys_int64s": [0, 1], "values_strings": ["a"]},
    {"keys_int64s": [0, 1, 2], "values_strings": ["a", "a", "b"]},
    {"keys_int64s": [0, 1, 2], "values_strings": [b"\xff", b"\xfe", b"c"]},
    {"keys_strings": ["a"], "values_strings": ["b"]},
    {"keys_int64s": 3, "values_floats": "x"},
    {"values_floats": [float("nan")] * 3, "keys_int64s": [0, 1, 2]},
    {},
)
def label_encoder_with(folder, attributes):
    model = after_head(plain(), node("ArgMax", ["logits"], ["i"], axis=1, keepdims=0))
    return after_head(
        model, node("LabelEncoder", ["i"], ["out"], domain="ai.onnx.ml", **attributes)
    )


@case("{", "[1]" * 10**5, "[" * 10**5, '["a","a","b"]', "[1e999, 2, 3]", "[NaN, 1, 2]",
      '[true, false, "x"]', "[[1], [2], [3]]", "[1" + "0" * 5000 + ", 1, 2]",
      '["\\ud800", "b", "c"]', "[{}, 1, 2]", "[null, 1, 2]")  # fmt: skip
def class_names_in_the_metadata(folder, text):
    return plain(metadata={"ntkit.classes": text})


@case(0, 3, 10**9, -1)
def segment_of_the_weight(folder, begin):
    model = plain()
    tensor(model, "fc.weight").segment.begin = begin
    tensor(model, "fc.weight").segment.end = begin + 1
    return model


@case("raw", "double", "string")
def weight_with_data_in_two_fields(folder, kind):
    model = plain()
    weight = tensor(model, "fc.weight")
    if kind == "string":
        weight.string_data.append(b"x")
    elif kind == "double":
        weight.double_data.extend([1.0] * 15)
    weight.float_data.extend([1.0] * 15)
    return model


# -- files of other kinds ---------------------------------------------------------------------


@case(b"", b"a text\n" * 1000, b"\x00" * 10**6, b"\xff" * 10**6, b"\x0a" * 10**6, b"\x1f\x8b\x08",
      expect="refused")  # fmt: skip
def content(folder, content):
    (folder / "m.onnx").write_bytes(content)
    return folder / "m.onnx"


@case(expect="refused")
def zip_file(folder):
    with zipfile.ZipFile(folder / "m.onnx", "w") as file:
        file.writestr("m.onnx", plain().SerializeToString())
    return folder / "m.onnx"


@case(
    "folder", "missing", "fifo", "device", "link to itself", "in a file", "long", expect="refused"
)
def path_that_is_a(folder, kind):
    path = folder / "m.onnx"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link to itself":
        path.symlink_to("m.onnx")
    elif kind == "in a file":
        path.write_bytes(b"x")
        return path / "m.onnx"
    elif kind == "long":
        return folder / ("m" * 300)  # no file system takes that
    return path


@case()
def file_that_cannot_be_read(folder):
    path = zoo.save(plain(), folder / "m.onnx")
    path.chmod(0)  # root reads it all the same
    return path


@case(*range(20), expect="refused")
def truncated(folder, twentieths):
    whole = plain().SerializeToString()
    (folder / "m.onnx").write_bytes(whole[: len(whole) * twentieths // 20])
    return folder / "m.onnx"


CASES_NAMES.extend(CASES)


# -- targets that are hostile -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "fifo", "link to itself", "in a file", "long", "null"])
def test_a_hostile_target_is_refused_in_one_sentence(kind, sandbox, tmp_path):
    path = zoo.save(plain(), tmp_path / "m.onnx")
    target = tmp_path / "n.onnx"
    if kind == "folder":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "link to itself":
        target.symlink_to("n.onnx")
    elif kind == "in a file":
        target = path / "n.onnx"
    elif kind == "long":
        target = tmp_path / ("n" * 300)
    elif kind == "null":
        target = f"{target}\0"
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


def test_a_model_moves_with_its_data(sandbox, tmp_path):
    """The cases above are hostile only if the same file, unharmed, works."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    path = zoo.save(external(folder), folder / "m.onnx")
    shutil.copytree(folder, tmp_path / "copy")
    outcome = sandbox.run(
        "exchange", path=str(tmp_path / "copy" / path.name), target=str(tmp_path / "n.onnx")
    )
    assert (outcome.status, outcome.result) == ("done", {"kind": "Gemm"}), outcome.message
