"""What views read: names, values, support, and hostile input."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ntkit._key import Key
from ntkit.attributes import Attribute, columns, metadata, words
from ntkit.attributes.feature_set import Rule, array, values_of
from ntkit.attributes.image_statistics import (
    OF_COLOUR,
    STATISTICS,
    image_statistics,
    measured,
    statistics_of_image,
)
from ntkit.attributes.named import attribute_named
from ntkit.attributes.word_lists import holding
from ntkit.exceptions import InputError


def names_of(feature_set):
    return [name for block in feature_set.blocks() for name in block.names]


def test_values_are_those_of_the_blocks():
    feature_set = columns({"a": list("xyxy") * 5, "b": [None, "z", "w", "w"] * 5})
    for block in feature_set.blocks():
        for i, name in enumerate(block.names):
            assert feature_set.values(name).tolist() == block.column(i).tolist()
    assert feature_set.values("column:b=w").tolist()[:4] == [-1, 0, 1, 1]
    with pytest.raises(InputError, match="did you mean 'column:b=w'"):
        feature_set.values("column:b=W")


# -- words ------------------------------------------------------------------------------------


def test_words_against_a_search():
    rng = np.random.default_rng(0)
    texts = [
        " ".join(rng.choice(["Film", "movie", "bad", "<html>", "</td>"], 3)) for _ in range(60)
    ]
    feature_set = words(texts)
    assert set(names_of(feature_set)) == {"word:film", "word:movie", "word:bad", "word:<html"}
    for word in ("film", "movie", "bad", "<html"):
        expected = [word in text.lower() for text in texts]
        assert feature_set.values(f"word:{word}").astype(bool).tolist() == expected


def test_a_word_that_stands_in_one_phrase_makes_the_phrase_an_attribute():
    texts = [
        f"my report {'from' if i % 3 else 'of'} the office {'. Sent from my iPhone' * (i % 2)}"
        for i in range(200)
    ]
    sets = words(texts)
    phrases = [name for name in names_of(sets) if " " in name]
    assert phrases == ["word:sent from my iphone"]
    assert sets.values(phrases[0]).tolist() == [i % 2 for i in range(200)]
    # In other company nearly as often, a word is not part of a phrase.
    mixed = [text.replace("my iPhone", "our phones") if i % 8 == 1 else text
             for i, text in enumerate(texts)]  # fmt: skip
    assert "word:sent from my iphone" in names_of(words(mixed))  # of "iphone"
    assert words(mixed).values("word:sent").sum() > words(mixed).values("word:iphone").sum()
    apart = [text.replace("from my", "from your") if i % 4 == 1 else text
             for i, text in enumerate(texts)]  # fmt: skip
    assert "word:sent from my iphone" not in names_of(words(apart))


def test_rare_and_common_words_are_left_out():
    texts = ["the rare film"] * 5 + ["the film"] * 495 + ["the movie"] * 500
    assert names_of(words(texts)) == ["word:film", "word:movie"]
    texts = ["the odd film"] * 10 + ["the film"] * 490 + ["the movie"] * 500
    assert "word:odd" in names_of(words(texts))


def test_texts_without_words():
    assert names_of(words([""] * 20)) == []
    assert names_of(words(["a", "!"] * 20)) == []


def test_long_texts():
    long = "x" * 300_000 + " film " + "word " * 50_000
    feature_set = words([long, "movie"] * 5)
    assert feature_set.values("word:film").sum() == 5
    assert max(map(len, names_of(feature_set))) < 50


# -- columns ----------------------------------------------------------------------------------


def test_numbers_are_cut_at_quantiles_of_their_own_values():
    age = np.random.default_rng(0).integers(17, 90, 1000)
    feature_set = columns({"age": age})
    for name in names_of(feature_set):
        cut = int(name.removeprefix("column:age>="))
        assert cut in age
        assert (feature_set.values(name) == (age >= cut)).all()
    assert len(names_of(feature_set)) == 5
    assert names_of(columns({"age": age.astype(str)})) == names_of(feature_set)


def test_a_number_that_most_samples_have_is_an_attribute():
    gain, hours = np.r_[np.zeros(90), np.arange(1, 31)], np.r_[np.full(50, 40), np.arange(70)]
    found = columns({"gain": gain, "hours": hours})
    assert [name for name in names_of(found) if "=" in name.replace(">=", "")] == ["column:gain=0"]
    assert (values_of([found], "column:gain=0") == (gain == 0)).all()
    assert (attribute_named("column:gain=0", table={"gain": gain}) == (gain == 0)).all()


def test_missing_is_not_no():
    feature_set = columns({"a": [np.nan] * 10 + [1.5, 2.5] * 10, "b": [""] * 10 + ["x", "y"] * 10})
    for name in ("column:a=1.5", "column:b=x"):
        assert feature_set.values(name).tolist() == [-1] * 10 + [1, 0] * 10
    for name in ("column:a missing", "column:b missing"):
        assert feature_set.values(name).tolist() == [1] * 10 + [0] * 20


def test_constant_empty_and_odd_columns():
    n = 40
    table = {
        "constant": ["a"] * n,
        "empty": [None] * n,
        "nan": np.full(n, np.nan),
        "infinite": [np.inf, -np.inf] * (n // 2),
        "flags": np.tile([True, False], n // 2),
        "mixed": [1, "a"] * (n // 2),
    }
    assert names_of(columns(table)) == [
        "column:infinite=-inf",
        "column:infinite=inf",
        "column:flags=False",
        "column:flags=True",
        "column:mixed=1",
        "column:mixed=a",
    ]


def test_many_distinct_values():
    n = 40_000
    tracemalloc.start()
    assert names_of(columns({"id": [f"id{i}" for i in range(n)]})) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 26


def test_long_categories_keep_apart():
    one, two = "x" * 5000 + "1", "x" * 5000 + "2"
    feature_set = columns({"a": [one, two] * 10})
    first, second = names_of(feature_set)
    assert first != second
    assert len(second) < 100
    assert (feature_set.values(first) + feature_set.values(second) == 1).all()


def test_data_frames():
    frame = pd.DataFrame({"sex": ["f", "m", None, "f"] * 10, "n": pd.array([1, None] * 20)})
    frame["kind"] = frame["sex"].astype("category")
    feature_set = columns(frame)
    assert feature_set.values("column:sex=f").tolist()[:4] == [1, 0, -1, 1]
    assert feature_set.values("column:kind=f").tolist()[:4] == [1, 0, -1, 1]
    assert feature_set.values("column:n missing").tolist()[:2] == [0, 1]


# -- metadata ---------------------------------------------------------------------------------


def test_metadata_of_half_of_the_samples():
    ids = [f"pictures/{i}.png" for i in range(100)]
    table = {"file_name": ids[50:], "site": ["A", "B"] * 25, "date": list(range(50))}
    feature_set = metadata(table, ids)
    site = feature_set.values("metadata:site=A")
    assert (site[:50] == -1).all()
    assert site[50:].tolist() == [1, 0] * 25
    assert feature_set.values("metadata:site missing").tolist() == [1] * 50 + [0] * 50


def test_names_are_matched_whatever_their_accents_are_made_of():
    ids = ["caf\u00e9.png", "b.png"] * 1
    table = {"file_name": ["cafe\u0301.png", "b.png"], "site": ["A", "B"]}
    rows = metadata(table, ids)
    assert rows.n_samples == 2


# -- arrays and images ------------------------------------------------------------------------


def test_quarters_of_an_array():
    X = np.random.default_rng(0).normal(size=(400, 3))
    feature_set = array(X, kind="embedding")
    assert len(names_of(feature_set)) == 9
    assert not feature_set.exact
    assert feature_set.values("embedding #2 low").sum() == pytest.approx(100, abs=2)
    assert (feature_set.values("embedding #1 high") == (X[:, 1] >= np.sort(X[:, 1])[300])).all()


@pytest.mark.parametrize("share", [0.07, 0.3, 0.5, 0.9])
def test_numbers_of_two_groups_are_cut_between_them(share):
    """Whatever the share of samples with a bright border, these and no others are high."""
    rng = np.random.default_rng(0)
    bright = rng.permutation(1000) < 1000 * share
    X = np.stack([np.where(bright, 0.7, 0.2) + rng.normal(scale=0.04, size=1000)] * 2, axis=1)
    X[:, 1] = rng.normal(size=1000)
    rows = array(X, kind="input")
    names = [name for block in rows.blocks() for name in block.names]
    assert [name for name in names if name.startswith("input #0")][-1] == "input #0 high"
    assert "input #0 low" not in names  # it says the same
    assert {f"input #1 {what}" for what in ("low", "above the median", "high")} <= {*names}
    assert np.array_equal(rows.values("input #0 high"), bright)
    assert np.array_equal(rows.values("input #0 low"), ~bright)
    assert rows.values("input #0 above the median").mean() == 0.5
    assert rows.values("input #1 high").mean() == 0.25
    rule = Rule.from_dict(rows.rule("input #0 high").as_dict())
    other = np.where(bright, 0.5, 0.4)[:, None]  # at the same place in other samples
    assert np.array_equal(rule.values(np.hstack([other, other])), bright)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_numbers_between_two_modes_are_unknown(share):
    rng = np.random.default_rng(0)
    bright = rng.permutation(2000) < 2000 * share
    X = (np.where(bright, 5.0, 0.0) + rng.normal(size=2000))[:, None]
    rows = array(X, kind="input")
    high, low = rows.values("input #0 high"), rows.values("input #0 low")
    known = high >= 0
    assert 0.005 < np.mean(~known) < 1 / 3
    assert np.array_equal(low, np.where(known, 1 - high, -1))
    assert np.mean(high[known] == bright[known]) > 0.998 > np.mean((X[:, 0] > 2.5) == bright)
    (block,) = (block for block in rows.blocks() if "input #0 high" in block.names)
    assert np.array_equal(block.column(block.names.index("input #0 high")), high)
    rule = rows.rule("input #0 high")
    kept = Rule.from_dict(json.loads(json.dumps(rule.as_dict())))
    assert kept.is_like(rule)
    assert np.array_equal(kept.values(X), high)
    former = {key: value for key, value in rule.as_dict().items() if key != "margin"}
    assert (Rule.from_dict(former).values(X) >= 0).all()  # kept before values could be unknown
    for margin in (-1, float("inf"), "wide"):
        assert Rule.from_dict(former | {"margin": margin}) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [(0.3, 0.1 + 0.2), (np.float32(0.3), np.nextafter(np.float32(0.3), np.float32(1))),
     (False, True), (np.int8(-128), np.int8(127)), (-999.0, 5e-324), (1e300, 1.1e300)],
)  # fmt: skip
def test_two_values_are_two_groups_however_near_or_far(one, other):
    high = np.random.default_rng(0).random(500) < 0.4
    rows = array(np.where(high, other, one)[:, None], kind="input")
    assert np.array_equal(rows.values("input #0 high"), high)


@pytest.mark.parametrize("end", [np.inf, -np.inf])
def test_numbers_without_an_end_have_quantiles(end):
    X = np.append(np.random.default_rng(0).normal(size=500), [end] * 20)[:, None]
    assert 0.2 < array(X, kind="input").values("input #0 high").mean() < 0.3


@pytest.mark.parametrize("draw", ["normal", "random", "exponential", "lognormal"])
def test_numbers_of_one_group_have_no_gap(draw):
    rng = np.random.default_rng(0)
    rows = array(getattr(rng, draw)(size=(1000, 20)), kind="input")
    for block in rows.blocks():
        assert np.allclose(block.values.mean(axis=0), np.tile([0.25, 0.5, 0.25], 20), atol=0.002)


def test_arrays_with_holes_and_constants():
    X = np.ones((100, 2))
    X[:50, 1] = np.nan
    assert names_of(array(X)) == []
    X[50:, 1] = np.arange(50)
    assert (array(X).values("array #1 high")[:50] == -1).all()


def test_picture_statistics_mean_what_they_say():
    def statistic(name, image):
        return statistics_of_image(image)[STATISTICS.index(name)]

    grey = np.full((8, 12), 128, dtype=np.uint8)
    red = np.zeros((8, 12, 3), dtype=np.uint8)
    red[:, :, 0] = 255
    checks = np.indices((8, 12)).sum(0) % 2 * 255
    framed = grey.copy()
    framed[[0, -1]] = framed[:, [0, -1]] = 255
    assert statistic("brightness", grey) == pytest.approx(128 / 255)
    assert statistic("contrast", grey) == statistic("sharpness", grey) == 0
    assert statistic("sharpness", checks) > statistic("contrast", checks) > 0
    assert statistic("colourfulness", red) > statistic("colourfulness", grey)
    assert statistic("redness", red) > 0 > statistic("blueness", red)
    assert statistic("border brightness", framed) > statistic("brightness", framed)
    assert statistic("size", grey) == 96
    assert statistic("aspect ratio", grey) == 1.5
    np.testing.assert_allclose(
        statistics_of_image(red), statistics_of_image(red.astype(np.float32) / 255), rtol=1e-6
    )
    transparent = np.asarray(Image.new("RGBA", (5, 4), (10, 20, 30, 0)))
    assert np.isfinite(statistics_of_image(transparent)).all()
    assert np.isfinite(statistics_of_image(np.ones((1, 1)))).all()


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((240, 110, 20), "orange"),
        ((250, 180, 90), "orange"),
        ((200, 20, 20), "red"),
        ((250, 235, 40), "yellow"),
        ((40, 140, 40), "green"),
        ((10, 20, 110), "blue"),
        ((160, 205, 245), "blue"),
        ((120, 30, 150), "purple"),
        ((250, 170, 200), "pink"),
        ((100, 60, 20), "brown"),
        ((130, 128, 126), None),
        ((12, 10, 10), None),
        ((250, 250, 246), None),
    ],
)
def test_colours_have_the_names_that_people_use(colour, name):
    """A framed grey image has a share of the frame's colour, which is the whole border."""
    image = np.full((20, 20, 3), 128, np.uint8)
    image[[0, -1]] = image[:, [0, -1]] = colour
    found = dict(zip(STATISTICS, statistics_of_image(image), strict=True))
    colours = [each for each in found if f"border {each}" in found and each != "brightness"]
    assert len(colours) == 8
    for each in colours:
        assert found[f"border {each}"] == (each == name)
        assert (found[each] > 0) == (each == name)


def test_grey_images_have_no_colours_and_rare_colours_are_not_tested():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (300, 12, 12)).astype(np.uint8)
    framed = np.repeat(grey[..., None], 3, axis=3)
    framed[:150, [0, -1]] = framed[:150, :, [0, -1]] = (240, 110, 20)
    framed[150:154, [0, -1]] = framed[150:154, :, [0, -1]] = (20, 40, 200)  # four images

    def colours(images):
        return {
            n
            for n in names_of(image_statistics(measured(images, 300)[0]))
            if Key.of(n).origin in OF_COLOUR
        }

    assert colours(grey) == colours(np.repeat(grey[..., None], 3, axis=3)) == set()
    assert colours(framed)
    assert {Key.of(name).what.split()[-1] for name in colours(framed)} == {"orange"}
    assert colours((framed / 255 - 0.4) / 0.2) == set()  # without black and white
    light = rng.integers(180, 220, (40, 40, 3)).astype(np.uint8)
    assert statistics_of_image(light)[-len(OF_COLOUR) :].max() < 0.02  # noise


def test_a_mark_is_in_the_part_that_is_named():
    """Wherever a bright mark is put, its ninth is the brightest; equal ninths make the whole."""
    first = STATISTICS.index("top left brightness")
    ninths = STATISTICS[first : first + 9]
    rng = np.random.default_rng(0)
    for place, name in enumerate(ninths):
        image = rng.uniform(0.2, 0.4, (9, 12))
        row, column = divmod(place, 3)
        image[3 * row + 1, 4 * column + 1] = 1.0
        found = statistics_of_image(image)
        parts = found[first : first + 9]
        assert ninths[int(parts.argmax())] == name
        assert parts.mean() == pytest.approx(found[STATISTICS.index("brightness")], abs=1e-6)


@pytest.mark.parametrize("shape", [(16, 24), (20, 28), (5, 3), (1, 1)])
def test_a_cell_is_counted_from_the_top_left(shape):
    first = STATISTICS.index("row 1 column 1 of 8 brightness")
    image = np.random.default_rng(0).uniform(0.2, 0.4, shape)
    cells = statistics_of_image(image)[first : first + 64]
    assert np.isfinite(cells).all()
    if min(shape) >= 8:
        row, column = 6 * shape[0] // 8, 2 * shape[1] // 8  # the first pixel of row 7, column 3
        image[row, column] = 1.0
        other = statistics_of_image(image)[first : first + 64]
        at = STATISTICS.index("row 7 column 3 of 8 brightness") - first
        assert np.flatnonzero(other != cells).tolist() == [at]
    if shape == (16, 24):
        assert cells.mean() == pytest.approx(image.mean(), abs=0.01)


def crossed(y, attributes):
    first, *others = (Attribute.from_labels(name, values) for name, values in attributes.items())
    return first.crossed(y, *others).labels


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: words(["a text", None]), r"texts\[1\] is None"),
        (lambda: columns({"a": [1, 2], "b": [1]}), "one shape"),
        (lambda: columns({"a": np.ones((2, 2))}), "one shape"),
        (lambda: columns(np.ones((2, 2))), "DataFrame or a mapping"),
        (lambda: metadata({"name": ["a"]}, ["a"]), "no column 'file_name'"),
        (lambda: metadata({"file_name": ["a", "a"], "site": [1, 2]}, ["a"]), "twice"),
        (lambda: metadata({"file_name": ["a"], "site": [1]}, ["b"]), "None of the 1 samples"),
        (lambda: array([["a"]]), "matrix of numbers"),
        (lambda: array(np.ones((5, 2)), names=["a"]), "2 columns and 1 names"),
        (lambda: measured(np.ones((10, 4, 4)), 11), "10 images for 11"),
        (lambda: measured(np.ones((10, 4, 4)), 9), "more images for 9"),
        (lambda: measured([np.ones(3)], 1), "shape"),
        (lambda: crossed([0, 1], {"a": [1]}), "attribute 'a' has 1 labels"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_codes_are_called_as_they_are_written():
    few = np.array(["01234", "0815", "10115"] * 40, dtype=object)
    many = np.array([f"{i:03d}" for i in range(60)] + ["007"] * 90, dtype=object)
    for cells, name in ((few, "column:a=01234"), (many, "column:a=007")):
        feature_set = columns({"a": cells, "b": np.where(cells == cells[0], "", cells)})
        assert name in names_of(feature_set)
        expected = (cells == name.rpartition("=")[2]).astype(int).tolist()
        assert feature_set.values(name).tolist() == expected
    assert "column:b=0815" in names_of(columns({"b": np.where(few == "01234", "NA", few)}))
    assert {"column:a=1", "column:a=2"} <= {*names_of(columns({"a": ["1.0", "2.0"] * 20}))}


# -- groups ------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), min_size=1))
def test_same_group_means_same_labels(rows):
    y, a, b = zip(*rows, strict=True)
    groups = crossed(y, {"a": a, "b": b})
    for i, row in enumerate(rows):
        for j, other in enumerate(rows):
            assert (groups[i] == groups[j]) == (row == other)


@pytest.mark.parametrize(
    ("texts", "word", "held"),
    [
        (["यह कम है", "यह कमी है", "कमरा"], "कम", [1, 0, 0]),  # vowel signs belong to the letter
        (["कम दाम", "कमी दाम"], "कम दाम", [1, 0]),
        (["great😀", "x 😀 y", "none"], "😀", [1, 1, 0]),
        (["这电影好", "电影,坏", "戏"], "电影", [1, 1, 0]),  # no spaces between words
        (["ฉันรักหนัง", "หนังสือ", "รัก"], "หนัง", [1, 1, 0]),
        (["这film好", "films", "a film"], "film", [1, 0, 1]),
        (["naïve café", "cafés", "cafe\u0301!"], "café", [1, 0, 1]),
        (["e\u0301te", "ete"], "ete", [0, 1]),
        (["a <b>film</b>", "filmé", "<film"], "film", [1, 0, 0]),
        (["I don’t", "I don't", "DONʼT", "dont"], "don't", [1, 1, 1, 0]),
        (["I don’t", "I don't", "donʼt", "dont"], "don’t", [1, 1, 1, 0]),
        (["donʼt", "don’t", "dona"], "don", [1, 1, 0]),  # as an audit lists it
        (["great!", "a! b", "no"], "!", [1, 1, 0]),
        (["5%", "% x", "5"], "%", [1, 1, 0]),
        (["1<2", "<b>x</b>", "12"], "<", [1, 1, 0]),
        (["I <3 it", "x<3", "<30", "3"], "<3", [1, 1, 0, 0]),
    ],
)
def test_a_word_ends_where_its_script_says_so(texts, word, held):
    found, _ = holding(texts, word)
    assert found.tolist() == held


def test_words_of_all_scripts_are_counted_as_they_are_found():
    texts = ["यह कम है 这电影好", "कमी 电影 naïve", "film है รักหนัง x1", "donʼt", "don’t"] * 10
    (block,) = words(texts).blocks()
    assert {"word:कम", "word:कमी", "word:电影", "word:naïve", "word:don"} <= {*block.names}
    assert "word:是" not in block.names
    for at, name in enumerate(block.names):
        found, _ = holding(texts, name.removeprefix("word:"))
        assert block.column(at).tolist() == found.tolist(), name
