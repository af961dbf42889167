"""Labels of samples: the CSV round trip, what is refused, and what the page holds."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkit.exceptions import InputError
from ntkit.report import Inputs
from ntkit.report.label import Labels, read_labels, write_label_page
from ntkit.report.label._labels_file import cell_of, csv_of

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def filled(ids, values, attribute="water"):
    lines = [("id", attribute), *zip(ids, values, strict=True)]
    return "\r\n".join(f"{cell_of(name)},{cell_of(value)}" for name, value in lines)


@given(
    st.dictionaries(NAMES, st.sampled_from(["yes", "=no", "a;b", 'q"', "+1"]), max_size=5), NAMES
)
def test_what_is_filled_in_is_read_back(tmp_path_factory, labels, attribute):
    path = tmp_path_factory.getbasetemp() / "labels.csv"
    path.write_bytes(filled(labels, labels.values(), attribute).encode("utf-8-sig"))
    assert read_labels(path) == Labels(attribute, labels)
    path.write_bytes(csv_of(labels, attribute).encode())
    assert read_labels(path) == Labels(attribute, {})


@given(NAMES)
def test_a_cell_is_one_cell_and_no_formula(name):
    (row,) = csv.reader(io.StringIO(f"{cell_of(name)},x", newline=""))
    assert len(row) == 2
    assert row[0] in (name, f"'{name}")
    if row[0][0] in "=+-@":
        float(row[0])


def test_as_spreadsheets_save_it(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbfid;water\r\na.png;yes\r\n\r\nb.png; no \r\nc.png;\r\n")
    assert read_labels(path, ["yes", "no"]) == Labels("water", {"a.png": "yes", "b.png": "no"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "header of two columns"),
        (b"id\na\n", "header of two columns"),
        (b"id,water,more\n", "header of two columns"),
        (b"id,water\na,yes,more\n", "line 2, has 3 cells"),
        (b"id,water\na,yes\na,\n", "line 3, names the sample 'a' again"),
        (b"id,water\na,ye\n", "line 2, says 'ye'; labels are 'no', 'yes'.*mean 'yes'"),
        (b'id,water\n"a,yes\n', "cannot be read as a CSV"),
        (b"id,water\n\xff,yes\n", "UTF-8"),
        (b"PK\x03\x04\x00\x00", "header of two columns"),
        (b"x" * (65 << 20), "larger than 64 MB"),
    ],
)
def test_other_files_are_refused(content, says, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_labels(path, ["yes", "no"])


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no file"):
        read_labels(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(tmp_path / "missing.csv")


def test_labels_of_all_samples():
    labels = Labels("water", {"b": "no", "3": "yes"})
    assert labels.index(["a", "b", 3], ["yes", "no"]).tolist() == [-1, 1, 0]
    with pytest.raises(InputError, match="sample 'b', which is not among the 1"):
        labels.index(["3"], ["yes", "no"])
    with pytest.raises(InputError, match="is 'no'; labels are 'maybe', 'yes'"):
        labels.index(["3", "b"], ["yes", "maybe"])


@pytest.mark.parametrize(
    ("rows", "inputs", "options", "says"),
    [
        ([], {}, {}, "nothing to label"),
        ([0, 0], {}, {}, "each once"),
        ([-1], {}, {}, "from 0 on"),
        ([3], {}, {}, "no row 3 .* of 3"),
        (range(1001), {"texts": ["a"] * 2000}, {}, "1001 samples are too many"),
        ([0, 1], {"ids": ["a", "a", "b"]}, {}, "called 'a'"),
        ([0], {"ids": ["\ud800", "b", "c"]}, {}, "cannot be written as a text"),
        ([0], {"ids": ["a"]}, {}, "1 of ids for 3"),
        ([0], {}, {"values": ["yes"]}, "two to 9"),
        ([0], {}, {"values": ["yes", " yes"]}, "must differ"),
        ([0], {}, {"values": list("0123456789")}, "two to 9"),
    ],
)
def test_what_cannot_be_asked_is_refused(rows, inputs, options, says, tmp_path):
    given = Inputs(**{"texts": ["a", "b", "c"], **inputs})
    with pytest.raises(InputError, match=says):
        write_label_page(tmp_path / "label", "Water?", rows, given, **options)
    assert [*tmp_path.iterdir()] == []


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
    assert "The text goes on" in content
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 300, 3), dtype=np.uint8)
    write_label_page(tmp_path / "b", "Water?", range(200), Inputs(images=noise))
    assert (tmp_path / "b" / "label.html").stat().st_size < 12_000_000
