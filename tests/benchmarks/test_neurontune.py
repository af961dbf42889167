"""NeuronTune by solver and mask: rows are counts, a random mask has the size of the other."""

import pytest

import neurontune


@pytest.fixture(scope="module")
def rows():
    task = neurontune.harmless("breast cancer, turned", seed=0)
    key = {"part": "sets", "data": "breast cancer, turned", "seed": 0, "embeddings": "raw"}
    known = {(name, 0) for name in neurontune.METHODS if "mask" not in name}
    return [key | row for row in neurontune.run(task, "sets", known)]


def test_a_random_mask_has_the_size_of_the_mask(rows):
    (masked,) = [row["n_suppressed"] for row in rows if row["method"] == "sgd, mask"]
    random = [row["n_suppressed"] for row in rows if row["method"] in neurontune.RANDOM]
    assert masked > 0
    assert random == [masked] * (2 * neurontune.N_RANDOM)


def test_without_a_mask_nothing_is_suppressed(rows):
    assert [row["n_suppressed"] for row in rows if "no mask" in row["method"]] == [0, 0]


def test_tables_take_the_worst_class_and_the_mean_over_sets(rows):
    other = [row | {"data": "iris", "hits": [1, 4], "counts": [4, 4]} for row in rows]
    (row,) = [row for row in rows if row["method"] == "sgd, mask"]
    text = neurontune.tables(rows + other).split("##")[1]
    assert "worst class" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| sgd, mask |")]
    first = neurontune.worst(row)
    assert line == f"| sgd, mask | {(first + 25) / 2:.1f} | {first:.1f} | 25.0 |"
