"""Accuracies of groups are told with what they are of."""

import numpy as np
import pytest

from ntkit.attributes.attribute import Group
from ntkit.jobs.label import Labelling, Labels, Progress, label_samples
from tests.cases import write_csv
from tests.jobs.label.models import rows, write_model

X, Y, MARK = rows()


@pytest.mark.more
@pytest.mark.parametrize("told_by", ["mark", "chance"])
def test_samples_asked_about_for_their_errors_look_worse(told_by, tmp_path):
    """Their groups are said to be too low; with inferred groups, others stand in them as well."""
    model, out = write_model(tmp_path / "model.onnx"), tmp_path / "out"
    value = MARK if told_by == "mark" else np.random.default_rng(0).integers(0, 2, len(X))
    for _ in range(3):
        result = label_samples(model, (X, Y), out, question="Is it?", batch=24, device="cpu")
        names = {"id": [*result.asked]}
        answers = [["no", "yes"][value[int(name)]] for name in result.asked]
        write_csv(out / "labels.csv", names | {"Is it?": answers})
    said = str(result)
    assert (result.feature_set is None) == (told_by == "chance")
    assert ("it is too low" in said) == (told_by == "chance")
    assert ("Accuracies on training samples are too high" in said) == (told_by == "mark")
    assert ("inferred groups are estimates" in said) == (told_by == "mark")


def test_the_worst_group_is_that_of_those_with_enough_samples(tmp_path):
    groups = [Group("group", "0 × yes", 90, 80), Group("group", "0 × no", 3, 0)]
    done = Progress(30, 0.9, None, False, "More.")
    labels = Labels("Is it?", ("yes", "no"), {"a": "yes"})

    def said(*groups):
        of = Labelling(tmp_path, labels, 1, (), "t.csv", done, groups, "embedding", "the model", ())
        return str(of)

    assert "Worst group of at least 5 samples: 0 × yes" in said(*groups)
    assert "Worst group: 0 × yes" in said(groups[0])
