"""NeuronTune by solver and mask: rows are counts, a random mask has the size of the other."""

import pytest

import neurontune
import neurontune_tables
import rows as rows_file


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


# -- the pages and the file of rows


@pytest.fixture(scope="module")
def kept():
    return rows_file.read()


def pages(rows):
    """The pages with the tables of these rows."""
    made = {}
    for page, parts in neurontune_tables.page_tables(rows).items():
        text = (rows_file.FOLDER / page).read_text(encoding="utf-8")
        made[page] = text, neurontune_tables.with_tables(text, parts, neurontune_tables.MARKER)
    return made


def test_the_pages_are_made_of_the_rows(kept):
    for page, (now, made) in pages(kept).items():
        assert now == made, f"{page}: run benchmarks/neurontune_tables.py"


SHOWN = [
    ("sets", "TuxScenes", "sgd, mask"),
    ("sets", "Waterbirds, official", "optimum, mask"),
    ("sets", "Adult", "the default"),
    ("sets", "iris", "optimum, no mask"),
    ("half", "Waterbirds, official", "sgd, random"),
    ("fine-tuned", "Waterbirds, fine-tuned, official", "sgd, no mask"),
    ("fine-tuned", "Waterbirds, fine-tuned, official", "half, sgd, mask"),
    ("settings", "Waterbirds, official", "mask, head C = 1, batch 32, rate 0.001"),
]


@pytest.mark.parametrize(("part", "data", "method"), SHOWN)
def test_another_cell_of_the_rows_is_another_page(kept, part, data, method):
    key = {"part": part, "data": data, "method": method, "embeddings": "raw"}
    other = [dict(row) for row in kept]
    row = next(row for row in other if all(row[name] == value for name, value in key.items()))
    row["hits"] = [0, *row["hits"][1:]]
    assert any(now != made for now, made in pages(other).values())


def test_the_mask_is_worth_what_the_page_says_on_waterbirds(kept):
    """With the better head that errs 12 points or more, with the other 9; random masks nothing."""
    some = [row for row in kept if row["part"] == "settings"]
    for C, least, gain in (("1", 70, 12), ("0.01", 67, 9)):
        for end in (
            f"head C = {C}, batch {b}, rate {r}" for b in (32, 128) for r in ("0.001", "0.0001")
        ):
            mean = {
                name: sum(v) / len(v)
                for name in ("mask", "no mask", "random")
                if (v := [rows_file.worst(r) for r in some if r["method"] == f"{name}, {end}"])
            }
            assert mean["mask"] > least
            assert mean["mask"] - mean["no mask"] > gain
            assert abs(mean["random"] - mean["no mask"]) < 5
