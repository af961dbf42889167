"""Settings of an earlier run give the same bytes."""

import numpy as np
from numpy.testing import assert_array_equal

from ntkit import OnnxEmbedder


def test_settings_carry_a_job_on_to_the_same_bytes(zoo, model):
    X = zoo.inputs(30)
    first = OnnxEmbedder(model, device="cpu", batch_size=8, threads=1)
    settings, whole = first.settings(X), first.transform(X)
    later = OnnxEmbedder(model, device="cpu", batch_size=16)
    for n_done in (0, 8, 16, 24):
        rest = list(later.iter_batches(X, n_done, settings=settings))
        assert_array_equal(np.concatenate(rest), whole[n_done:])
