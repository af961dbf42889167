"""Names of attributes and changes: taken apart and put together in one place."""

import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ntkit
from ntkit._key import Key, conditions_in, lacking, names_apart, parts_of_change
from ntkit._labels import composed

NAMES = {
    "word:film": ("word", "film", ""),
    "word:a=b missing": ("word", "a=b missing", ""),
    "column:age>=37": ("column", "age", ">=37"),
    "column:sex=Female": ("column", "sex", "=Female"),
    "column:age missing": ("column", "age", " missing"),
    "metadata:site": ("metadata", "site", ""),
    "file:format=PNG": ("file", "format", "=PNG"),
    "image:top left brightness above the median": (
        "image", "top left brightness", " above the median"),
    "input #3 high": ("input", "#3", " high"),
    "layer:conv1 #3 mean low": ("layer", "conv1 #3 mean", " low"),
    "layer:conv1 cluster 2": ("layer", "conv1 cluster 2", ""),
    "embedding #5 high": ("embedding", "#5", " high"),
    "film": ("", "film", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_its_parts(name):
    key = Key.of(name)
    assert (key.kind, key.what, key.condition) == NAMES[name]
    assert str(key) == name == f"{key.origin}{key.condition}"
    assert Key.of(key) is key
    assert key.condition == key.sign + key.value


@given(
    st.sampled_from(["column", "metadata", "file"]),
    st.text(min_size=1).filter(str.isprintable),
    st.sampled_from(["=", ">=", " missing", ""]),
    st.text(),
)
def test_a_known_column_tells_where_the_condition_begins(kind, column, sign, value):
    (called,) = names_apart([column])
    condition = sign + value if sign in ("=", ">=") else sign
    name = f"{kind}:{called}{condition}"
    assume(composed(name) == name)  # names are read in one Unicode form
    key = Key.of(name, [column])
    assert (key.what + key.condition, key.kind, str(key)) == (called + condition, kind, name)
    assert Key(kind, called, condition) in key.readings([called])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("word:film|word:movie", ["word:film", "word:movie"]),
        ("word:film=both", ["word:film=both"]),
        ("column:a+column:b", ["column:a", "column:b"]),
        ("column:sex=Female|Male", ["column:sex=Female|Male"]),
        ("image:blur=2", ["image:blur=2"]),
        ("markup", ["markup"]),
        ("append:a=b|word:c", ["append:a=b|word:c"]),
    ],
)
def test_a_change_is_its_parts(change, parts):
    assert [*map(str, parts_of_change(change))] == parts


def test_two_conditions_and_their_opposite():
    pair = "column:a=x and y and column:b=z"
    assert ("column:a=x and y", "column:b=z") in conditions_in(pair)
    assert (lacking("word:film"), lacking(pair)) == ("not word:film", f"not ({pair})")


CUTS = re.compile(  # a name of an attribute taken apart by hand
    r"""(partition|startswith|endswith|removeprefix|removesuffix|split)\(f?["']
    (word|column|metadata|image|file|layer|embedding|input|not)?
    (:|[ ]\#|=|>=|[ ]missing|[ ]high|[ ]low|[ ]above[ ]the[ ]median)["']""",
    re.VERBOSE,
)
ELSEWHERE = {  # the same characters in other texts
    "_key.py", "changes/change.py", "cli/_options.py", "cli/_settings.py",
    "extraction/embedder.py", "jobs/report.py", "jobs/predict.py", "store/kept.py",
}  # fmt: skip


def test_no_other_module_takes_a_name_apart():
    root = Path(ntkit.__file__).parent
    there = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if CUTS.search(path.read_text(encoding="utf-8"))
    }
    assert "_key.py" in there
    assert there <= ELSEWHERE
    assert CUTS.search('name.removeprefix("word:")')
    assert CUTS.search("name.partition(':')")


def test_a_long_value_has_one_name_whatever_the_others_are():
    """Groups of two sets are compared by their names."""
    long, alike = "a" * 80 + "1", "a" * 80 + "2"
    (alone,) = names_apart([long])
    assert names_apart([alike, long]) == [names_apart([alike])[0], alone]
    assert len({alone, *names_apart([alike])}) == 2
