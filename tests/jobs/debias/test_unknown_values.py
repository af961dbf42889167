"""Samples whose value of a named attribute is unknown are not those that it does not help."""

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier

import ntkit
from ntkit.attributes import Attribute, columns
from ntkit.jobs.debias._lost_groups import checked_groups


def drawn(rng, n, share):
    """Rows of the signal, the mark and noise, the mark's name with missing cells, and labels."""
    y = rng.integers(0, 2, n)
    mark = np.where(rng.random(n) < share, y, 1 - y)
    X = rng.normal(size=(n, 4))
    X[:, 0] += 1.2 * (2 * y - 1)
    X[:, 1] += 3.0 * (2 * mark - 1)
    name = np.where(rng.random(n) < 0.2, None, np.array(["M", "F"], dtype=object)[mark])
    return X.astype(np.float32), y, name, mark


def test_groups_where_no_shortcut_helps_hold_no_unknown_sample(tmp_path):
    rng = np.random.default_rng(0)
    sets = [drawn(rng, n, share) for n, share in ((2500, 0.95), (1800, 0.9))]
    fitted = MLPClassifier((12,), solver="lbfgs", max_iter=2000, random_state=0).fit(
        sets[0][0], sets[0][1]
    )
    (model := tmp_path / "m.onnx").write_bytes(
        to_onnx(fitted, sets[0][0][:1], options={"zipmap": False}).SerializeToString()
    )
    names = [name for _, _, name, _ in sets]
    pairs = [pair[:2] for pair in sets]
    result = ntkit.debias(
        model,
        *pairs,
        metadata={"dev": np.concatenate(names)},
        spurious="metadata:dev",
        device="cpu",
    )
    _, y, name, mark = sets[1]
    against = np.array([each is not None for each in name]) & (mark != y)
    groups = [*result.check.lost, *result.check.doubtful]
    counts = [g.row.n for g in groups if "where no named shortcut helps" in str(g.row.name)]
    counts += [
        int(each.rpartition("(")[2].rstrip(")"))
        for each in result.check.unchecked
        if "where no named shortcut helps" in each
    ]
    assert all(count <= against.sum() for count in counts)


@pytest.mark.parametrize("n_rest", [6, 15, 40])
def test_few_samples_without_an_error_make_no_sure_reliance(n_rest):
    """Both values lose alike: the gap between them grows by chance alone."""
    sure = 0
    for seed in range(60):
        rng, n = np.random.default_rng(seed), 2 * (800 + n_rest)
        y, is_train = np.zeros(n, dtype=int), np.arange(n) < n // 2
        site = (np.arange(n) % (800 + n_rest) < n_rest).astype(int)
        before = np.ones(n, dtype=bool)
        after = before & (rng.random(n) > 0.07)
        check = checked_groups(
            [columns({"site": site})], np.array(["a"]), y, (before, after), is_train,
            named=[Attribute("site", site, ("A", "B"))],
        )  # fmt: skip
        sure += any(group.is_sure and group.relies_more for group in check.lost if group.attribute)
    assert sure <= 2
