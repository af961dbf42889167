"""debias writes a head only where it is found to be better, and never costs more than allowed."""

import json
import re
import warnings
from html import unescape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_made_up import KINDS
from ntkit import AccuracyCost, FrozenModel, LinearHead, OnnxEmbedder, debias
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.jobs.debias._accuracy_cost import accuracy_cost_of, mixed, steps, taken


@pytest.fixture(scope="module")
def train(digits):
    return digits.X_train, digits.y_train


@pytest.fixture(scope="module")
def validation(digits):
    return digits.X_validation, digits.y_validation


@pytest.fixture(scope="module")
def test_set(digits):
    return digits.X_test, digits.y_test, digits.groups_test


def logits_of(right, y):
    return np.eye(2)[np.where(right, y, 1 - y)]


def accuracy_cost(right_before, right_after, y, t=1.0):
    pred = np.where(right_after, y, 1 - y)
    return accuracy_cost_of(t, y, logits_of(right_before, y), pred, np.array([0, 1]), None)


@pytest.fixture(scope="module")
def without_bias(test_set):
    """Training and validation samples that have no bias."""
    X, y, _ = test_set
    return (X[::3], y[::3]), (X[1::3], y[1::3])


@pytest.fixture(scope="module")
def good(without_bias):
    """The model debiased on them."""
    options = {"validation_balanced": True, "method": "auto", "device": "cpu"}
    return debias(marked_digits_model_path(), *without_bias, **options).model


def test_a_biased_model_is_mended(train, validation, test_set, tmp_path):
    out = tmp_path / "out"
    given = (marked_digits_model_path(), train, validation)
    result = debias(*given, test=test_set, out=out, method="auto", device="cpu")
    assert result.helped
    assert result.written
    assert result.state == "written"
    change = result.change
    assert (change.where, change.what) == ("test set", "worst group")
    assert change.worst_after == pytest.approx(result.chosen.worst_group)
    assert change.worst_after > change.worst_before + 0.2
    assert result.headline() == (
        f"Better. Test set, worst group: {100 * change.worst_before:.1f} → "
        f"{100 * change.worst_after:.1f} %; average: {100 * change.average_before:.1f} → "
        f"{100 * change.average_after:.1f} %."
    )
    record = json.loads((out / "result.json").read_text())
    assert record["helped"] is True
    assert record["headline"] == result.headline()
    assert result.accuracy_cost.cost_high <= result.max_cost == 0.05
    assert result.estimator.reason_ in result.summary(verbose=True)
    assert "Suppressing neurons" in result.verdict()
    assert result.headline() in unescape((out / "report.html").read_text())
    Z = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    written = FrozenModel.load(out / "debiased.onnx").head
    assert np.allclose(written.decision_function(Z), result.model.head.decision_function(Z))


def test_what_may_be_lost_bounds_the_share_that_is_taken(train, validation):
    result = debias(
        marked_digits_model_path(), train, validation, method="auto", max_cost=0.02, device="cpu"
    )
    assert result.helped
    assert result.accuracy_cost.cost_high <= result.max_cost == 0.02
    more = [
        accuracy_cost
        for accuracy_cost in result.accuracy_costs
        if accuracy_cost.t > result.accuracy_cost.t
    ]
    assert more
    assert not any(accuracy_cost.affordable(0.02) for accuracy_cost in more)
    assert f"{100 * result.accuracy_cost.t:.0f} % of the way to it" in result.summary(verbose=True)
    assert result.change.average_after < result.change.average_before
    assert result.headline().startswith("Written, but accuracies are lower on the validation set.")


@pytest.mark.parametrize("turned", [0.0, 0.05])
def test_a_good_model_stays_as_it_is(good, without_bias, tmp_path, turned):
    """Given again with the samples, some of which have wrong labels."""
    rng = np.random.default_rng(0)
    sets = [(X, np.where(rng.random(len(y)) < turned, 1 - y, y)) for X, y in without_bias]
    out = tmp_path / "out"
    result = debias(good, *sets, out=out, method="auto", device="cpu")
    assert not result.helped
    assert result.state == "kept"
    why = "auto is not found to be better|auto may lose .* points of average accuracy, limit 5"
    assert re.match(f"Kept the original model: ({why})", result.headline())
    assert result.model.head == good.matched_to(sets[0][1]).head
    assert sorted(p.name for p in out.iterdir() if p.suffix == ".onnx") == []
    assert json.loads((out / "result.json").read_text())["helped"] is False
    assert not (out / "README.md").exists()  # there is no model to describe


def test_a_head_without_errors_is_left_alone(train, validation, tmp_path):
    """There is nothing to mend, however learnable the errors of another head are."""
    model = FrozenModel.load(marked_digits_model_path())
    embedder = OnnxEmbedder(model, device="cpu")
    own = [(X, model.head.predict(embedder.transform(X))) for X, *_ in (train, validation)]
    result = debias(model, *own, out=tmp_path / "out", method="auto", device="cpu")
    assert not result.helped
    assert result.headline().startswith("Kept the original model: ")
    assert not list((tmp_path / "out").glob("*.onnx"))


def test_what_is_not_better_is_written_when_asked_for(good, without_bias, tmp_path):
    out = tmp_path / "forced"
    forced = debias(good, *without_bias, out=out, method="auto", even_if_worse=True, device="cpu")
    assert forced.written
    assert not forced.helped
    assert forced.headline().startswith("Written as ordered, though not found to be better.")
    assert (out / "debiased.onnx").exists()
    with pytest.raises(InputError, match="from 0 to 1"):
        debias(good, *without_bias, max_cost=3, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (np.zeros_like(X), y), "are the same"),
        (lambda X, y: (X, 1 - y), "order|below|guessing"),
        (lambda X, y: (X[:1].repeat(3, axis=0), np.array([0, 1, 1])), "1 sample of class 0"),
        (lambda X, y: (np.full_like(X, np.nan), y), "NaN"),
    ],
    ids=["zeros", "turned labels", "three rows", "NaN"],
)
@pytest.mark.parametrize("method", [None, "auto"])
def test_broken_input_is_stopped_with_one_sentence(
    train, validation, tmp_path, change, message, method
):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=message):
        debias(
            marked_digits_model_path(), change(*train), change(*validation),
            method=method, out=out, device="cpu",
        )  # fmt: skip
    assert not out.exists()


def test_nothing_is_shown_on_samples_that_trained_the_head(train, tmp_path):
    out = tmp_path / "out"
    sets = [tuple(each[:600] for each in train)] * 2
    result = debias(marked_digits_model_path(), *sets, method="auto", out=out, device="cpu")
    assert not result.helped
    assert "100 % of the validation samples are in the training set" in result.headline()
    assert not (out / "debiased.onnx").exists()


# -- the price ----------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.floats(0.0, 1.0))
@settings(max_examples=25)
def test_a_mixture_is_one_linear_head_between_the_two(seed, t):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(40, 5))
    old, new = (LinearHead(rng.normal(size=(3, 5)), rng.normal(size=3), [0, 1, 2]) for _ in "ab")
    head = mixed(old, new, t, Z)

    def centred(h):
        logits = h.decision_function(Z)
        return logits - logits.mean(axis=1, keepdims=True)

    unit = centred(new).std() / centred(old).std()
    if 0 < t < 1:
        assert np.allclose(centred(head), (1 - t) * unit * centred(old) + t * centred(new))
    assert mixed(old, new, 0, Z) is old
    assert mixed(old, new, 1, Z) is new


def test_mixtures_of_one_and_two_logits_and_of_another_order():
    Z = np.random.default_rng(0).normal(size=(20, 2))
    one, two = LinearHead([[1.0, 0.0]], [0.0], [0, 1]), LinearHead(np.eye(2), [0.0, 0.0], [1, 0])
    head = mixed(one, two, 0.5, Z)
    assert head.classes.tolist() == [1, 0]
    assert set(head.predict(Z)) <= {0, 1}


@given(
    st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.booleans()), min_size=4, max_size=80)
)
def test_the_price_counts_what_it_says(rows):
    y, before, after = (np.array(column) for column in zip(*rows, strict=True))
    found = accuracy_cost(before, after, y)
    assert found.n_fixed == (after & ~before).sum()
    assert found.n_new_errors == (before & ~after).sum()
    assert found.cost == pytest.approx(before.mean() - after.mean())
    assert found.average == pytest.approx(after.mean())
    assert found.cost_high >= found.cost


def test_the_bound_holds_what_it_promises():
    """The true loss is above the upper bound in about one draw of twenty."""
    rng, above = np.random.default_rng(0), 0
    for _ in range(400):
        y = rng.integers(0, 2, 500)
        before, new_errors = rng.random(500) < 0.9, rng.random(500) < 0.06
        above += accuracy_cost(before, before & ~new_errors, y).cost_high < 0.9 * 0.06
    assert above / 400 < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_few_samples_need_not_be_sure_but_more_likely_than_not():
    y = np.arange(60) % 2
    before = np.arange(60) >= 6
    fixed = np.arange(60) >= 3
    assert accuracy_cost(before, fixed, y).helps(0.05)
    assert (
        accuracy_cost(before, fixed, y).class_gain_low
        < 0
        < accuracy_cost(before, fixed, y).class_gain
    )
    assert not accuracy_cost(before, before ^ (np.arange(60) >= 58) ^ (np.arange(60) < 2), y).helps(
        0.5
    )


def test_noise_does_not_help_and_a_learned_shortcut_does():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2000)
    before = rng.random(2000) < 0.9
    shaken = np.where(rng.random(2000) < 0.1, ~before, before)
    assert not accuracy_cost(before, shaken, y).helps(1.0)
    assert not accuracy_cost(before, before, y).helps(1.0)
    assert not accuracy_cost(before, shaken, y).helps(1.0, learnable=True)
    few = np.arange(2000) >= 6  # six errors tell nothing: what the data showed counts
    assert accuracy_cost(few, few, y).helps(0.05, learnable=True)
    assert not accuracy_cost(few, few, y).helps(0.05)
    error_recovery = before | (rng.random(2000) < 0.7)
    assert accuracy_cost(before, error_recovery, y).helps(0.0)
    costly = error_recovery & (rng.random(2000) < 0.85)
    assert accuracy_cost(before, costly, y).cost > 0.05
    assert not accuracy_cost(before, costly, y).helps(0.05)


def test_the_largest_share_that_helps_is_taken():
    rows = {
        "class_gain": 0.2,
        "class_gain_low": 0.1,
        "error_recovery": 0.5,
        "fixed": 0.5,
        "n_fixed": 5,
        "n_new_errors": 1,
    }
    rows |= {"average": 0.9, "worst_class": 0.9, "worst_group": None}
    accuracy_costs = [
        AccuracyCost(t, cost=0.1 * t, cost_high=0.1 * t + 0.01, **rows) for t in steps()
    ]
    assert taken(accuracy_costs, 0.055, learnable=False).t == pytest.approx(0.4)
    assert taken(accuracy_costs, 1.0, learnable=False).t == 1
    assert taken(accuracy_costs, 0.0, learnable=False) is None


def test_the_option_that_is_named_allows_the_head(tmp_path):
    """A larger --max-cost allows nothing where a group loses more than that."""
    kind, rng = KINDS["tables"], np.random.default_rng(0)
    train, validation = (
        kind.draw(p, n, [0.92], rng) for p, n in (("train", 800), ("validation", 500))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a network that has not converged will do
        kind.train(train.X, train.y, 0, tmp_path / "model.onnx")
    sets = (train.X, train.y), (validation.X, validation.y)
    options = {"method": "neurontune", "n_random": 1, "device": "cpu"}
    kept = debias(tmp_path / "model.onnx", *sets, max_cost=0.01, **options)
    told = kept.headline()
    assert "may lose" in told
    said = re.search(r"Allow more: --max-cost ([\d.]+)|Write it anyway: --even-if-worse", told)
    change = {"max_cost": float(said[1])} if said[1] else {"max_cost": 0.01, "even_if_worse": True}
    assert debias(tmp_path / "model.onnx", *sets, **change, **options).written
