"""Injected differences are named, and services like ntkit raise no alarm."""

import numpy as np
import pytest

from ntkit.jobs.verify import check_parity
from tests.jobs.verify.injected import INJECTED, MATCHING


@pytest.mark.parametrize("name", INJECTED)
def test_the_cause_of_an_injected_difference_is_named(name, tmp_path):
    service, cause = INJECTED[name]
    model, recorded, data = service(tmp_path)
    found = check_parity(model, recorded, data, device="cpu")
    assert not found.matched
    assert set(found.cause) == cause, found.summary()
    assert found.explained <= found.tolerance < found.difference
    assert not found.same_embeddings


@pytest.mark.parametrize("name", MATCHING)
def test_a_service_that_does_the_same_raises_no_alarm(name, tmp_path):
    model, recorded, data = MATCHING[name](tmp_path)
    found = check_parity(model, recorded, data, device="cpu")
    assert found.matched, found.summary()
    assert found.n_agreeing == found.n_samples == len(next(iter(recorded.values())))
    assert found.same_embeddings
    assert found.cause == ()


def test_what_cannot_be_explained_is_not_explained(tmp_path):
    service, _ = INJECTED["bicubic"]
    model, recorded, data = service(tmp_path)
    recorded["logits"] = np.random.default_rng(0).normal(size=recorded["logits"].shape)
    found = check_parity(model, recorded, data, device="cpu")
    assert (found.matched, found.cause, found.same_embeddings) == (False, (), False)
    assert "No cause found" in found.summary()
