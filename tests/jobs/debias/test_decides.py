"""debias writes a head only where it is found to be better, and never costs more than allowed."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier

from ntkit import AccuracyCost, DebiasSettings, FrozenModel, LinearHead, OnnxEmbedder, debias
from ntkit._key import group_name
from ntkit.attributes import Attribute, columns
from ntkit.jobs.debias import _candidates
from ntkit.jobs.debias._accuracy_cost import STEPS, accuracy_cost_of, mixed, taken
from ntkit.jobs.debias._invariance import CopiesOf
from ntkit.jobs.debias._judge import judge_of
from ntkit.jobs.debias._lost_groups import CHECKED, checked_groups
from tests.cases import done, write_csv
from tests.jobs.debias.conftest import ALL, DIGITS, FEW, QUICK


@pytest.fixture(scope="module")
def without_bias(sets):
    """Training and validation samples that have no bias."""
    X, y, _ = sets[2]
    return (X[::3], y[::3]), (X[1::3], y[1::3])


@pytest.mark.more
def test_a_biased_model_is_mended(by_auto):
    result, out = by_auto, by_auto.path
    assert (result.helped, result.written, result.state) == (True, True, "written")
    outcome = result.outcome
    (classes,) = outcome.groups  # nothing was named
    assert (outcome.where, classes.source, outcome.word) == (
        "test set",
        "classes",
        "probably better",
    )
    worst = min(classes.rows, key=lambda row: row.value)
    assert worst.value == pytest.approx(result.chosen.worst_class)
    assert outcome.average.value > outcome.average.before + 0.05
    assert result.headline() == (
        f"Probably better. Test set: Worst class: {100 * classes.worst.before:.1f} → "
        f"{100 * worst.value:.1f} % ({worst.name}, 1000 samples). Average: "
        f"{100 * outcome.average.before:.1f} → {100 * outcome.average.value:.1f} %. "
        "No shortcut was named."
    )
    record = json.loads((out / "result.json").read_text())
    assert (record["helped"], record["headline"]) == (True, result.headline())
    assert result.accuracy_cost.cost_high <= result.max_cost == 0.05
    assert result.estimator.reason_ in result.summary(verbose=True)
    assert "Suppressing neurons" in result.verdict()
    page = " ".join(unescape((out / "report.html").read_text("utf-8")).split())
    assert all(line in page for line in (result.decision(), *result.lines()))
    Z = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    written = FrozenModel.load(out / "debiased.onnx").head
    assert np.allclose(written.decision_function(Z), result.model.head.decision_function(Z))


@pytest.mark.more
def test_what_may_be_lost_bounds_the_share_that_is_taken(whole):
    options = {"max_cost": 0.02, "settings": DebiasSettings(otherwise="new head")}
    result = debias(DIGITS, *whole[:2], method="auto", **options, **QUICK)
    assert result.accuracy_cost.cost_high <= result.max_cost == 0.02
    more = [cost for cost in result.accuracy_costs if cost.t > result.accuracy_cost.t]
    assert more
    assert not any(cost.affordable(0.02) for cost in more)
    assert f"{100 * result.accuracy_cost.t:.0f} % of the way to it" in result.summary(verbose=True)
    assert result.outcome.average.value < result.outcome.average.before


@pytest.mark.more
def test_a_good_model_stays_as_it_is(without_bias, tmp_path, monkeypatch):
    """The model repaired on samples without bias, given again with them."""
    method, out = "class-balanced-validation", tmp_path / "out"
    monkeypatch.setattr(_candidates, "CANDIDATES", FEW | {method: ALL[0][method]})
    good = debias(
        DIGITS, *without_bias, method=method, settings=DebiasSettings(otherwise="new head"), **QUICK
    ).model
    result = debias(good, *without_bias, out=out, method="auto", **QUICK)
    assert (result.helped, result.state) == (False, "kept")
    why = "auto makes no difference|auto is worse|auto may lose .* of average accuracy, limit 5"
    assert re.match(f"Kept the original model: ({why})", result.headline())
    assert result.model.head == good.matched_to(without_bias[0][1]).head
    assert sorted(p.name for p in out.iterdir() if p.suffix == ".onnx") == []
    assert json.loads((out / "result.json").read_text())["helped"] is False
    assert not (out / "README.md").exists()  # there is no model to describe
    forced = debias(
        good, *without_bias, method="auto", settings=DebiasSettings(otherwise="new head"), **QUICK
    )
    assert (forced.written, forced.helped) == (True, False)
    assert forced.headline().startswith("Written as ordered: auto ")
    rng = np.random.default_rng(0)  # 5 % wrong labels change nothing
    wrong = [(X, np.where(rng.random(len(y)) < 0.05, 1 - y, y)) for X, y in without_bias]
    result = debias(good, *wrong, method="auto", **QUICK)
    assert (result.helped, result.written, result.state) == (False, False, "kept")


def test_a_head_that_fixes_no_error_is_left_alone(sets):
    """There is nothing to mend, however learnable the errors of another head are."""
    model = FrozenModel.load(DIGITS)
    embedder = OnnxEmbedder(model, device="cpu")
    own = [(X, model.head.predict(embedder.transform(X))) for X, _ in sets[:2]]
    result = debias(model, *own, method="auto", **QUICK)
    assert not result.helped
    assert result.headline().startswith("Kept the original model: ")


@pytest.mark.more
def test_a_group_that_the_shortcut_helps_may_lose_if_few_validation_samples_are_against_it(
    tmp_path,
):
    """Three validation samples do not tell; the training samples do."""
    rng = np.random.default_rng(4)

    def drawn(counts):
        """Samples of each class, with and against the shortcut c."""
        y = np.repeat([0, 0, 1, 1], counts)
        sign, against = 2.0 * y - 1, np.repeat([1, -1, 1, -1], counts)
        X = np.stack([sign, sign, sign * against], axis=1) * [0.8, 0.8, 1]
        X = (X + rng.normal(size=X.shape) * [1, 1, 0.3]).astype(np.float32)
        columns = dict(zip("abc", X.T, strict=True)) | {"label": y, "ruler": sign * against > 0}
        return write_csv(tmp_path / f"{len(y)}.csv", columns), X, y

    train = drawn([970, 30, 970, 30])
    validation, *_ = drawn([290, 10, 297, 3])
    test, *_ = drawn([600] * 4)
    network = MLPClassifier((16,), max_iter=300, random_state=0, tol=1e-3).fit(*train[1:])
    graph = to_onnx(network, train[1][:1], options={"zipmap": False})
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    sets = ["--train", train[0], "--validation", validation, "--test", test, "--columns", "a,b,c"]
    named = ["--spurious", "metadata:ruler", "-o", tmp_path / "out", "--device", "cpu"]
    done("debias", tmp_path / "model.onnx", *sets, *named)
    outcome = json.loads((tmp_path / "out" / "result.json").read_text())["outcome"]
    assert outcome["word"] == "better"
    (groups,) = outcome["groups"]
    (lost,) = [each for each in groups["groups"] if each["name"] == "1 × metadata:ruler=True"]
    assert lost["helped"]
    assert lost["change"] < -0.05
    assert groups["first"]["change"] > 0.1


# -- the accuracy cost --------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.floats(0.0, 1.0))
@settings(max_examples=15)
def test_an_interpolation_is_one_linear_head_between_the_two(seed, t):
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


def test_interpolations_of_one_and_two_logits_and_of_another_order():
    Z = np.random.default_rng(0).normal(size=(20, 2))
    one, two = LinearHead([[1.0, 0.0]], [0.0], [0, 1]), LinearHead(np.eye(2), [0.0, 0.0], [1, 0])
    head = mixed(one, two, 0.5, Z)
    assert head.classes.tolist() == [1, 0]
    assert set(head.predict(Z)) <= {0, 1}


def cost_of(right_before, right_after, y, **more):
    pred = np.where(right_after, y, 1 - y)
    logits = np.eye(2)[np.where(right_before, y, 1 - y)]
    return accuracy_cost_of(1.0, y, logits, pred, np.array([0, 1]), None, **more)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.booleans()), min_size=4, max_size=80)
)
@settings(max_examples=30)
def test_the_accuracy_cost_counts_what_it_says(rows):
    y, before, after = (np.array(column) for column in zip(*rows, strict=True))
    found = cost_of(before, after, y)
    assert found.n_fixed == (after & ~before).sum()
    assert found.n_new_errors == (before & ~after).sum()
    assert found.cost == pytest.approx(before.mean() - after.mean())
    assert found.average == pytest.approx(after.mean())
    gain = np.append(after.astype(int) - before, [1, -1])  # one change more in each direction
    assert found.cost_high == pytest.approx(
        found.cost + 1.6449 * gain.std() / np.sqrt(len(y)), abs=1e-4
    )


@pytest.mark.more
def test_the_bound_holds_what_it_promises():
    """The true loss is above the upper bound in about one draw of twenty."""
    rng, above = np.random.default_rng(0), 0
    for _ in range(400):
        y = rng.integers(0, 2, 500)
        before, new_errors = rng.random(500) < 0.9, rng.random(500) < 0.06
        above += cost_of(before, before & ~new_errors, y).cost_high < 0.9 * 0.06
    assert above / 400 < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_few_samples_need_not_be_sure_but_more_likely_than_not():
    y, row = np.arange(60) % 2, np.arange(60)
    before = row >= 6
    found = cost_of(before, row >= 3, y)
    assert found.helps(0.05)
    assert found.class_gain_low < 0 < found.class_gain
    assert not cost_of(before, before ^ (row >= 58) ^ (row < 2), y).helps(0.5)


def test_noise_does_not_help_and_a_learned_shortcut_does():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2000)
    before = rng.random(2000) < 0.9
    shaken = np.where(rng.random(2000) < 0.1, ~before, before)
    assert not cost_of(before, shaken, y).helps(1.0)
    assert not cost_of(before, before, y).helps(1.0)
    learned = before | (rng.random(2000) < 0.7)
    assert cost_of(before, learned, y).helps(0.0)
    assert not cost_of(before, shaken, y).helps(1.0, learnable=True)
    traded = learned & ((y == 1) | (rng.random(2000) < 0.92))
    assert cost_of(before, traded, y).helps(0.05, learnable=True)
    few = np.arange(2000) >= 6  # six errors tell nothing
    assert not cost_of(few, few, y).helps(0.05, learnable=True)
    costly = learned & (rng.random(2000) < 0.85)
    assert cost_of(before, costly, y).cost > 0.05
    assert not cost_of(before, costly, y).helps(0.05)


def test_the_largest_share_that_helps_is_taken():
    rows = {"class_gain": 0.2, "class_gain_low": 0.1, "error_recovery": 0.5, "fixed": 0.5}
    rows |= {"n_fixed": 5, "n_new_errors": 1, "average": 0.9, "worst_class": 0.9}
    costs = [
        AccuracyCost(t, cost=0.1 * t, cost_high=0.1 * t + 0.01, worst_group=None, **rows)
        for t in STEPS
    ]
    assert taken(costs, 0.055).t == pytest.approx(0.4)
    assert taken(costs, 1.0).t == 1
    assert taken(costs, 0.0) is None


def test_the_option_that_is_named_allows_the_head(biased):
    """A larger --max-cost allows nothing where the outcome is worse."""
    kept = debias(*biased[:3], max_cost=0.01, method="neurontune", **QUICK)
    assert kept.headline().startswith("Kept the original model: neurontune is worse, because ")
    assert not debias(*biased[:3], max_cost=1, method="neurontune", **QUICK).written
    forced = debias(
        *biased[:3], method="neurontune", settings=DebiasSettings(otherwise="new head"), **QUICK
    )
    assert forced.headline().startswith("Written as ordered: neurontune is worse, because ")


# -- groups that a person named -----------------------------------------------------------------

Y = np.repeat([0, 1], 220)
VALUES = np.tile(np.repeat([0, 1], [20, 200]), 2)  # the first 20 of each class are rare


def cost_by_groups(before_rare, after_rare, after_common, *, by_person=True):
    """All common samples are right before; these shares of rare and common ones are afterwards."""

    def right(rare, common):
        one = np.concatenate([np.arange(20) < 20 * rare, np.arange(200) < 200 * common])
        return np.tile(one, 2)

    groups = Attribute("a", VALUES, ("no", "yes")).crossed(Y, fewest=5)
    shares = right(before_rare, 1.0), right(after_rare, after_common)
    return cost_of(*shares, Y, balanced=groups, by_groups=by_person)


def test_groups_that_a_person_named_pay_for_the_average():
    named = cost_by_groups(0.1, 0.7, 0.75)
    assert named.cost > 0.15  # of the average
    assert named.class_gain == pytest.approx((0.6 - 0.25) / 2)
    assert named.helps(0.05)
    assert not cost_by_groups(0.1, 0.7, 0.75, by_person=False).helps(0.05)
    assert (named.worst_named.name, named.worst_named.n) == ("0 × no", 20)
    assert named.worst_named_before.value == pytest.approx(0.1)
    # The worst group counts where the mean stays, and no more than it may cost.
    assert cost_by_groups(0.2, 0.5, 0.65).helps(0.05)  # the mean loses 2.5 points
    assert not cost_by_groups(0.2, 0.5, 0.65).helps(0.01)
    assert not cost_by_groups(0.2, 0.25, 0.95).helps(0.05)  # one sample is chance
    assert not cost_by_groups(0.9, 0.5, 1.0).helps(1.0)


# -- groups that lose accuracy ------------------------------------------------------------------

CLASSES = np.array(["low", "high"])


def samples(seed, n=2400):
    rng = np.random.default_rng(seed)
    y, region = rng.integers(0, 2, n), rng.integers(0, 2, n)
    table = {"region": region, "device": rng.integers(0, 3, n)}
    return rng, y, region, table, np.arange(n) < n // 2


def checked(table, y, right, is_train, named=(), classes=CLASSES, also=()):
    sets = [columns(table)] if table else []
    return checked_groups(sets, classes, y, right, is_train, named, None, also)


def test_the_group_that_loses_is_named_with_its_figures():
    rng, y, region, table, is_train = samples(0)
    before = rng.random(len(y)) < 0.8
    hit = (y == 0) & (region == 1)
    after = np.where(hit, before & (rng.random(len(y)) < 0.3), before)
    check = checked(table, y, (before, after), is_train)
    group = next(g for g in check.lost if g.attribute)
    rows = hit & ~is_train
    assert group.attribute.startswith("column:region=")
    assert group.relies_more
    assert group.row.n == rows.sum()
    shares = before[rows].mean(), after[rows].mean()
    assert (group.row.before, group.row.value) == pytest.approx(shares)
    assert 0.05 < group.surely < group.row.before - group.row.value
    assert check.refused(0.05) is group
    assert check.refused(0.9) is None
    assert str(group) in "\n".join(check.sentences())


def test_groups_without_what_a_shortcut_helped_say_so():
    """Their numbers are not those of the whole group, so the name is not either."""
    rng, y, region, table, is_train = samples(0)
    helped = (rng.random(len(y)) < 0.7) & (y == 0)
    before = rng.random(len(y)) < 0.8
    hit = (y == 0) & (region == 1)
    after = np.where(hit & ~helped, before & (rng.random(len(y)) < 0.3), before)
    check = checked_groups([columns(table)], CLASSES, y, (before, after), is_train, (), helped)
    group = next(g for g in check.lost if g.attribute)
    assert group.row.n == (hit & ~helped & ~is_train).sum() < (hit & ~is_train).sum()
    assert str(group.row.name).endswith(", where no named shortcut helps")
    assert group.full_name.endswith(", where no named shortcut helps")
    few = helped | (hit & ~is_train & (np.cumsum(hit & ~is_train & ~helped) > CHECKED - 1))
    check = checked_groups([columns(table)], CLASSES, y, (before, after), is_train, (), few)
    small = [each for each in check.unchecked if "region" in each]
    assert any(each.endswith(f", where no named shortcut helps ({CHECKED - 1})") for each in small)
    half = checked_groups(
        [columns(table)], CLASSES, y, (before, after), is_train, part=", in half of the samples"
    )
    assert all(str(each.row.name).endswith(", in half of the samples") for each in half.lost)
    assert {each.attribute for each in half.lost} >= {"", group.attribute}
    whole = checked(table, y, (before, after), is_train)
    assert not any("shortcut" in str(each.row.name) for each in whole.lost)


def test_what_an_answer_lists_is_tested_though_it_is_like_what_was_named():
    rng, y, region, _, is_train = samples(0)
    like = np.where(rng.random(len(y)) < 0.9, region, 1 - region)
    before = rng.random(len(y)) < 0.8
    after = np.where((y == 0) & (like == 1), before & (rng.random(len(y)) < 0.3), before)
    named = [Attribute("region", region, ("a", "b"))]
    options = {"like": like}, y, (before, after), is_train, named
    for also in ((), ("column:like=1", "column:like=0")):
        check = checked(*options, also=also)
        assert any("like" in group.attribute for group in check.lost) == bool(also)


@pytest.mark.parametrize("name", ["it", "low"])
def test_a_class_may_have_any_name_in_the_sentence_on_its_group(name):
    rng, y, region, table, is_train = samples(0)
    before = rng.random(len(y)) < 0.8
    after = np.where((y == 0) & (region == 1), before & (rng.random(len(y)) < 0.3), before)
    classes = np.array([name, "high"])
    check = checked(table, y, (before, after), is_train, classes=classes)
    group = next(g for g in check.lost if g.attribute)
    assert group.row.name in (f"class {name} with it", f"class {name} without it")
    start = group.row.name.removesuffix("it") + f"{group.attribute}, on which the new head relies"
    assert group.in_full.startswith(start)


@pytest.mark.parametrize("names", [("a", "a × b"), ("a", "ab")])
def test_a_class_without_a_group_is_judged_whatever_the_other_class_is_called(names):
    y = np.repeat(names, [4, 40])
    value = np.append([0, 0, 1, 1], np.arange(40) % 2)  # two samples in each group of the first
    mark = Attribute("mark", value, ("no", "yes"))
    none = CopiesOf(np.empty((0, 2)), *(np.empty(0, dtype=int),) * 3, np.empty((0, 1), dtype=int))
    groups = judge_of(y, value[:, None], [mark], none, [], {}).groups
    assert {groups.names[i] for i in groups.value[:4]} == {"a"}
    assert {groups.names[i] for i in groups.value[4:]} == {
        group_name(names[1], v) for v in mark.names
    }


def test_a_repair_takes_back_what_a_large_group_owed_to_the_shortcut():
    """The gap shrinks: the head relies less on it, and nothing is refused."""
    rng, y, region, table, is_train = samples(1)
    agrees = region == y
    before = rng.random(len(y)) < np.where(agrees, 0.98, 0.4)
    after = rng.random(len(y)) < np.where(agrees, 0.85, 0.8)
    check = checked(table, y, (before, after), is_train)
    own = [group for group in check.lost if "region" in group.attribute]
    assert own
    assert not any(group.relies_more for group in own)
    assert check.refused(0.05) is None


def test_a_group_that_loses_like_its_class_says_nothing_about_its_attribute():
    """Whether the head relies more on it is told only where chance does not explain it."""
    for seed in range(5):
        rng, y, region, _, is_train = samples(seed)
        before = rng.random(len(y)) < 0.9
        after = before & ((y == 1) | (rng.random(len(y)) < 0.8))
        named = Attribute("column:region", region, ("column:region=0", "column:region=1"))
        check = checked({}, y, (before, after), is_train, [named])
        own = [group for group in check.lost if group.attribute]
        assert own
        assert "relies" not in "\n".join(map(str, own)) + own[0].in_full
        assert {group.as_dict()["relies_more"] for group in own} == {None}
        after = before & ((y == 1) | (region == 0) | (rng.random(len(y)) < 0.6))
        check = checked({}, y, (before, after), is_train, [named])
        (group,) = (group for group in check.lost if group.attribute)
        assert "relies more on column:region: class low with 1" in str(group)
        assert group.as_dict()["relies_more"]


@pytest.mark.more
def test_false_alarms_are_as_rare_as_asked():
    """Errors that move at random: some group is called lost in at most 5 % of draws."""
    alarms = 0
    for seed in range(300):
        rng, y, _, table, is_train = samples(seed, n=800)
        right = tuple(rng.random(len(y)) < 0.8 for _ in range(2))
        alarms += bool(checked(table, y, right, is_train).lost)
    assert binomtest(alarms, 300, 0.05, alternative="greater").pvalue > 0.01


def test_small_groups_are_named_as_unchecked_and_nothing_readable_is_said():
    rng, y, region, _, is_train = samples(2)
    rare = (y == 1) & (region == 1)
    kept = ~rare | (np.cumsum(rare & ~is_train) <= CHECKED - 5) | is_train
    y, is_train, region = y[kept], is_train[kept], region[kept]
    right = (rng.random(len(y)) < 0.8,) * 2
    values = ("column:region=0", "column:region=1")
    column = Attribute("column:region", region, values)
    check = checked({}, y, right, is_train, [column])
    assert check.unchecked == (f"column:region, class high with 1 ({CHECKED - 5})",)
    assert f"fewer than {CHECKED}" in check.sentences()[0]
    nothing = checked({}, y, right, is_train)
    assert not nothing.readable
    assert "could not check any group" in nothing.sentences()[0]


def test_a_loss_of_few_samples_is_named_as_one_that_may_be_chance():
    """Told of, below another heading, but neither counted as lost nor a reason to refuse."""
    rng, y, region, table, is_train = samples(3)
    rare = (y == 1) & (region == 1)
    kept = ~rare | is_train | (np.cumsum(rare & ~is_train) <= CHECKED)
    y, is_train, rare = y[kept], is_train[kept], rare[kept]
    table = {name: values[kept] for name, values in table.items()}
    before = rng.random(len(y)) < 0.9
    validation = np.flatnonzero(rare & ~is_train & before)
    after = before & ~(rare & is_train & (rng.random(len(y)) < 0.5))
    after[validation[:4]] = False  # by chance in 1 of 16
    check = checked(table, y, (before, after), is_train)
    assert (check.lost, check.refused(0)) == ((), None)
    group = next(g for g in check.doubtful if "region" in g.attribute)
    assert (group.row.n, group.relies_more) == (CHECKED, True)
    said = check.sentences()
    at = next(i for i, line in enumerate(said) if "may lose accuracy (possibly chance)" in line)
    assert str(group) in said[at + 1]
    four = replace(check, doubtful=(group,) * 4).sentences()
    assert "Validation groups that may lose accuracy (possibly chance), 3 of 4:" in four
    after[validation[:4]] = True
    assert not checked(table, y, (before, after), is_train).doubtful
