"""Saving is all or nothing: killed at any point, the original and the target are whole.

The target is a model with external data that is saved over. Whatever moment the process dies at,
the target's file and the data it refers to must be both the old ones or both the new ones: weights
of one model under the graph of the other would be wrong without an error. A folder
``.ntkit-RANDOM`` may stay behind after SIGKILL, and a data file that nothing refers to.
"""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ntkit import FrozenModel
from tests import models as zoo
from tests.fuzz.sandbox import Sandbox

K, WIDTH = 3, 2**17


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


def big(path, number):
    """A classifier with 4 MB of external data, in which every weight depends on ``number``."""
    rng = np.random.default_rng(number)
    graph = zoo.body(seed=number)
    arrays = {"wide": rng.normal(size=(5, WIDTH)), "W": rng.normal(size=(K, WIDTH))}
    graph.write("y = MatMul(z, wide)\nlogits = Gemm(y, W, np.ones(3), transB=1)", **arrays)
    graph.output("logits", ["batch", K])
    path.parent.mkdir(exist_ok=True)
    return zoo.save_external(graph.model(metadata={"number": str(number)}), path)


def weights_of(path):
    """All that a model file and its data say, however the data file is called."""
    proto = onnx.load(path)
    found = {t.name: numpy_helper.to_array(t).tobytes() for t in proto.graph.initializer}
    return {"number": {p.key: p.value for p in proto.metadata_props}["number"], **found}


def data_of(path):
    """Names of the files that hold a model's weights."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return {e.value for t in tensors for e in t.external_data if e.key == "location"}


@pytest.fixture
def files(tmp_path):
    """Two originals in folders of their own, and a target that holds the first."""
    first = big(tmp_path / "first" / "m.onnx", 1)
    second = big(tmp_path / "second" / "m.onnx", 2)
    (tmp_path / "out").mkdir()
    target = FrozenModel.load(first).save(tmp_path / "out" / "t.onnx")
    states = [weights_of(first), weights_of(second)]
    assert weights_of(target) == states[0] != states[1]
    originals = [zoo.contents(first.parent), zoo.contents(second.parent)]

    def check():
        """Which of the two models the target is; it must be wholly one of them."""
        assert [zoo.contents(first.parent), zoo.contents(second.parent)] == originals
        assert FrozenModel.load(target).head.n_neurons == WIDTH
        found = weights_of(target)
        matching = [found == state for state in states]
        mixed = {name for name in found if found[name] == states[0].get(name)}
        assert any(matching), f"half one model, half the other: {sorted(mixed)} are the old ones"
        return matching.index(True)

    return first, second, target, check


@pytest.mark.more
def test_a_process_killed_at_each_step_leaves_one_whole_model(files, sandbox):
    """Before each of the steps that touch the target's folder, in turn, until there are no more."""
    first, second, target, check = files
    before = set(target.parent.iterdir())
    for step in range(1000):
        outcome = sandbox.run(
            "save_and_die", path=str(second), target=str(target), step=step, seconds=20
        )
        if outcome.status == "done":
            break
        assert (outcome.status, outcome.message) == ("crashed", "SIGKILL")
        left = {p for p in target.parent.iterdir() if p not in before and p.suffix != ".data"}
        assert all(p.name.startswith(".ntkit-") for p in left)
        if check() == 1:
            FrozenModel.load(first).save(target, force=True)
            assert check() == 0
    assert step > 5
    assert check() == 1
    visible = [p for p in target.parent.iterdir() if not p.name.startswith(".ntkit-")]
    assert data_of(target) <= {p.name for p in visible}


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_when_giving_a_name_fails_nothing_has_happened(files, sandbox, call):
    _, second, target, check = files
    before = zoo.contents(target.parent)
    outcome = sandbox.run("save_without_names", path=str(second), target=str(target), call=call)
    assert not outcome.problem(), outcome.problem()
    if outcome.status == "done":  # it does not take that many
        assert check() == 1
        assert call > 1
        return
    assert "t.onnx cannot be written" in outcome.message
    assert zoo.contents(target.parent) == before
    assert check() == 0
    assert not [p for p in target.parent.iterdir() if p.name.startswith(".ntkit")]


def test_saving_over_a_model_leaves_no_data_behind(files):
    first, second, target, check = files
    for path, number in ((second, 1), (first, 0), (first, 0), (second, 1)):
        FrozenModel.load(path).save(target, force=True)
        assert check() == number
        assert {p.name for p in target.parent.iterdir()} == {target.name, *data_of(target)}


def test_data_of_another_model_are_never_removed(files, tmp_path):
    """The old data file goes only if it was the target's own."""
    first, second, target, _ = files
    proto = onnx.load(target, load_external_data=False)
    other = target.with_name("other.onnx")
    other.write_bytes(proto.SerializeToString())  # reads the target's data, too
    precious = target.with_name("precious.data")
    precious.write_text("precious")
    state = weights_of(other)
    elsewhere = FrozenModel.load(other).save(tmp_path / "copy.onnx")
    FrozenModel.load(second).save(target.with_name("third.onnx"))
    assert weights_of(other) == state == weights_of(elsewhere)
    assert precious.read_text() == "precious"
    assert weights_of(first) == state
