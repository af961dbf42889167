"""Questions on the errors of one label of a model that gives every sample several."""

import numpy as np
import pandas as pd
import pytest

from ntkit.exceptions import InputError
from ntkit.jobs.label import label_samples
from tests.several_labels import LABELS, REPAIRED


@pytest.mark.more
def test_the_label_is_named_and_its_samples_are_asked(five, tmp_path):
    X, Y = five.set("train")
    Y = Y.astype(float)
    Y[:400, LABELS.index(REPAIRED)] = np.nan
    asking = label_samples(
        five.model, (X, Y), tmp_path / "mark", label=REPAIRED, question="A mark?", device="cpu"
    )
    table = pd.read_csv(asking.path / asking.table)
    marks = five.mark["train"][table["id"]]
    table["A mark?"] = np.where(marks == 1, "yes", "no")
    table.to_csv(asking.path / asking.table, index=False)
    again = label_samples(five.model, (X, Y), tmp_path / "mark", label=REPAIRED, device="cpu")
    groups = {group.name: group for group in again.groups}
    assert {*groups} == {f"{y} × {a}" for y in ("even", "not even") for a in ("yes", "no")}
    assert groups["even × no"].share.startswith("0.0 %")


def test_a_model_of_several_labels_is_refused_without_one(five, tmp_path):
    with pytest.raises(InputError, match=r"Name one of them with --label .*even, large, loop"):
        label_samples(five.model, five.set("train"), tmp_path / "q", question="?", device="cpu")
