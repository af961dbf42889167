"""The word for a repair, and each sentence about it: true, and gone when it is not true."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from ntkit import DebiasSettings, check, debias
from ntkit.attributes import Attribute
from ntkit.datasets import load_scanned_digits
from ntkit.jobs.debias._outcome import (
    FEW,
    TEST,
    Labelled,
    NamedGroups,
    are_worse,
    crossed_groups,
    deciding_groups,
    helped_groups,
    named_groups,
    outcome_of,
)
from ntkit.jobs.debias._repair_limits import _of_group
from ntkit.jobs.debias._result import groups_sentence, outcome_lines
from ntkit.metrics import Row, compare

CLASSES = ["cat", "dog"]


def samples(n, before, after, classes=CLASSES, values=("border", "plain")):
    """Samples of each class × value: so many, of which shares are right before and after.

    The same samples are right, as far as the shares allow.
    """
    y, value, was, now = [], [], [], []
    for (k, v), size in np.ndenumerate(np.array(n)):
        y += [classes[k]] * size
        value += [v] * size
        was += (np.arange(size) < round(np.array(before)[k, v] * size)).tolist()
        now += (np.arange(size) < round(np.array(after)[k, v] * size)).tolist()
    attribute = Attribute("image:border", np.array(value), tuple(values), "image")
    return attribute, np.array(y), (np.array(now), np.array(was))


def groups_of(n, before, after, helped=(), **options):
    attribute, y, right = samples(n, before, after)
    return named_groups(attribute, y, right, helped, CLASSES, **options)


def told(groups, where=TEST, average=None, max_cost=0.05, instead=None):
    average = average or Row("average", "average", 1000, 900, lost=0, gained=10)
    return outcome_of([groups], average, where, max_cost, instead)


N, BIASED = [[500, 60], [40, 400]], [[0.98, 0.5], [0.4, 0.97]]
HELPED = {("cat", "border"), ("dog", "plain")}
REPAIRED = [[0.9, 0.85], [0.9, 0.9]]


@pytest.mark.parametrize("seed", range(3))
def test_the_first_number_is_the_accuracy_if_both_were_unrelated(seed):
    rng = np.random.default_rng(seed)
    n, before, after = rng.integers(20, 90, (2, 2)), rng.random((2, 2)), rng.random((2, 2))
    groups = groups_of(n, before, after)
    shares = np.outer(n.sum(axis=1), n.sum(axis=0)) / n.sum() ** 2
    for figure, rights in ((groups.first.before, before), (groups.first.value, after)):
        accuracies = np.round(rights * n) / n
        assert figure == pytest.approx((shares * accuracies).sum())
    assert groups.mean.value == pytest.approx((np.round(after * n) / n).mean())
    assert groups.worst.value == pytest.approx((np.round(after * n) / n).min())


def test_the_shortcut_helps_where_the_original_is_surely_more_often_right():
    attribute, y, (_, before) = samples(N, BIASED, BIASED)
    assert helped_groups(attribute, y, before) == HELPED
    few = samples([[500, 3], [3, 400]], [[0.98, 0.67], [0.67, 0.97]], BIASED)
    assert helped_groups(few[0], few[1], few[2][1]) == set()  # three samples tell nothing
    equal = samples(N, [[0.9, 0.9], [0.9, 0.9]], BIASED)
    assert helped_groups(equal[0], equal[1], equal[2][1]) == set()


def test_of_several_values_that_the_shortcut_helps_each_is_helped():
    """Nine of ten hospitals go with the class: next to these, one of them stands out of nothing."""
    values = [f"h{v}" for v in range(10)]
    n, before = [[90] * 9 + [60], [8] * 9 + [400]], [[0.97] * 9 + [0.4], [0.3] * 9 + [0.95]]
    attribute, y, right = samples(n, before, before, values=values)
    helped = helped_groups(attribute, y, right[1])
    assert {("cat", value) for value in values[:9]} <= helped
    assert ("cat", "h9") not in helped
    same = [[0.8] * 10, [0.8] * 10]
    attribute, y, right = samples(n, same, same, values=values)
    assert not helped_groups(attribute, y, right[1])


def test_better_needs_a_test_set_a_sure_gain_and_no_misled_group_that_loses():
    groups = groups_of(N, BIASED, REPAIRED, HELPED)
    assert told(groups).word == "better"
    assert told(groups, where="validation set").word == "probably better"
    some = groups_of(N, BIASED, [[0.98, 0.5], [0.4, 0.97]], HELPED)
    assert told(some).word == "no difference"
    little = groups_of([[50, 10], [10, 40]], [[0.98, 0.5], [0.5, 0.97]], [[0.98, 0.7], [0.6, 0.97]])
    assert little.first.change_interval[0] < 0 < -little.first.drop_bounds(
        upper_level=0.15, lower_level=0.15)[1]  # fmt: skip
    assert told(little).word == "probably better"
    # A misled group that loses: by less than the limit it is not better, by more it is worse.
    n, before = [[500, 300], [400, 400]], [[0.98, 0.9], [0.4, 0.97]]
    after = [[0.95, 0.85], [0.9, 0.95]]
    lost = groups_of(n, before, after, HELPED)
    assert [row.name for row in lost.lost] == ["cat × plain"]
    assert told(lost).word == "probably better"
    assert told(lost, max_cost=0.01).word == "worse"
    reason = "cat × plain surely loses (90.0 → 85.0 %), and the shortcut did not surely help there"
    assert told(lost, max_cost=0.01).reason == reason
    nothing_named = told(replace(lost, source="classes"), max_cost=0.01).reason
    assert nothing_named == "cat × plain surely loses (90.0 → 85.0 %)"
    assert told(groups_of(n, before, [[0.95, 0.9], [0.9, 0.95]], HELPED)).word == "better"


def test_helped_groups_may_lose_but_not_below_the_worst_one_before():
    gives_way = groups_of(N, BIASED, [[0.8, 0.9], [0.9, 0.8]], HELPED)
    assert told(gives_way).word == "better"
    assert {row.name for row in gives_way.gave_way} == {"cat × border", "dog × plain"}
    below = groups_of(N, BIASED, [[0.1, 0.99], [0.99, 0.97]], HELPED)
    assert told(below).word == "worse"
    assert "cat × border ends at 10" in told(below).reason
    falls = groups_of(N, REPAIRED, BIASED, {("cat", "border"), ("dog", "plain")})
    assert told(falls).word == "worse"
    misled = groups_of([[500, 60], [40, 400]], [[0.9] * 2] * 2, [[0.7] * 2] * 2)
    assert told(misled, max_cost=1).word == "worse"  # by its end below the worst one, or its fall


def test_a_group_without_a_sample_has_no_first_number():
    n = [[500, 60], [0, 400]]
    groups = groups_of(n, BIASED, REPAIRED, HELPED)
    assert groups.first is None
    assert "No sample shows dog × border." in groups_sentence(groups)
    assert "unrelated" not in groups_sentence(groups)
    assert told(groups).word == "no difference"
    rows = [Row("group", name, 400, 360, lost=10, gained=80) for name in ("original", "changed")]
    copies = NamedGroups("copies", tuple(rows), source="copies")
    assert told(groups, instead=copies.mean).word == "probably better"
    assert "No sample shows" not in groups_sentence(groups_of(N, BIASED, REPAIRED))
    scarce = groups_of([[500, 60], [4, 400]], BIASED, REPAIRED, fewest=5)
    assert "Fewer than 5 samples show dog × border." in groups_sentence(scarce)
    assert "Worst group of at least 5 samples: " in groups_sentence(scarce)
    assert scarce.mean.name == "mean of the other groups"
    assert scarce.worst.name == "worst group of at least 5 samples"
    assert told(groups).change_in_words() == ". No sample of the test set shows dog × border"


@pytest.mark.parametrize(("rare", "word"), [(8, "better"), (200, "no difference")])
def test_a_rare_value_of_one_class_alone_widens_the_first_number(rare, word):
    """A hospital with eight samples, all of one class, does not stop the repair of the others."""
    n, values = [[500, 60, 0], [40, 400, rare]], ("A", "B", "C")
    before, after = ([[*row, 0.9] for row in rights] for rights in (BIASED, REPAIRED))
    attribute, y, right = samples(n, before, after, values=values)
    groups = named_groups(attribute, y, right, {("cat", "A"), ("dog", "B")}, CLASSES)
    assert "No sample shows cat × C." in groups_sentence(groups)
    outcome = told(groups)
    assert outcome.word == word
    if word != "better":
        assert groups.first is None
        assert outcome.change_in_words() == ". No sample of the test set shows cat × C"
        return
    kept = attribute.value < 2
    known = replace(attribute, value=attribute.value[kept], names=values[:2])
    of_kept = tuple(each[kept] for each in right)
    without = named_groups(known, y[kept], of_kept, {("cat", "A"), ("dog", "B")}, CLASSES).first
    assert groups.first.value == pytest.approx(without.value, abs=0.01)
    (low, high), (inner, outer) = groups.first.change_interval, without.change_interval
    assert low < inner
    assert outer < high


def test_a_rare_value_of_one_class_alone_hides_no_group_that_ends_below_the_worst():
    n, values = [[500, 170, 0], [300, 800, 8]], ("A", "B", "C")
    before = [[0.95, 0.63, 0.9], [0.48, 0.95, 0.9]]
    after = [[0.95, 0.2, 0.9], [0.95, 0.95, 0.9]]
    attribute, y, right = samples(n, before, after, values=values)
    helped = {("cat", "B"), ("cat", "A"), ("dog", "B")}  # its loss alone is not a reason
    outcome = told(named_groups(attribute, y, right, helped, CLASSES))
    assert outcome.word == "worse"
    assert outcome.reason == "cat × B ends at 20.0 %, surely below the worst group before"


def test_a_test_set_that_lacks_a_group_still_refuses_a_sure_loss_of_another():
    n = [[500, 60], [0, 400]]
    assert not are_worse([groups_of(n, BIASED, REPAIRED, HELPED)], 0.05)
    before, after = [[0.98, 0.9], [0.4, 0.97]], [[0.98, 0.4], [0.9, 0.97]]
    assert are_worse([groups_of(n, before, after, HELPED)], 0.05)


@pytest.mark.parametrize("source", ["labelled", "copies"])
def test_what_is_not_read_is_never_better(source):
    groups = groups_of(N, BIASED, REPAIRED, HELPED, source=source)
    assert told(groups).word == "probably better"
    assert "unrelated" not in groups_sentence(groups)


def test_nothing_named_is_never_better():
    y = np.repeat(CLASSES, 400)
    right = np.arange(800) % 400 < 380, np.arange(800) % 400 < 200
    rows = compare(right, [("class", k, y == k) for k in CLASSES])
    outcome = told(NamedGroups("class", tuple(rows), source="classes"))
    assert outcome.word == "probably better"
    assert outcome_lines(outcome)[0].endswith("No shortcut was named.")
    assert "Worst class: 50.0" in outcome_lines(outcome)[0]
    assert "No shortcut" not in outcome_lines(told(groups_of(N, BIASED, REPAIRED)))[0]


def test_small_groups_of_several_classes_are_joined_by_what_the_shortcut_does():
    classes, values = ["a", "b", "c"], ("w", "x", "y", "z")
    n = [[100, 5, 4, 30], [40, 40, 3, 40], [9, 8, 7, 60]]
    attribute, y, right = samples(n, np.full((3, 4), 0.5), np.full((3, 4), 0.75), classes, values)
    groups = named_groups(attribute, y, right, {("a", "x"), ("c", "w")}, classes)
    names = {row.name: row.n for row in groups.rows}
    assert names == {
        "a × w": 100, "a × z": 30, "a × x": 5, "a × y": 4, "b × w": 40, "b × x": 40, "b × z": 40,
        "b × y": 3, "c × z": 60, "c × w": 9, "c × 2 others": 15,
    }  # fmt: skip
    assert sum(names.values()) == np.sum(n)
    assert sum(groups.shares) == pytest.approx(1)
    assert groups.helped == {"a × x", "c × w"}
    assert FEW == 10
    assert groups.joined == {"c × 2 others"}


@pytest.mark.parametrize("few", [9, 10])
@pytest.mark.parametrize("empty", [1, 2])
def test_groups_without_a_sample_hide_in_no_joined_group(few, empty):
    """A third of the first number would be of groups that nobody has seen."""
    classes, values = ["a", "b", "c"], ("w", "x", "y", "z")[: 2 + empty]
    n = [[100, few, 0, 0], [0, 100, few, 0], [few, 0, 100, 100]]
    n = [row[: len(values)] for row in n]
    shape = np.full(np.shape(n), 0.5), np.full(np.shape(n), 0.9)
    attribute, y, right = samples(n, *shape, classes, values)
    groups = named_groups(attribute, y, right, (), classes)
    assert sum(row.n for row in groups.rows) == np.sum(n)
    assert sum(row.n for row in groups.cells) == np.sum(n)
    unseen = sum(share for row, share in zip(groups.cells, groups.shares, strict=True) if not row.n)
    assert unseen > 0.15
    assert groups.first is None
    assert told(groups).word == "no difference"
    assert "No sample shows a × " in groups_sentence(groups)


@pytest.mark.parametrize("few", [4, 9, 10])
def test_the_first_number_weighs_each_group_by_itself_also_where_some_are_joined(few):
    """Of nine samples that are right and one that is wrong, the one may stand for as many."""
    classes, values = ["a", "b", "c"], ("w", "x", "y")
    n = np.array([[100, few, 1], [1, 100, few], [few, 1, 100]])
    before = np.where(n == 1, 0.0, 0.5)
    after = np.where(n == 1, 0.0, 1.0)
    attribute, y, right = samples(n.tolist(), before, after, classes, values)
    groups = named_groups(attribute, y, right, (), classes)
    assert bool(groups.joined) == (few < FEW)
    shares = n.sum(axis=1, keepdims=True) * n.sum(axis=0) / n.sum() ** 2
    seen = [np.mean(right[0][(y == k) & (attribute.value == v)]) for k in classes for v in range(3)]
    assert groups.first.value == pytest.approx(float(np.ravel(shares) @ seen))
    assert groups.first.value == pytest.approx(2 / 3)


def test_a_mean_of_joined_groups_is_called_so():
    """The cost counts each of them by itself."""
    n = [[200, 5, 5], [100, 90, 4], [100, 3, 60]]
    before, after = np.full((3, 3), 0.9), np.full((3, 3), 0.8)
    attribute, y, right = samples(n, before, after, ["a", "b", "c"], ("x", "y", "z"))
    few = named_groups(attribute, y, right, (), ["a", "b", "c"], source="crossed")
    assert few.joined
    assert ", small ones joined: " in groups_sentence(few)
    assert "Worst group, small ones joined: " in groups_sentence(few)
    attribute, y, right = samples(
        np.full((3, 3), 50), before, after, ["a", "b", "c"], ("x", "y", "z")
    )
    enough = named_groups(attribute, y, right, (), ["a", "b", "c"], source="crossed")
    assert "joined" not in groups_sentence(enough)


@pytest.mark.more
def test_groups_of_two_attributes_decide_together():
    rng = np.random.default_rng(0)
    n = 2000
    y = rng.integers(0, 2, n)
    one, two = (np.where(rng.random(n) < 0.85, y, 1 - y) for _ in range(2))
    attributes = [
        Attribute(f"column:{name}", v, ("0", "1")) for name, v in (("a", one), ("b", two))
    ]
    before = one + two - 2 * y == 0
    right = rng.random(n) < 0.9, before
    helped = [helped_groups(each, y, before) for each in attributes]
    single = [named_groups(a, y, right, h, [0, 1]) for a, h in zip(attributes, helped, strict=True)]
    both = crossed_groups(attributes, y, right, helped, [0, 1])
    pa, pb, py = one.mean(), two.mean(), y.mean()
    weights, accuracies = [], []
    for k, a, b in np.ndindex(2, 2, 2):
        cell = (y == k) & (one == a) & (two == b)
        weights.append(np.prod([p if at else 1 - p for at, p in ((k, py), (a, pa), (b, pb))]))
        accuracies.append(right[0][cell].mean())
    assert both.first.value == pytest.approx(np.dot(weights, accuracies))
    average = compare(right, [("average", "average", np.arange(n))])[0]
    outcome = outcome_of([*single, both], average, TEST, 0.05)
    assert deciding_groups(outcome.groups) == [both]
    assert outcome.gain is both.first
    assert len(outcome_lines(outcome)) == 3
    assert outcome.change_in_words().endswith("] (column:a and column:b unrelated to the class)")
    together = "If column:a and column:b and the class were unrelated"
    assert together in outcome_lines(outcome)[0]
    (line,) = outcome_lines(outcome, deciding=True)
    assert together in line


@pytest.mark.more
def test_the_average_is_told_where_it_falls_with_the_reason_where_it_is_one():
    fell = Row("average", "average", 1000, 895, lost=50, gained=22)
    gives_way = groups_of(N, BIASED, [[0.8, 0.9], [0.9, 0.8]], HELPED)
    (line,) = outcome_lines(told(gives_way, average=fell))
    assert line.startswith("Test set: If image:border and the class were unrelated, on data ")
    assert line.endswith(
        "On data as biased as this: 92.3 → 89.5 %, because here the shortcut helps."
    )
    same = groups_of(N, BIASED, [[0.8, 0.5], [0.4, 0.8]], HELPED)
    assert same.first.change < 0  # so the shortcut is not the reason
    assert outcome_lines(told(same, average=fell))[0].endswith("this: 92.3 → 89.5 %.")
    (line,) = outcome_lines(told(groups_of(N, BIASED, [[0.9] * 2] * 2), average=fell))
    assert line.endswith("On data as biased as this: 92.3 → 89.5 %.")
    (line,) = outcome_lines(told(gives_way), ", with auto")
    assert "biased" not in line
    assert line.startswith("Test set, with auto: ")


def test_the_mean_of_groups_stands_beside_if_it_differs():
    assert "(mean of groups " in groups_sentence(groups_of([[900, 20], [20, 60]], BIASED, REPAIRED))
    assert "mean of groups" not in groups_sentence(
        groups_of([[60, 60], [60, 60]], BIASED, REPAIRED)
    )


def test_the_worst_group_is_named_before_and_after():
    groups = groups_of(N, BIASED, [[0.7, 0.85], [0.9, 0.9]])
    assert (
        "Worst group: 40.0 (dog × border) → 70.0 % (cat × border, 500 samples)."
        in groups_sentence(groups)
    )
    same = groups_of(N, BIASED, [[0.9, 0.85], [0.8, 0.9]])
    assert "Worst group: 40.0 → 80.0 % (dog × border, 40 samples)." in groups_sentence(same)
    assert told(groups).as_dict()["word"] == told(groups).word
    (listed,) = told(groups).as_dict()["groups"]
    assert [row["name"] for row in listed["groups"]] == [
        "cat × border", "cat × plain", "dog × border", "dog × plain",
    ]  # fmt: skip
    assert not any(row["helped"] for row in listed["groups"])


def test_few_labels_say_which_samples_would_tell_more():
    groups = groups_of([[12, 4], [5, 10]], BIASED, BIASED, source="labelled")
    outcome = told(groups, where="validation set")
    assert outcome.word == "no difference"
    more = "Label 30 more samples to know, first of cat × plain (4 labelled), dog × border (5 "
    assert more in outcome.change_in_words()
    read = told(groups_of(N, BIASED, BIASED, HELPED))
    assert "Label" not in read.change_in_words()


@pytest.mark.more
@pytest.mark.parametrize("gains", [False, True])
def test_labels_of_samples_that_were_chosen_for_their_errors_tell_the_accuracy_of_all(gains):
    """A head that is wrong elsewhere gets no better word for errors that were chosen."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 1000)
    value = np.where(rng.random(2000) < 0.9, y, 1 - y)
    misled = value != y
    before = rng.random(2000) < np.where(misled & gains, 0.5, 0.9)
    fixed = rng.random(2000) < (0.8 if gains else 0.6)
    after = np.where(before, rng.random(2000) < 0.92, fixed)
    # Odds of the value by a normal feature, and by its share in the class.
    seen = 2 * value - 1 + rng.normal(0, 0.6, 2000)
    yes = expit(2 * seen / 0.36 + np.log(9) * (2 * y - 1))
    # Errors, random samples, those of a rare inferred value, and uncertain ones.
    chosen = [np.flatnonzero(~before)[:30], rng.permutation(2000)[:30]]
    chosen += [rng.permutation(np.flatnonzero((yes > 0.5) != y))[:30]]
    asked = np.concatenate([*chosen, np.argsort(np.abs(yes - 0.5))[:30]])
    known = np.isin(np.arange(2000), asked)
    said = Attribute("mark", np.where(known, value, -1), ("no", "yes"), "person")
    right = after, before
    told = Labelled(y, np.stack([1 - yes, yes], axis=1), said.value, y == y).rows
    helped = helped_groups(said, y, before, told)
    assert helped == ({(0, "no"), (1, "yes")} if gains else set())
    groups = named_groups(said, y, right, (), [0, 1], "labelled", told=told)
    changes = []
    for row in groups.rows:
        label, of_value = row.name.split(" × ")
        inside = (y == int(label)) & (value == (of_value == "yes"))
        assert row.n == (inside & known).sum()
        changes.append(after[inside].mean() - before[inside].mean())
        assert row.before == pytest.approx(before[inside].mean(), abs=0.1)
        assert row.value == pytest.approx(after[inside].mean(), abs=0.1)
    assert groups.mean.change == pytest.approx(np.mean(changes), abs=0.06)
    low, high = groups.mean.change_interval
    assert low < np.mean(changes) < high
    average = Row("average", "average", 2000, 1800, lost=0, gained=10)
    outcome = outcome_of([groups], average, "validation set", 0.05)
    assert outcome.is_better == gains
    unweighted = named_groups(said, y, right, (), [0, 1], "labelled")
    assert outcome_of([unweighted], average, "validation set", 0.05).is_better


@pytest.mark.more
def test_copies_with_a_part_of_others_tell_what_happens_where_it_is_unrelated():
    """Their mean decides, not that of the biased originals; a change of all pixels has both."""
    d = load_scanned_digits()
    parts = {n: (d[f"X_{n}"][:600], d[f"y_{n}"][:600]) for n in ("train", "validation", "test")}
    for change, decides in (("image:border", "changed"), ("image:blur", "")):
        result = debias(
            d.model_path,
            **parts,
            invariant=change,
            settings=DebiasSettings(otherwise="new head"),
            device="cpu",
        )
        (groups,) = result.outcome.groups
        means = groups.mean.before, groups.mean.value
        rows = [row for row in groups.rows if row.name.endswith(decides)]
        by_class = np.mean([(row.before, row.value) for row in rows], axis=0)
        assert means == pytest.approx(tuple(by_class))
        assert ("copies with this part of another sample" in groups_sentence(groups)) == bool(
            decides
        )
        if decides:
            assert result.outcome.word == "probably better"
            old, new = (row.average for row in (result.candidates[0], result.chosen))
            assert means == pytest.approx((old, new), abs=0.07)  # border and class are unrelated
            assert (result.outcome.average.change or 0) < -0.05


CORNER, CONTRAST = "image:bottom right brightness high", "image:contrast high"


@pytest.mark.more
@pytest.mark.parametrize("others", [(), (CORNER,), (CORNER, CONTRAST)])
def test_a_repair_passes_its_limits_on_fewer_samples_and_without_crossed_groups(others):
    """Few samples have both attributes, so that each decides alone; a test set is small."""
    d = load_scanned_digits()
    sizes = {"train": 600, "validation": 400, "test": 300}
    sets = {name: (d[f"X_{name}"][:n], d[f"y_{name}"][:n]) for name, n in sizes.items()}
    spurious = ["image:border brightness high", *others]
    result = debias(d.model_path, **sets, spurious=spurious, device="cpu")
    assert [each.source for each in result.outcome.groups] == ["read"] * len(spurious)
    assert result.outcome.word == "better"
    assert result.outcome.gain in [each.first for each in result.outcome.groups]
    doubts = ("Samples are shared.", "Few samples.")
    lines = [*filter(None, str(replace(result, cautions=doubts)).split("\n"))]
    assert lines[4:6] == [f"Note: {each}" for each in doubts]
    assert len(lines) == 8 + len(doubts)
    assert all(f"If {name} and the class were" in lines[1] for name in spurious)
    judged = check(d.model_path, result.model, sets["test"], limits=result.limits, device="cpu")
    assert judged.outcome == "pass"
    assert check(d.model_path, d.model_path, sets["test"], device="cpu").outcome == "pass"


@pytest.mark.more
def test_each_group_has_a_limit_that_can_be_written():
    """A group of which the original had nothing right, and the new model has some."""
    for n in (30, 100, 300, 1000):
        for after in np.linspace(0, 0.3, 61):
            groups = groups_of([[n, n], [n, n]], [[0.9, 0], [0, 0.9]], [[0.9, after]] * 2)
            for row in groups.rows:
                limits = _of_group(groups, row, row, 8, n)
                assert limits.accuracy is None or 1 < limits.accuracy <= 100 * row.value


def test_groups_of_some_values_of_a_column_are_not_called_the_column():
    """The samples of other values are not in them."""
    colour = np.tile(["red", "green", "blue"], 20)
    y, right = np.arange(60) % 2, np.arange(60) % 5 > 0
    values = [["column:c=red"], ["column:c=green"]]
    some = Attribute.from_names(values, lambda name: (colour == name[9:]).astype(int))
    groups = named_groups(some, y, (right, right), (), [0, 1])
    assert sum(row.n for row in groups.rows) == 40
    assert groups.name == "column:c=red against column:c=green"
    whole = Attribute.named([["column:c"]], None, {"column": {"c": colour}})
    groups = named_groups(whole, y, (right, right), (), [0, 1])
    assert (groups.name, sum(row.n for row in groups.rows)) == ("column:c", 60)


def test_rare_values_of_one_of_two_attributes_are_told():
    """They are in no group of both."""
    y = np.repeat(CLASSES, 40)
    one = Attribute("metadata:a", np.tile([0, 1], 40), ("p", "q"), few={"metadata:a=r": 3})
    two = Attribute("metadata:b", np.tile([0, 0, 1, 1], 20), ("p", "q"))
    right = np.tile([True, False], 40), np.tile([False, True], 40)
    both = crossed_groups([one, two], y, right, [set(), set()], CLASSES)
    assert "Worst group of values of at least 5 samples: " in groups_sentence(both)
    clear = crossed_groups([replace(one, few={}), two], y, right, [set(), set()], CLASSES)
    assert "Worst group: " in groups_sentence(clear)
