"""An attribute by its name: what the audit's view gives, and on samples that it never saw."""

from datetime import UTC, datetime, timedelta, timezone
from unicodedata import normalize

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit import audit
from ntkit._join import in_order, pooled
from ntkit.attributes import columns, metadata, words
from ntkit.attributes.image_statistics import image_statistics, measured
from ntkit.attributes.named import attribute_named, column_notes
from ntkit.exceptions import InputError

TOKENS = ["Film", "movie", "<b>", "</b>", "not", "good", "ÉTÉ", "3d", "a", "!"]
CELLS = ["a", "b=c", " padded ", "", "3", "3.0", "x" * 70, ">=5"]


def names_of(feature_set):
    return [name for block in feature_set.blocks() for name in block.names]


def same_as_the_view(feature_set, **inputs):
    names = names_of(feature_set)
    for name in names:
        assert attribute_named(name, **inputs).tolist() == feature_set.values(name).tolist(), name
    return names


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.sampled_from(TOKENS), max_size=6), min_size=10, max_size=40))
def test_words_are_those_of_the_view(lists):
    texts = [" ".join(tokens) for tokens in lists]
    same_as_the_view(words(texts), texts=texts)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from(CELLS), min_size=12, max_size=40),
    st.lists(
        st.one_of(st.none(), st.integers(-3, 12), st.floats(-1e9, 1e9)), min_size=40, max_size=40
    ),
)
def test_columns_and_metadata_are_those_of_the_view(cells, numbers):
    table = {"kind": cells, "kind of": cells[::-1], "n": numbers[: len(cells)]}
    same_as_the_view(columns(table), table=table)
    same_as_the_view(metadata(table), metadata=table)


def test_cuts_that_agree_in_six_digits():
    values = 1e6 + np.arange(40) / 100
    names = same_as_the_view(columns({"x": values}), table={"x": values})
    assert len(set(names)) == 3


def test_metadata_by_name_and_pictures():
    ids = [f"{i}.png" for i in range(40)]
    table = {"file_name": ids[10:], "site": ["A", "B"] * 15}
    names = same_as_the_view(metadata(table, ids), metadata=in_order(table, ids, "file_name"))
    assert names == ["metadata:site=A", "metadata:site=B", "metadata:site missing"]
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 255, (40, 6, 6, 3)).astype(np.uint8))
    of_images = image_statistics(measured(images, 40)[0])
    assert len(same_as_the_view(of_images, images=of_images)) > 20


def test_what_an_audit_found_is_read_on_its_own_samples():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    film = np.where(rng.random(400) < 0.9, y, 1 - y)
    texts = [f"<p>a {'Film' if f else 'movie'}</p>" for f in film]
    table = {"age": np.where(film, 50.5, 20) + rng.random(400)}
    found = audit(y, film, texts=texts, table=table)
    suspected = [n for s in found.findings for n in (s.name, *s.same, *s.opposed)]
    assert "word:film" in suspected
    assert any(">=" in name for name in suspected)
    for name in suspected:
        read = attribute_named(name, texts=texts, table=table)
        assert read.tolist() == found.values(name).tolist()


# -- other samples ----------------------------------------------------------------------------


def test_other_samples():
    assert attribute_named("word:film", texts=["film"] + ["x"] * 999).sum() == 1  # rare
    assert attribute_named("word:<html", texts=["<HTML lang='en'>", "html"]).tolist() == [1, 0]
    texts = ["a Not</b> good", "good not", "knot goods"]
    assert attribute_named("word:not good", texts=texts).tolist() == [1, 0, 0]
    table = {"age": [3, 41, None, 39.5], "sex": ["F", "M", "F", " "]}
    assert attribute_named("column:age>=40", table=table).tolist() == [0, 1, -1, 0]
    assert attribute_named("column:age>=-1e3", table=table).tolist() == [1, 1, -1, 1]
    assert attribute_named("column:age=3.0", table=table).tolist() == [1, 0, -1, 0]
    assert attribute_named("column:age missing", table=table).tolist() == [0, 0, 1, 0]
    assert attribute_named("column:sex=F", table=table).tolist() == [1, 0, 1, -1]
    # A cell without a number in another file does not change the others.
    assert attribute_named("column:x>=2", table={"x": ["1", "n/a", "3"]}).tolist() == [0, -1, 1]
    assert attribute_named("column:x=3", table={"x": ["1", "n/a", "3.0"]}).tolist() == [0, -1, 1]


SEVEN = {name: [0] for name in [*"abcdef", "year_income_in_currency_of_1990"]}


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("word:flim", {"texts": ["a film", "b"]}, "None of the 2 texts.*did you mean 'word:film'"),
        (
            "word:zzz",
            {"texts": ["a film"]},
            "None of the 1 texts has 'word:zzz' as a word of its own\\.",
        ),
        ("column:sx=F", {"table": {"sex": ["F"]}}, "no column 'sx'.*did you mean 'sex'"),
        ("column:sex=f", {"table": {"sex": ["F", "M"]}}, "did you mean 'column:sex=F'"),
        ("column:sex=Q", {"table": {"sex": ["F", "M"]}}, "it has 'F', 'M'"),
        ("column:sex>=3", {"table": {"sex": ["F", "M"]}}, "no number"),
        ("column:age>=x", {"table": {"age": [1, 2]}}, "which is not a number"),
        (
            "column:day>=2026-11-30",
            {"table": {"day": ["2026-11-30", "30.11.2026", "1.12.2026"]}},
            "cells such as '(30.11|1.12).2026', which are not read as dates. Write all dates such",
        ),
        ("column:age", {"table": {"age": [1, 2]}}, "write column:age=VALUE"),
        ("column:a=" + "x" * 59 + "…", {"table": {"a": ["x" * 70, "x" * 80]}}, "in full"),
        ("metadata:site=B", {"texts": ["a"]}, "needs metadata, and these samples have word:"),
        ("wrod:film", {"texts": ["a film"]}, "did you mean word:film"),
        ("layer:relu #3", {"texts": ["a film"]}, "cannot be read from raw inputs"),
        ("film", {}, "cannot be read from raw inputs"),
        ("film", {"texts": ["a film"]}, "did you mean 'word:film'"),
        ("flim", {"texts": ["a film"]}, "did you mean 'word:film'"),
        ("sex_male", {"table": {"age": [1], "sex_male": [0]}}, "did you mean 'column:sex_male'"),
        ("sex=F", {"table": {"sex": ["F"]}}, "did you mean 'column:sex=F'"),
        ("site", {"texts": ["a"], "metadata": {"site": ["B"]}}, "did you mean 'metadata:site'"),
        ("top left brightness low", {"images": []}, "mean 'image:top left brightness low'"),
        ("contrast", {"images": []}, "did you mean 'image:contrast high'"),
        ("zzz", {"table": {"sex": ["F"]}}, "there are 'column:sex'"),
        (
            "column:income=1",
            {"table": SEVEN},
            r"the columns are 'year_income_in.*, 'c', .*, 'f'\.",
        ),
        ("column:sex=zz", {"table": {"sex": list("ABCDEFGH")}}, "it has 'A'.*'H'"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_nearest_name(name, inputs, message):
    with pytest.raises(InputError, match=message):
        attribute_named(name, **inputs)


def test_words_are_found_in_any_unicode_form():
    """macOS writes é as e and an accent."""
    texts = [normalize(form, "un café") for form in ("NFC", "NFD")] * 10 + ["un cafe"] * 20
    for form in ("NFC", "NFD"):
        found = attribute_named(normalize(form, "word:café"), texts=texts)
        assert found.tolist() == [1] * 20 + [0] * 20
    named = {name for block in words(texts).blocks() for name in block.names}
    assert {"word:café", "word:cafe"} <= named


@pytest.mark.parametrize("cell", ["40,5", "1,200", ">70"])
def test_a_threshold_takes_no_cells_that_are_almost_numbers(cell):
    """They would be left out as unknown, and the others are not a random part."""
    values = np.array(["40", "41", "39", "unknown", ""] * 4 + [cell], dtype=object)
    with pytest.raises(InputError, match="cells such as"):
        attribute_named("column:age>=40", table={"age": values})
    known = attribute_named("column:age>=40", table={"age": values[:-1]})
    assert known.tolist() == [1, 1, 0, -1, -1] * 4


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["1.9", "1.10"], ["column:v=1.10", "column:v=1.9"]),
        (["3.2", "3.20", "4"], ["column:v=3.2", "column:v=3.20", "column:v=4"]),
        (["1.50", "2.25"], ["column:v=1.5", "column:v=2.25"]),
        (["1.5", "2.25", "3"], ["column:v=1.5", "column:v=2.25", "column:v=3"]),
        (["1.0", "2.5", "3.25"], ["column:v=1", "column:v=2.5", "column:v=3.25"]),
    ],
)
def test_versions_keep_their_spelling(cells, names):
    """Decimals of different length, one of which ends with 0, are versions."""
    (block,) = columns({"v": cells * 20}).blocks()
    assert [*block.names] == names


@pytest.mark.parametrize("kind", [str, object])
def test_versions_and_codes_are_not_numbers(kind):
    """1.1 and 1.10 are two versions, and 7 and 007 two codes; 1 and 1.0 are one number."""
    for one, two, apart in (("1.1", "1.10", True), ("7", "007", True), ("1", "1.0", False)):
        values = np.array([one, two] * 9 + ["25"], dtype=kind)
        has = attribute_named(f"column:version={one}", table={"version": values})
        assert has.sum() == (9 if apart else 18)


@pytest.mark.parametrize(
    ("word", "having"),
    [
        ("not good", ["It is NOT  good.", "not, good"]),
        ("not a good", ["not a good film"]),
        ("Film", ["not a good film", "FILM!"]),
        ("covid-19", ["COVID-19 again"]),
        ("don't", ["They don't."]),
        ("vitamin d", ["vitamin D helps"]),
        ("#tag", ["a #tag"]),
    ],
)
def test_a_word_is_read_as_it_is_written(word, having):
    texts = ["It is NOT  good.", "not, good", "not a good film", "FILM!", "COVID-19 again"]
    texts += ["covid 19", "They don't.", "don", "vitamin D helps", "vitamin deficiency"]
    texts += ["a #tag", "a tag", "<film>"]
    has = attribute_named(f"word:{word}", texts=texts) == 1
    assert [text for text, one in zip(texts, has, strict=True) if one] == having


def test_dates_are_cut_like_numbers():
    days = np.arange("2025-01-01", "2025-03-02", dtype="M8[D]")
    texts = [*map(str, days)]
    later = days >= np.datetime64("2025-02-10")
    for dates in (texts, days, days.astype("M8[us]"), days.astype(object)):
        table = {"day": dates}
        assert "column:day>=2025-01-31" in same_as_the_view(columns(table), table=table)
        read = attribute_named("column:day>=2025-02-10", table=table)
        assert read.tolist() == later.tolist()
        assert attribute_named("column:day=2025-02-10", table=table).sum() == 1
    (row,) = np.flatnonzero(attribute_named("column:day missing", table={"day": ["", *texts]}))
    assert row == 0
    hours = {"at": [f"2025-01-01 {hour:02}:30" for hour in range(24)]}
    assert "column:at>=2025-01-01T12:30:00" in same_as_the_view(columns(hours), table=hours)
    with pytest.raises(InputError, match="write a date such as"):
        attribute_named("column:day>=20", table={"day": texts})


def test_dates_with_an_offset_from_utc_are_instants():
    """Written in any zone, in cells and thresholds; a note says if only some have an offset."""
    start = datetime(2026, 11, 3, tzinfo=UTC)
    instants = [start + timedelta(minutes=37 * i) for i in range(40)]
    zones = [timezone(timedelta(hours=h)) for h in (-5, 9)]
    local = [at.astimezone(zones[i % 2]) for i, at in enumerate(instants)]
    tables = [
        {"at": [*map(write, at)]} for at in (instants, local) for write in (str, datetime.isoformat)
    ]
    tables += [{"at": pd.Series(instants).dt.tz_convert("Asia/Tokyo")}, {"at": local}]
    without = {"at": [at.replace(tzinfo=None) for at in instants]}  # in UTC
    noon = [int(at >= start + timedelta(hours=12)) for at in instants]
    cuts = [f"column:at>=2026-11-03{time}" for time in ("T12:00:00Z", " 21:00+09:00", "T12:00")]
    names = same_as_the_view(columns(tables[0]), table=tables[0])
    assert names
    assert all(name.endswith("Z") for name in names)
    for table in (*tables, without):
        for cut in cuts:
            assert attribute_named(cut, table=table).tolist() == noon
            notes = column_notes([cut], {"column": table})
            mixed = (table is without) == (cut is not cuts[2])
            assert [note[:41] for note in notes] == [
                "'column:at': of its times and those it is"
            ] * mixed
        same = columns(table)
        assert [n.removesuffix("Z") for n in names_of(same)] == [n.removesuffix("Z") for n in names]
        assert same.notes() == []
        (at,) = np.flatnonzero(attribute_named("column:at=2026-11-03T09:37+09:00", table=table))
        assert at == 1
        few = {"at": [*table["at"]][:4] * 5}
        assert attribute_named("column:at=2026-11-03T09:37+09:00", table=few).sum() == 5
    two = [{"at": np.array(without["at"], dtype="M8[ns]")}, {"at": local}]
    assert attribute_named(cuts[0], table=pooled(two)).tolist() == noon * 2
    both = {"at": [*local[:20], *without["at"][20:]]}
    assert attribute_named(cuts[1], table=both).tolist() == noon
    assert "Those without count as UTC." in columns(both).notes()[0]


@pytest.mark.parametrize("text", ["NA", "unknown", "null", "-", "None", "#N/A"])
@pytest.mark.parametrize("kind", ["numbers", "dates"])
def test_texts_for_no_value_leave_a_column_of_numbers_as_it_is(text, kind):
    """By all names of an audit, and a note counts them; a column of texts has them as a value."""
    cells = [*map(str, range(20, 60))]
    if kind == "dates":
        cells = [f"2026-01-{n:02}" for n in range(1, 29)]
    empty, texts = {"x": ["", "", *cells]}, {"x": [text, text.lower(), *cells]}
    names = same_as_the_view(columns(texts), table=texts)
    assert names == names_of(columns(empty))
    for name in names:
        both = (attribute_named(name, table=each).tolist() for each in (empty, texts))
        assert next(both) == next(both)
    (note,) = columns(texts).notes()
    assert note == f"'column:x': 2 cells such as {min(texts['x'][:2])!r} mean missing."
    assert columns(empty).notes() == []
    countries = {"x": [text] * 20 + ["DE"] * 20}
    assert f"column:x={text}" in names_of(columns(countries))
    assert columns(countries).notes() == []


@pytest.mark.parametrize(
    ("cells", "odd"),
    [
        ([*range(20, 60), "12,345"], "12,345"),
        ([f"{x:,}" for x in range(1000, 1100)], "1,000"),
        ([f"{x},5" for x in range(100)], "0,5"),
        ([f"{1 + x % 28:02}.{1 + x // 28:02}.2021" for x in range(100)], "01.01.2021"),
        ([*(f"2026-01-{n:02}" for n in range(1, 29)), "31.12.2021"], "31.12.2021"),
        ([f"{x / 2} mg" for x in range(100)], "0.0 mg"),
        ([f"{x}kg/m²" for x in range(100)], "0kg/m²"),
        ([f"{x} {unit}" for x in range(60) for unit in ("mg", "µg")], "0 mg"),
    ],
)
def test_a_note_names_cells_that_make_numbers_categories(cells, odd):
    (note,) = columns({"x": [*map(str, cells)]}).notes()
    assert note.startswith(f"'column:x' is read as categories, because of cells such as {odd!r}.")
    plain = {"site": ["1", "2", "3b"] * 20, "street": [f"{n} Main Road" for n in range(60)]}
    assert columns(plain).notes() == []


def test_times_of_numpy_and_pandas_are_cut_like_numbers():
    days = np.arange(40)
    for unit in ("D", "us"):
        times = (np.datetime64("2026-01-01") + days).astype(f"M8[{unit}]")
        names = same_as_the_view(columns({"x": times}), table={"x": times})
        assert "column:x>=2026-01-11" in names
    durations = {"x": days.astype("m8[h]")}
    assert "column:x>=36000" in same_as_the_view(columns(durations), table=durations)


def test_codes_are_no_numbers():
    """Python takes 1_2 for 12; 007 is not 7 if both occur, however many others do."""
    table = {"lot": ["1_2", "1_23", "12_3", "12_3"] * 3}
    assert attribute_named("column:lot=12_3", table=table).sum() == 6
    assert same_as_the_view(columns(table), table=table) == ["column:lot=12_3"]
    many = {"code": ["7", "007", *map(str, range(100, 180))]}
    assert attribute_named("column:code=7", table=many).tolist() == [1] + [0] * 81


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_number_is_the_same_in_any_precision(dtype):
    table = {"x": np.array([0.1, 0.7, 0.7, 0.8, np.nan] * 8, dtype=dtype)}
    assert attribute_named("column:x>=0.7", table=table)[:5].tolist() == [0, 1, 1, 1, -1]
    assert attribute_named("column:x=0.7", table=table)[:5].tolist() == [0, 1, 1, 0, -1]
    assert same_as_the_view(columns(table), table=table)[0] == "column:x=0.1"
