"""ShortcutReader: it reads the part alone, and no sample by a head that has seen it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import LinearHead
from ntkit.estimators import DFRClassifier, GroupInference, ShortcutReader
from ntkit.exceptions import InputError

N, N_FOLDS = 400, 5
SUBJECT = np.arange(N)
FOLDS = SUBJECT % N_FOLDS


def donors(rng, n=N):
    """A donor of the same fold for each sample, of any class, and never the sample itself."""
    return (np.arange(n) + N_FOLDS * rng.integers(1, n // N_FOLDS, n)) % n


def samples(seed=0, n=N, n_classes=2, share=0.9, noise=0.4):
    """Originals with a subject (columns 0 and 1) and a part (2 and 3), copies, y, mark, donor."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    mark = np.where(rng.random(n) < share, y, rng.integers(0, n_classes, n))
    subject = np.column_stack([2 * y, rng.normal(size=n)]) + noise * rng.normal(size=(n, 2))
    part = np.column_stack([3 * mark, rng.normal(size=n)]) + noise * rng.normal(size=(n, 2))
    donor = donors(rng, n)
    return np.hstack([subject, part]), np.hstack([subject, part[donor]]), y, mark, donor


def read(reader, X, copies, y, donor, folds=FOLDS):
    return reader.read(X, y, copies, donor=donor, subject=SUBJECT, folds=folds)


def of_identities(seed=0):
    """Embeddings that hold nothing but which sample the subject is, and which the part."""
    rng = np.random.default_rng(seed)
    y, who = rng.integers(0, 2, N), np.eye(N)
    return who, rng, y


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_part_is_read_and_the_subject_is_not(n_classes):
    X, copies, y, mark, donor = samples(n_classes=n_classes)
    names = np.array(["bird", "cat", "dog"])
    reader = ShortcutReader(random_state=0)
    reading = read(reader, X, copies, names[y], donor)
    assert (reading.values == names[mark]).mean() > 0.98
    np.testing.assert_allclose(reading.probabilities.sum(axis=1), 1)
    most_probable = reader.classes_[reading.probabilities.argmax(axis=1)]
    assert reading.values.tolist() == most_probable.tolist()
    odds = np.exp(reading.log_odds) * reading.probabilities[:, :1]
    np.testing.assert_allclose(odds, reading.probabilities[:, 1:])
    assert reading.balanced_accuracy == reader.balanced_accuracy_ > 0.85
    assert reading.agreement == pytest.approx(reading.balanced_accuracy, abs=0.05)
    assert reading.gap == reading.balanced_accuracy - reading.agreement
    assert reader.reads_
    size = np.abs(reader.coef_ * copies.std(axis=0)).max(axis=0)
    assert size[[0, 1, 3]].max() < 0.15 * size[2]
    assert (reader.predict(X) == names[mark]).mean() > 0.98
    assert isinstance(reader.head_, LinearHead)
    assert reader.head_.classes.tolist() == names[:n_classes].tolist()


def test_a_few_labels_choose_what_is_read_as_a_feature_set():
    """Each of a hundred neurons has a share of the part, and six samples of each group a label."""
    X, copies, y, mark, donor = samples()
    rng = np.random.default_rng(1)
    noise, W = rng.normal(size=(N, 100)), rng.normal(size=(104, 100)) / 10
    Z, of_copies = (np.hstack([each, noise]) @ W for each in (X, copies))
    odds = read(ShortcutReader(random_state=0), Z, of_copies, y, donor).log_odds
    labels = np.full(N, -1)
    for group in range(4):
        rows = np.flatnonzero(2 * y + mark == group)[:6]
        labels[rows] = mark[rows]
    alone = GroupInference(random_state=0).fit(Z, y, labels)
    assert (alone.transduction_ == mark).mean() < 0.92
    inference = GroupInference(random_state=0).fit({"Z": Z, "reader": odds}, y, labels)
    assert inference.feature_set_ == "reader"
    assert (inference.transduction_ == mark).mean() > 0.95


def test_groups_that_are_read_repair_a_head():
    X, copies, y, _, donor = samples(share=0.95, noise=1.0)
    value = read(ShortcutReader(random_state=0), X, copies, y, donor).values
    test, _, truth, other, _ = samples(seed=1, n=4000, share=0.5, noise=1.0)

    def worst(clf):
        right = clf.predict(test) == truth
        return min(right[(truth == c) & (other == v)].mean() for c in (0, 1) for v in (0, 1))

    repaired = DFRClassifier(random_state=0).fit(X, y, attribute=value)
    assert worst(repaired) > worst(DFRClassifier(random_state=0).fit(X, y, groups=y)) + 0.1


def fitted_by_hand(copies, y_donor, alpha, fit):
    """Scikit-learn's optimum on some copies, standardised by all of them."""
    scaler = StandardScaler().fit(copies)
    C = 1 / (alpha * fit.sum())
    clf = LogisticRegression(C=C, class_weight="balanced", tol=1e-10, max_iter=5000)
    return make_pipeline(scaler, clf.fit(scaler.transform(copies[fit]), y_donor[fit]))


@pytest.mark.parametrize("across", [False, True])
def test_heads_are_those_of_scikit_learn_without_the_donor_and_the_subject(across):
    X, copies, y, _, donor = samples(noise=1.5)
    if across:  # copies whose donor and subject are in two folds
        donor = np.random.default_rng(1).permutation(N)
        copies = np.hstack([X[:, :2], X[donor, 2:]])
    reader = ShortcutReader(tol=1e-9, random_state=0)
    reading = read(reader, X, copies, y, donor)
    shares = {0: [], 1: []}
    for k in range(N_FOLDS):
        fit = (k != FOLDS) & (FOLDS[donor] != k)
        held = (k == FOLDS) & (FOLDS[donor] == k)
        head = fitted_by_hand(copies, y[donor], reader.alpha_, fit)
        rows = k == FOLDS
        expected = head.predict_proba(X[rows])
        np.testing.assert_allclose(reading.probabilities[rows], expected, atol=1e-5)
        right = head.predict(copies) == y[donor]
        for one in np.unique(donor[held]):
            shares[y[one]].append(right[held & (donor == one)].mean())
    assert reader.balanced_accuracy_ == pytest.approx(np.mean([*map(np.mean, shares.values())]))
    head = fitted_by_hand(copies, y[donor], reader.alpha_, np.full(N, True))
    np.testing.assert_allclose(reader.predict_proba(X), head.predict_proba(X), atol=1e-5)
    of_classes = [np.mean(reading.values[y == c] == c) for c in (0, 1)]
    assert reading.agreement == pytest.approx(np.mean(of_classes))


@pytest.mark.parametrize("folds", [FOLDS, None])
def test_who_a_sample_is_does_not_help_to_read_it(folds):
    """A head that has seen a sample as a donor knows its class; as a subject, its donor's."""
    who, rng, y = of_identities()
    donor = donors(rng)
    X, copies = np.hstack([who, who]), np.hstack([who, who[donor]])
    reader = ShortcutReader(random_state=0)
    reading = read(reader, X, copies, y, donor, folds)
    seen = np.isin(SUBJECT, donor)
    assert (reader.predict(np.hstack([0 * who, who]))[seen] == y[seen]).mean() > 0.9
    assert reading.agreement == pytest.approx(0.5, abs=0.08)
    assert np.mean(reading.values == y[donor]) == pytest.approx(0.5, abs=0.08)
    assert not reader.reads_


SAME = np.repeat(SUBJECT[:100], 4)


@pytest.mark.parametrize(
    "samples_of",
    [{"donor": SAME}, {"subject": SAME}, {"donor": SUBJECT + 1000, "subject": SAME}],
)
def test_copies_of_one_donor_or_subject_are_in_one_fold(samples_of):
    who, rng, y = of_identities()
    X = np.hstack([who[SAME][:, :100], rng.normal(size=(N, 2))])
    apart = ShortcutReader(alphas=(0.01,), random_state=0).fit(X, y[SAME], **samples_of)
    assert not apart.reads_
    alone = ShortcutReader(alphas=(0.01,), random_state=0).fit(X, y[SAME])
    assert alone.balanced_accuracy_ > 0.9


def test_a_donor_counts_once_however_many_copies_it_is_in():
    rng = np.random.default_rng(0)
    donor = np.concatenate([np.arange(200), np.repeat(np.arange(200, 230), 8), np.full(300, 230)])
    y_donor = (donor >= 200).astype(int)
    looks = np.where(donor == 230, 0, y_donor)  # this donor is mistaken for the other class
    X = np.column_stack([2 * looks, rng.normal(size=len(donor))])
    X += 0.1 * rng.normal(size=X.shape)
    weight = np.where(donor == 230, 1e-3, 1.0)
    reader = ShortcutReader(random_state=0).fit(X, y_donor, weight, donor=donor)
    assert reader.n_donors_.tolist() == [200, 31]
    assert reader.balanced_accuracy_ == pytest.approx((1 + 30 / 31) / 2)
    low, high = reader.balanced_accuracy_interval_
    by_copy = ShortcutReader(random_state=0).fit(X, y_donor, weight)
    assert by_copy.balanced_accuracy_ < reader.balanced_accuracy_
    assert low < reader.balanced_accuracy_ < high <= 1


def test_the_interval_is_over_donors():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [400, 25])
    part = 2.0 * y + rng.normal(size=len(y))
    few = np.concatenate([np.arange(400), rng.integers(400, 425, 400)])

    def width(n_copies):
        donor = np.tile(few, n_copies)
        X = np.column_stack([part[donor], rng.normal(size=len(donor))])
        of_donors = ShortcutReader(random_state=0).fit(X, y[donor], donor=donor)
        of_copies = ShortcutReader(random_state=0).fit(X, y[donor])
        return [np.ptp(r.balanced_accuracy_interval_) for r in (of_donors, of_copies)]

    once, four_times = width(1), width(4)
    assert once[0] > 1.8 * once[1]
    assert four_times[0] == pytest.approx(once[0], rel=0.2)
    assert four_times[1] < 0.6 * once[1]


def test_a_few_donors_that_are_all_right_prove_little():
    y = np.repeat([0, 1], 25)
    reader = ShortcutReader(random_state=0).fit(4.0 * y[:, None], y, donor=np.arange(50))
    assert reader.balanced_accuracy_ == reader.balanced_accuracy_interval_[1] == 1
    assert 0.8 < reader.balanced_accuracy_interval_[0] < 0.97


def test_the_strongest_penalty_within_a_standard_error_is_chosen():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    X = rng.normal(size=(600, 20))
    X[:, :2] += 2 * rng.normal(size=(600, 1))  # the signal is in a direction of little variance
    X[:, 0] += 2 * y
    reader = ShortcutReader(random_state=0).fit(X, y)
    alone = [ShortcutReader(alphas=(alpha,), random_state=0).fit(X, y) for alpha in reader.scores_]
    scores = np.array([each.balanced_accuracy_ for each in alone])
    assert [*reader.scores_] == sorted(reader.alphas, reverse=True)
    assert scores.tolist() == [*reader.scores_.values()]
    low, high = alone[scores.argmax()].balanced_accuracy_interval_
    error = (high - low) / 2 / 1.959964
    good = [each.alpha_ for each in alone if each.balanced_accuracy_ >= scores.max() - error]
    assert reader.alpha_ == max(good) < max(reader.alphas)
    with pytest.raises(InputError, match="alphas must be positive"):
        ShortcutReader(alphas=(0.0, 1.0)).fit(X, y)


def test_a_part_with_nothing_to_read_is_told():
    X, _, y, _, donor = samples(share=0.0)
    reader = ShortcutReader(random_state=0)
    reading = read(reader, X, np.hstack([X[:, :2], X[donor, 2:]]), y, donor)
    low, high = reader.balanced_accuracy_interval_
    assert low < 0.5 < high
    assert not reader.reads_
    assert reading.balanced_accuracy == pytest.approx(0.5, abs=0.08)


def test_something_else_that_is_read_from_originals_makes_a_gap():
    X, copies, y, _, donor = samples(noise=0.2)
    changed = copies.copy()
    changed[:, 2] += 3 * y[donor]  # traces of how the copies were made
    reading = read(ShortcutReader(random_state=0), X - [0, 0, 3, 0], changed, y, donor)
    assert reading.balanced_accuracy > 0.95
    assert reading.gap > 0.2


def test_a_copy_of_weight_zero_is_absent():
    _, copies, y, _, donor = samples(noise=1.5)
    weight = np.where(SUBJECT % 4 == 0, 0.0, 1.0)
    there, samples_of = weight > 0, {"donor": donor, "subject": SUBJECT}
    weighted = ShortcutReader(random_state=0).fit(copies, y[donor], weight, **samples_of)
    some = {name: values[there] for name, values in samples_of.items()}
    absent = ShortcutReader(random_state=0).fit(copies[there], y[donor][there], **some)
    assert weighted.scores_ == absent.scores_
    np.testing.assert_allclose(weighted.coef_, absent.coef_)


def test_a_copy_of_weight_two_counts_twice():
    _, copies, y, _, donor = samples(noise=1.5)
    often = np.where(SUBJECT % 3 == 0, 2, 1)
    weighted = ShortcutReader(tol=1e-9, random_state=0).fit(copies, y[donor], often, donor=donor)
    rows = np.repeat(SUBJECT, often)
    repeated = ShortcutReader(tol=1e-9, random_state=0)
    repeated.fit(copies[rows], y[donor][rows], donor=donor[rows])
    assert weighted.scores_ == pytest.approx(repeated.scores_)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-4, atol=1e-6)


def test_without_donors_each_copy_has_its_own():
    _, copies, y, _, donor = samples(noise=1.5)
    alone = ShortcutReader(random_state=0).fit(copies, y[donor])
    assert alone.n_donors_.tolist() == np.bincount(y[donor]).tolist()
    for named in ({"donor": SUBJECT}, {"subject": SUBJECT[::-1]}):
        reader = ShortcutReader(random_state=0).fit(copies, y[donor], **named)
        assert reader.scores_ == alone.scores_
    twice = np.vstack([copies, copies[:3]])  # with another class
    reader = ShortcutReader(random_state=0).fit(twice, np.append(y[donor], 1 - y[donor][:3]))
    assert reader.n_donors_.sum() == N + 3


def test_identities_may_be_of_any_type():
    _, copies, y, _, donor = samples(noise=1.5)
    fit = ShortcutReader(random_state=0).fit
    numbers = fit(copies, y[donor], donor=donor, subject=SUBJECT).scores_
    for kind in (str, lambda i: ("set", int(i)), lambda i: f"file {i}".encode()):
        other = [[*map(kind, each)] for each in (donor, SUBJECT)]
        named = clone(ShortcutReader(random_state=0)).fit(
            copies, y[donor], donor=other[0], subject=other[1]
        )
        assert named.scores_ == numbers


def test_as_other_estimators_of_scikit_learn():
    pd = pytest.importorskip("pandas")
    X, copies, y, mark, donor = samples()
    columns = ["neck", "beak", "sea", "wood"]
    reader = ShortcutReader(alphas=(0.1, 1.0), min_donors=30, random_state=0)
    again = clone(reader).fit(pd.DataFrame(copies, columns=columns), y[donor])
    assert again.get_params() == reader.get_params()
    assert again.feature_names_in_.tolist() == columns
    assert (again.predict(pd.DataFrame(X, columns=columns)) == mark).mean() > 0.98
    with pytest.raises(ValueError, match="feature names"):
        again.predict(pd.DataFrame(X, columns=columns[::-1]))
    pipeline = make_pipeline(StandardScaler(), clone(reader))
    pipeline.fit(copies, y[donor], shortcutreader__donor=donor)
    assert (pipeline.predict(X) == mark).mean() > 0.98
    assert pipeline.decision_function(X).shape == (N,)
    single = clone(reader).fit(copies.astype(np.float32), y[donor])
    assert single.coef_.dtype == np.float32
    assert single.predict_proba(X).shape == (N, 2)
    one, two = (read(clone(reader), X, copies, y, donor, None) for _ in range(2))
    assert one.probabilities.tolist() == two.probabilities.tolist()


def test_too_few_donors_for_folds():
    X = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])
    reader = ShortcutReader(min_donors=1).fit(X, ["a", "a", "b"])
    assert np.isnan(reader.balanced_accuracy_)
    assert not reader.reads_
    assert reader.alpha_ == 1
    assert reader.predict(X).tolist() == ["a", "a", "b"]


X, COPIES, Y, _, DONOR = samples()
FEW = np.where(SUBJECT < 10, 2, Y)
HALVES = np.where(Y == 1, 0, 1 + SUBJECT % 4)
FIT = [
    ({"y_donor": FEW}, "The class 2 has 10 donors, and 20 are needed; add donors"),
    ({"donor": SUBJECT // 40}, "A donor has copies of two classes in y_donor"),
    ({"donor": DONOR[:9]}, "donor has 9 entries for 400 copies"),
    ({"subject": DONOR[:, None].repeat(2, axis=1)}, "subject must name a sample for each copy"),
    (
        {"donor": DONOR.astype(str), "subject": SUBJECT},
        "donor has texts and subject has numbers; name a sample alike",
    ),
    ({"donor": DONOR, "subject": [*map(str, SUBJECT)]}, "subject has texts and donor has"),
    ({"y_donor": np.zeros(N)}, "y has 1 class"),
]
READ = [
    ({"donor": DONOR - 1}, "donor must have the row of X, from 0 to 399, for each of 400 copies"),
    ({"subject": SUBJECT + 1}, "subject must have the row of X"),
    ({"subject": SUBJECT + 0.5}, "got float64 of shape"),
    ({"donor": DONOR[:9]}, "donor must have the row of X"),
    ({"folds": FOLDS[:9]}, "folds must have 400 whole numbers"),
    ({"folds": 0 * FOLDS}, "pass two folds or more"),
    ({"folds": HALVES}, "Without fold 0 no donor of class 1 remains; add copies"),
    ({"y": FEW}, "The class 2 has . donors, and 20 are needed"),
    ({"X_changed": np.full_like(X, 1e300)}, "X_changed has values up to"),
]


@pytest.mark.parametrize(("changed", "message"), FIT)
def test_copies_that_do_not_fit(changed, message):
    arguments = {"X_changed": COPIES, "y_donor": Y[DONOR]} | changed
    with pytest.raises(InputError, match=message):
        ShortcutReader(random_state=0).fit(**arguments)


@pytest.mark.parametrize(("changed", "message"), READ)
def test_originals_that_do_not_fit(changed, message):
    arguments = {"X": X, "y": Y, "X_changed": COPIES, "donor": DONOR, "subject": SUBJECT}
    with pytest.raises(InputError, match=message):
        ShortcutReader(random_state=0).read(**arguments | changed)
