"""debias writes a head only where it is found to be better, and never costs more than allowed."""

import json
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ntkit import FrozenModel, LinearHead, OnnxEmbedder, Price, debias
from ntkit.cli._app import app
from ntkit.datasets import marked_digits_model_path
from ntkit.debiasing._choice import Choice
from ntkit.debiasing._price import Decision, mixed, price_of, steps, taken
from ntkit.exceptions import InputError


@pytest.fixture(scope="module")
def train(digits):
    return digits.X_train, digits.y_train


@pytest.fixture(scope="module")
def heldout(digits):
    return digits.X_heldout, digits.y_heldout


@pytest.fixture(scope="module")
def test_set(digits):
    return digits.X_test, digits.y_test, digits.groups_test


def logits_of(right, y):
    return np.eye(2)[np.where(right, y, 1 - y)]


def price(right_before, right_after, y, t=1.0):
    pred = np.where(right_after, y, 1 - y)
    return price_of(t, y, logits_of(right_before, y), pred, np.array([0, 1]), None)


def test_a_biased_model_is_mended(train, heldout, test_set, tmp_path):
    out = tmp_path / "out"
    result = debias(
        marked_digits_model_path(), train, heldout, test=test_set, out=out, device="cpu"
    )
    assert result.helped
    assert result.written
    assert result.price.by_errors_alone
    assert result.summary().startswith("A trade: auto")
    record = json.loads((out / "result.json").read_text())
    assert record["helped"] is True
    assert record["headline"] == result.headline() == str(result).splitlines()[0]
    assert result.price.cost_high <= result.max_cost == 0.02
    assert result.headline() in unescape((out / "report.html").read_text())
    Z = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    written = FrozenModel.load(out / "debiased.onnx").head
    assert np.allclose(written.decision_function(Z), result.model.head.decision_function(Z))


def test_more_than_errors_can_speak_for_is_said_and_to_be_had(train, heldout):
    given = (marked_digits_model_path(), train, heldout)
    default = debias(*given, device="cpu")
    assert default.helped
    assert default.price.by_errors_alone
    assert default.price.cost_high <= default.max_cost == 0.02
    more = debias(*given, max_cost=0.05, device="cpu")
    assert more.price.t > default.price.t
    assert more.max_cost == 0.05
    (said,) = (line for line in default.advice if line.startswith("Errors alone"))
    assert ("takes it whole" if more.price.t == 1 else f"takes {100 * more.price.t:.0f} %") in said
    assert f"{more.price.n_mended} held-out samples mended, {more.price.n_broken} broken" in said
    assert not any(line.startswith("Errors alone") for line in more.advice)


@pytest.mark.parametrize("turned", [0.0, 0.05])
def test_a_good_model_stays_as_it_is(test_set, tmp_path, turned):
    """The debiased model, given again with samples that have no bias."""
    X, y, _ = test_set
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(len(y)) < turned, 1 - y, y)
    good = debias(
        marked_digits_model_path(), (X[::3], y[::3]), (X[1::3], y[1::3]),
        heldout_balanced=True, device="cpu",
    ).model  # fmt: skip
    out = tmp_path / "out"
    result = debias(good, (X[::3], labels[::3]), (X[1::3], labels[1::3]), out=out, device="cpu")
    assert not result.helped
    assert result.summary().startswith("The original head stays")
    assert result.model.head == good.matched_to(y).head
    assert sorted(p.name for p in out.iterdir() if p.suffix == ".onnx") == []
    assert json.loads((out / "result.json").read_text())["helped"] is False
    assert not (out / "README.md").exists()  # there is no model to describe


def test_a_head_without_errors_is_left_alone(train, heldout, tmp_path):
    """There is nothing to mend, however learnable the errors of another head are."""
    model = FrozenModel.load(marked_digits_model_path())
    embedder = OnnxEmbedder(model, device="cpu")
    own = [(X, model.head.predict(embedder.transform(X))) for X, *_ in (train, heldout)]
    result = debias(model, *own, out=tmp_path / "out", device="cpu")
    assert not result.helped
    assert result.summary().startswith("The original head stays")
    assert not list((tmp_path / "out").glob("*.onnx"))


def test_what_is_not_better_is_written_when_asked_for(test_set, tmp_path):
    X, y, _ = test_set
    sets = (X[::3], y[::3]), (X[1::3], y[1::3])
    good = debias(marked_digits_model_path(), *sets, heldout_balanced=True, device="cpu").model
    out = tmp_path / "forced"
    forced = debias(good, *sets, out=out, even_if_worse=True, device="cpu")
    assert forced.written
    assert not forced.helped
    assert forced.summary().startswith("Not found to be better")
    assert "written as you asked" in forced.headline()
    assert not any(line.startswith("Errors alone") for line in forced.advice)
    assert (out / "debiased.onnx").exists()
    nothing = tmp_path / "nothing"
    quiet = debias(good, *sets, out=nothing, only_if_better=True, device="cpu")
    assert not nothing.exists()
    assert quiet.path is None
    with pytest.raises(InputError, match="contradict"):
        debias(good, *sets, even_if_worse=True, only_if_better=True, device="cpu")
    with pytest.raises(InputError, match="from 0 to 1"):
        debias(good, *sets, max_cost=3, device="cpu")


def test_scripts_are_told_by_an_exit_code(train, heldout, test_set, tmp_path):
    def sets_at(name, X, y):
        np.savez(tmp_path / f"{name}.npz", X=X, y=y)
        return str(tmp_path / f"{name}.npz")

    arguments = ["debias", str(marked_digits_model_path()), "--device", "cpu", "--quiet"]
    arguments += ["--only-if-better", "--train", sets_at("train", *train)]
    arguments += ["--heldout", sets_at("heldout", *heldout)]
    free = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "free")])
    assert free.exit_code == 0, free.output
    assert (tmp_path / "free" / "debiased.onnx").exists()
    assert json.loads((tmp_path / "free" / "result.json").read_text())["max_cost"] == 0.02
    strict = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "strict"), "--max-cost", "0",
                                      "--method", "neurontune-half"])  # fmt: skip
    assert strict.exit_code == 1, strict.output
    assert not (tmp_path / "strict").exists()


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
def test_broken_input_is_stopped_with_one_sentence(train, heldout, tmp_path, change, message):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=message):
        debias(marked_digits_model_path(), change(*train), change(*heldout), out=out, device="cpu")
    assert not out.exists()


def test_nothing_is_shown_on_samples_that_trained_the_head(train, tmp_path):
    out = tmp_path / "out"
    result = debias(marked_digits_model_path(), train, train, out=out, device="cpu")
    assert not result.helped
    assert "100 % of the held-out samples are in the training set" in result.headline()
    assert not any(line.startswith("Errors alone") for line in result.advice)
    assert not (out / "debiased.onnx").exists()


def test_a_candidate_above_auto_is_named_with_what_writes_it(train, heldout):
    result = debias(marked_digits_model_path(), train, heldout, device="cpu")
    rivals = [c for c in result.candidates[1:] if not c.name.startswith("random")]
    best = max(rivals, key=lambda c: c.score)
    named = [line for line in result.advice if "--method" in line]
    assert bool(named) == (best.name != "auto")
    assert all(f"--method {best.name}" in note for note in named)


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
    found = price(before, after, y)
    assert found.n_mended == (after & ~before).sum()
    assert found.n_broken == (before & ~after).sum()
    assert found.cost == pytest.approx(before.mean() - after.mean())
    assert found.average == pytest.approx(after.mean())
    assert found.cost_high >= found.cost


def test_the_bound_holds_what_it_promises():
    """The true loss is above the upper bound in about one draw of twenty."""
    rng, above = np.random.default_rng(0), 0
    for _ in range(400):
        y = rng.integers(0, 2, 500)
        before, broken = rng.random(500) < 0.9, rng.random(500) < 0.06
        above += price(before, before & ~broken, y).cost_high < 0.9 * 0.06
    assert above / 400 < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_few_samples_need_not_be_sure_but_more_likely_than_not():
    y = np.arange(60) % 2
    before = np.arange(60) >= 6
    mended = np.arange(60) >= 3
    assert price(before, mended, y).helps(0.05)
    assert price(before, mended, y).class_gain_low < 0 < price(before, mended, y).class_gain
    assert not price(before, before ^ (np.arange(60) >= 58) ^ (np.arange(60) < 2), y).helps(0.5)


def test_noise_does_not_help_and_a_learned_shortcut_does():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2000)
    before = rng.random(2000) < 0.9
    shaken = np.where(rng.random(2000) < 0.1, ~before, before)
    assert not price(before, shaken, y).helps(1.0)
    assert not price(before, before, y).helps(1.0)
    assert not price(before, shaken, y).helps(1.0, learnable=True)
    few = np.arange(2000) >= 6  # six errors tell nothing: what the data showed counts
    assert price(few, few, y).helps(0.05, learnable=True)
    assert not price(few, few, y).helps(0.05)
    learned = before | (rng.random(2000) < 0.7)
    assert price(before, learned, y).helps(0.0)
    costly = learned & (rng.random(2000) < 0.85)
    assert price(before, costly, y).cost > 0.05
    assert not price(before, costly, y).helps(0.05)


def test_errors_alone_may_cost_less_than_what_is_seen_to_be_better():
    y, before = np.arange(2000) % 2, np.arange(2000) >= 100
    trade = price(before, (np.arange(2000) < 20) | before & (np.arange(2000) < 1940), y)
    assert (trade.n_mended, trade.n_broken) == (20, 60)
    assert trade.by_errors_alone
    assert 0.02 < trade.cost_high < 0.05
    assert trade.helps(0.05, learnable=True)
    assert not trade.helps(learnable=True)
    assert (trade.limit(), trade.limit(0.3)) == (0.02, 0.3)
    rare = np.arange(2000) < 200  # a quarter of it mended: the mean over the classes rises
    after = np.arange(2000) < 1910
    seen = price(~rare | (np.arange(2000) % 4 > 0), after, np.where(rare, 0, 1))
    assert 0.02 < seen.cost_high < 0.05
    assert not seen.by_errors_alone
    assert seen.limit() == 0.05
    assert seen.helps()
    assert not seen.helps(0.02)


@pytest.mark.parametrize("helped", [True, False])
@pytest.mark.parametrize("by_groups", [True, False])
def test_what_is_left_is_told_by_its_own_limit(helped, by_groups):
    """Whatever is written, or would be: even a head that is seen to be better, and may cost 5 %."""
    facts = {"learned": 0.5, "mended": 0.5, "n_mended": 20, "n_broken": 60, "average": 0.9}
    facts |= {"worst_class": 0.9, "worst_group": None}
    seen = Price(0.3, 0.0, 0.01, class_gain=0.02, class_gain_low=0.01, **facts)
    left = Price(0.5, 0.03, 0.04, -0.03, -0.04, by_groups=by_groups, **facts)
    decision = Decision((seen, left), seen, helped=helped, head=None, left=left)
    choice = Choice(SimpleNamespace(known=None), {}, {}, None, "auto", decision)
    (said,) = choice.told_of_limit()
    assert said.startswith(f"Errors alone speak for {'more of ' * helped}this head")
    whose = "the balanced groups' mean accuracy" if by_groups else "average accuracy"
    assert f"no more than 2 % of {whose}" in said
    assert "takes 50 % of it (20 held-out samples mended, 60 broken)" in said
    assert ("ntkit label" in said) == (not by_groups)
    nothing = Choice(choice.comparison, {}, {}, None, "auto", replace(decision, left=None))
    assert nothing.told_of_limit() == []


def test_the_largest_share_that_helps_is_taken():
    rows = {
        "class_gain": 0.2,
        "class_gain_low": 0.1,
        "learned": 0.5,
        "mended": 0.5,
        "n_mended": 5,
        "n_broken": 1,
    }
    rows |= {"average": 0.9, "worst_class": 0.9, "worst_group": None}
    prices = [Price(t, cost=0.1 * t, cost_high=0.1 * t + 0.01, **rows) for t in steps()]
    assert taken(prices, 0.055, learnable=False).t == pytest.approx(0.4)
    assert taken(prices, 1.0, learnable=False).t == 1
    assert taken(prices, 0.0, learnable=False) is None
