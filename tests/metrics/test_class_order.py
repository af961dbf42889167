"""Another order of the classes is told where it is one, and never of a merely bad model."""

import numpy as np
import pytest

from ntkit.exceptions import InputError
from ntkit.metrics.class_order import class_order, order_notes


def predictions(y, order, accuracy, rng, n_classes):
    """A model of some accuracy whose position i is really class order[i]."""
    really = np.where(rng.random(len(y)) < accuracy, y, rng.integers(0, n_classes, len(y)))
    return np.argsort(order)[really]


@pytest.mark.parametrize("n_classes", [2, 3, 10, 100])
def test_a_permutation_is_found_and_named(rng, n_classes):
    y = rng.integers(0, n_classes, 60 * n_classes)
    order = np.roll(np.arange(n_classes), 1)
    found = class_order(y, predictions(y, order, 0.9, rng, n_classes), np.arange(n_classes))
    assert found.classes.tolist() == order.tolist()
    assert found.accuracy < 0.2
    assert found.permuted_accuracy > 0.85
    if n_classes == 3:
        assert "{0: 2, 1: 0, 2: 1}" in found.sentence()
        assert "--classes 2,0,1" in found.sentence()


def test_two_swapped_classes_among_ten_are_found(rng):
    y = rng.integers(0, 10, 2000)
    order = np.arange(10)
    order[[3, 7]] = [7, 3]
    found = class_order(y, predictions(y, order, 0.9, rng, 10), np.arange(10))
    assert found.moved == (3, 7)
    assert found.classes.tolist() == order.tolist()


def test_names_are_said_as_they_are(rng):
    names = np.asarray(["negative", "neutral", "positive"])
    y = rng.integers(0, 3, 300)
    with pytest.raises(InputError, match=r"0: 'positive'.*--classes positive,negative,neutral"):
        order_notes(names[y], names[predictions(y, [2, 0, 1], 0.9, rng, 3)], names, strict=True)


@pytest.mark.parametrize("n_classes", [2, 3, 10, 50])
@pytest.mark.parametrize("n", [4, 20, 200, 3000])
def test_models_that_know_nothing_are_not_stopped(rng, n_classes, n):
    for _ in range(10):
        y, guessed = rng.integers(0, n_classes, (2, n))
        assert class_order(y, guessed, np.arange(n_classes)) is None
    assert class_order(y, np.zeros(n, int), np.arange(n_classes)) is None


def test_biased_models_are_not_stopped(rng):
    """Two classes, and a shortcut that leads astray on most samples."""
    y = rng.integers(0, 2, 5000)
    for accuracy in (0.32, 0.42, 0.52, 0.72):
        wrong = rng.random(5000) > accuracy
        assert order_notes(y, np.where(wrong, 1 - y, y), [0, 1], strict=True) == []


def test_one_class_that_is_always_taken_for_another_is_no_permutation(rng):
    y = rng.integers(0, 3, 3000)
    assert class_order(y, np.where(y == 0, 1, y), [0, 1, 2]) is None
    assert class_order(np.zeros(3000, int), np.ones(3000, int), [0, 1, 2]) is None


def test_a_handful_of_samples_proves_nothing():
    y = np.tile([0, 1], 10)
    assert class_order(y, 1 - y, [0, 1]) is None
    assert class_order(y[:0], y[:0], [0, 1]) is None
    assert class_order(np.tile(y, 5), 1 - np.tile(y, 5), [0, 1]) is not None


def test_samples_of_other_classes_do_not_count(rng):
    y = rng.integers(0, 2, 400)
    labels = np.asarray(["a", "b", "other"])[np.where(np.arange(400) % 4 == 0, 2, y)]
    assert class_order(labels, np.asarray(["b", "a"])[y], ["a", "b"]).n_samples == 300
    with pytest.raises(InputError, match="400 labels, but 3 predictions"):
        class_order(labels, ["a"] * 3, ["a", "b"])
