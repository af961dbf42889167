"""Every model of the zoo goes round: found, cut, put back; or refused in one sentence.

A row is skipped by name where its exporter is not installed; ``make test-zoo`` installs them all.
Where ZOO_TABLE names a file, what was found becomes the table of the documentation.
"""

import importlib
import importlib.util
import re
import warnings
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import InputError, NtkitError
from ntkit.extraction.head_check import check_head
from ntkit.verification import save_verified
from tests.zoo.building import quietly
from tests.zoo.row import REGION

# What computes the old weights from a stored tensor goes when that tensor does.
CONSTANT_ARITHMETIC = {
    *("Cast", "CastLike", "Clip", "Concat", "Constant", "Div", "Expand", "Mul", "ReduceL2"),
    *("Reshape", "Shape", "Transpose", "Sub", "Add", "Pow", "Sqrt", "ReduceSum", "Gather"),
}
QUANTISATION = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"}
FILES = sorted(Path(__file__).parent.glob("*_rows.py"))
ROWS = [row for f in FILES for row in importlib.import_module(f"tests.zoo.{f.stem}").ROWS]


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path, X):
    """All outputs of a model file by name, as plain arrays."""
    model = session(path)
    names = [output.name for output in model.get_outputs()]
    return dict(zip(names, model.run(None, dict(X)), strict=True))


def missing(row):
    return [name for name in row.needs if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="module", params=ROWS, ids=str)
def built(request, tmp_path_factory):
    """A row with its model written and its samples."""
    row = request.param
    if absent := missing(row):
        pytest.skip(f"{row.name}: {', '.join(absent)} not installed")
    folder = tmp_path_factory.mktemp("zoo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        X = row.build(folder)
    return row, folder / "model.onnx", X


def test_it_goes_round_or_is_refused(built, record_row):
    row, path, X = built
    before = path.read_bytes()
    if row.kind is None:
        with pytest.raises(NtkitError, match=row.refusal) as refused:
            check_head(OnnxEmbedder(FrozenModel.load(path, **(row.options or {})), device="cpu"), X)
        assert "\n" not in str(refused.value)
        record_row(row, None, str(refused.value))
        return
    model = FrozenModel.load(path, **(row.options or {}))
    check_head(OnnxEmbedder(model, device="cpu"), X)
    found = model.describe()
    assert found["head"] == row.kind or (row.kind == REGION and found["head"].startswith(REGION))
    assert len(model.head.classes) == row.n_classes
    assert row.n_neurons in (None, model.head.n_neurons)
    difference = goes_round(row, model, path, X)
    assert path.read_bytes() == before
    record_row(row, found, difference)


def goes_round(row, model, path, X):
    """Write the head back unchanged, then another one; the largest relative difference."""
    folder = path.parent
    same = model.with_head(model.head).save(folder / "same.onnx")
    for name, output in run(path, X).items():
        assert_array_equal(run(same, X)[name], output)

    rng = np.random.default_rng(7)
    head = model.head
    spread = head.coef.std() or 1.0
    coef = head.coef + rng.normal(size=head.coef.shape) * spread
    coef[:, rng.random(head.n_neurons) < 0.3] = 0  # suppressed neurons
    changed = LinearHead(coef, head.intercept + rng.normal(size=head.n_logits), head.classes)
    check = save_verified(
        model.with_head(changed), folder / "new.onnx", original=model, X=X, device="cpu"
    )
    assert check.passed
    again = FrozenModel.load(folder / "new.onnx", **(row.options or {}))
    assert (again.inputs, again.outputs) == (model.inputs, model.outputs)
    gone = {op for _, op in set(model.nodes) - set(again.nodes)}
    quantised = model.describe()["quantisation"] is not None
    region = set(re.findall(r"\w+", model.describe()["head"])) if row.kind == REGION else set()
    assert gone <= CONSTANT_ARITHMETIC | region | (QUANTISATION if quantised else set())
    Z = OnnxEmbedder(model, device="cpu").transform(X)
    assert_allclose(
        again.head.decision_function(Z),
        changed.decision_function(Z),
        rtol=1e-2,
        atol=1e-2 * np.abs(changed.decision_function(Z)).max(),
    )
    another_class(row, model, X, Z)
    return check.logit_difference


def another_class(row, model, X, Z):
    """One class more: the file computes it, or the sentence says why it cannot."""
    head = model.head
    K = max(2, head.n_logits) + 1
    rng = np.random.default_rng(8)
    more = LinearHead(rng.normal(size=(K, head.n_neurons)), rng.normal(size=K), range(K))
    try:
        new = model.with_head(more)
    except InputError as error:
        sentence = str(error)
    else:
        sentence = ""
        target = model.path.parent / "more.onnx"
        check = save_verified(new, target, original=model, X=X, head=more, device="cpu")
        assert check.passed
    assert "\n" not in sentence


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_the_tokens_of_a_bert_are_pooled(pooling, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=32, attn_implementation="eager",
    )  # fmt: skip

    class Tensors(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = transformers.BertModel(config)

        def forward(self, ids, mask):
            output = self.bert(input_ids=ids, attention_mask=mask)
            return output.last_hidden_state, output.pooler_output

    bert, names = Tensors().eval(), ["input_ids", "attention_mask"]
    ids = torch.arange(24).reshape(3, 8)
    mask = (torch.arange(8) < torch.tensor([[8], [5], [1]])).long()
    path = tmp_path / "bert.onnx"
    with quietly():
        torch.onnx.export(
            bert, (ids, mask), path, dynamo=False, opset_version=17, input_names=names,
            output_names=["last_hidden_state", "pooler_output"],
            dynamic_axes={n: {0: "batch", 1: "tokens"} for n in [*names, "last_hidden_state"]},
        )  # fmt: skip
    with torch.no_grad():
        tokens = bert(ids, mask)[0].numpy()
    weights = mask.numpy()[:, :, None]
    wanted = {"cls": tokens[:, 0], "mean": (tokens * weights).sum(1) / weights.sum(1)}[pooling]
    model = FrozenModel.load(path, embedding="last_hidden_state", pooling=pooling)
    X = dict(zip(names, (ids.numpy(), mask.numpy()), strict=True))
    assert_allclose(OnnxEmbedder(model, device="cpu").transform(X), wanted, atol=1e-5)
    head = LinearHead(np.ones((2, 16)), np.zeros(2), np.arange(2))
    saved = model.with_head(head).save(tmp_path / "out.onnx")
    assert FrozenModel.load(saved).head.n_neurons == 16
