"""A service's outputs of one label of several."""

import numpy as np
import onnx
import pytest
from scipy.special import expit, logit

from ntkit import FrozenModel
from ntkit.exceptions import InputError
from ntkit.jobs.verify import check_parity
from tests import models as zoo
from tests.several_labels import LABELS


@pytest.fixture(scope="module")
def served(five):
    """Inputs, and the service's probabilities of all labels."""
    X = five.X["test"][:60]
    return X, zoo.run(five.model, X)["scores"]


def parity(five, label="loop", threshold=0.5, **recorded):
    proto = onnx.load(five.model)
    proto.metadata_props.add(key="threshold", value=str(threshold))
    path = zoo.save(proto, five.model.with_name(f"above_{threshold}.onnx"))
    return check_parity(FrozenModel.load(path, label=label), recorded, device="cpu")


def test_a_service_records_all_labels_or_one(five, served):
    X, p = served
    at = LABELS.index("loop")
    scores = p.copy()
    scores[:, at - 1] = 0.5  # another label's are not compared
    for recorded in (p, scores, p[:, at], p[:, [at]]):
        assert parity(five, probabilities=recorded, X=X).matched
    assert parity(five, logits=logit(p), X=X).matched
    hot = parity(five, probabilities=expit(logit(p) / 2), X=X)
    assert (hot.matched, hot.cause, hot.others) == (False, ("temperature",), ())
    with pytest.raises(InputError, match=r"2 probabilities .* 5 labels.* or only 'loop'"):
        parity(five, probabilities=p[:, :2], X=X)


def test_a_service_decides_at_the_threshold(five, served):
    X, p = served
    p = p[:, LABELS.index("loop")]
    threshold = float(np.quantile(p, 0.8))
    given = (p > threshold).astype(int)
    assert parity(five, threshold=threshold, labels=given, X=X).matched
    assert parity(five, labels=given, X=X).n_agreeing == ((p > 0.5) == given).sum()
    with pytest.raises(InputError, match="Name one of them with --label"):
        check_parity(five.model, {"labels": given, "X": X}, device="cpu")
