"""Labels of samples: the CSV round trip, what is refused, and what the page holds."""

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit._labels import guarded_cell
from ntkit.exceptions import InputError
from ntkit.pages.label_page import csv_of, label_html, name_cell, write_label_page
from ntkit.samples.looks import Inputs

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=50)
@given(st.lists(NAMES, unique=True, max_size=4), NAMES)
def test_the_csv_to_fill_in_holds_all_names_and_no_formula(names, attribute):
    text = csv_of(names, attribute)
    head, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert head == ["id", guarded_cell(attribute)]
    assert [line[1] for line in lines] == [""] * len(names)
    assert len({name_cell(name) for name in names}) == len(names)
    for name, (cell, _) in zip(names, lines, strict=True):
        assert cell in (name, f"'{name}")
        if cell[0] in "=+-@\t\r":
            float(cell)


@pytest.mark.parametrize(
    ("rows", "inputs", "options", "says"),
    [
        ([], {}, {}, "no samples to label"),
        ([0, 0], {}, {}, "unique row numbers"),
        ([-1], {}, {}, "counted from 0"),
        ([3], {}, {}, "no row 3: rows of 3"),
        (range(1001), {"texts": ["a"] * 2000}, {}, "1001 samples are too many"),
        ([0, 1], {"ids": ["a", "a", "b"]}, {}, "the name 'a'"),
        ([0], {"ids": ["\ud800", "b", "c"]}, {}, "cannot be written as text"),
        ([0], {"ids": ["a"]}, {}, "1 of ids for 3"),
        ([0], {}, {"values": ["yes"]}, "two to 9"),
        ([0], {}, {"values": ["yes", " yes"]}, "Two values are equal"),
        ([0], {}, {"values": list("0123456789")}, "two to 9"),
    ],
)
def test_what_cannot_be_asked_is_refused(rows, inputs, options, says, tmp_path):
    given = Inputs(**{"texts": ["a", "b", "c"], **inputs})
    with pytest.raises(InputError, match=says):
        write_label_page(tmp_path / "label", "Water?", rows, given, **options)
    assert [*tmp_path.iterdir()] == []


def test_a_page_on_other_samples_of_the_same_names_keeps_other_labels():
    """What a browser kept of the samples of before must not answer for these."""
    options = {"values": ("yes", "no"), "attribute": "w"}
    pages = [
        label_html("Water?", [0, 1], Inputs(texts=["a", "b"]), more=("content", c), **options)
        for c in (["12", "34"], ["34", "12"])
    ]
    digests = [re.search(r"digest&#34;: &#34;(\w+)", page)[1] for page in pages]
    assert digests[0] != digests[1]
    assert "id,content,w" in pages[0]


def test_nothing_of_others_is_replaced(tmp_path):
    out = tmp_path / "label"
    write_label_page(out, "Water?", [0], Inputs(texts=["a"]))
    write_label_page(out, "Land?", [0], Inputs(texts=["a"]), force=True)
    (out / "labels.csv").write_text("hours of work")
    with pytest.raises(InputError, match=r"labels\.csv"):
        write_label_page(out, "Water?", [0], Inputs(texts=["a"]), force=True)
    assert (out / "labels.csv").read_text() == "hours of work"


def test_long_texts_wide_tables_and_many_pictures_leave_it_small(tmp_path):
    texts = Inputs(texts=["word " * 1_000_000] * 3, table={f"c{i}": [i] * 3 for i in range(500)})
    write_label_page(tmp_path / "a", "Water?", [0, 1, 2], texts)
    content = (tmp_path / "a" / "label.html").read_text(encoding="utf-8")
    assert len(content) < 80_000
    assert "460 more columns are not shown" in content
    assert "The text continues" in content
    noise = np.random.default_rng(0).integers(0, 255, (101, 60, 60, 3), dtype=np.uint8)
    write_label_page(tmp_path / "b", "Water?", range(101), Inputs(images=noise))
    content = (tmp_path / "b" / "label.html").read_text(encoding="utf-8")
    assert len(content) < 6_000_000  # more than a hundred are smaller
