"""Limits: from TOML, from a mapping, and what is refused by name."""

import re
from pathlib import Path

import pytest

from ntkit.exceptions import InputError
from ntkit.jobs.check import Limits, SliceLimits, check_predictions, limits_of, limits_with

TOML = """
max_drop = 2
worst_group = 70.5
max_flip_rate = 4
over = ["average", "group"]
[slices]
"word:film" = {}
"column:site=B" = { accuracy = 80, max_drop = 5 }
[changes]
"image:jpeg=75" = { max_flip_rate = 2 }
"word:please" = 1
markup = {}
"""


def test_toml_says_what_keywords_say(tmp_path):
    file = tmp_path / "limits.toml"
    file.write_text("\ufeff" + TOML, encoding="utf-8")
    limits = limits_of(file)
    assert limits.slices == {"word:film": SliceLimits(), "column:site=B": SliceLimits(80, 5)}
    assert [limits.of_change(n).max_flip_rate for n in limits.changes] == [2, 1, 4]
    without = {"slices": limits.slices, "changes": limits.changes}
    over = ("average", "group")
    assert limits == Limits(max_drop=2, worst_group=70.5, max_flip_rate=4, over=over, **without)
    assert limits.stated == (
        "max_drop", "worst_group", "max_flip_rate", "slices.column:site=B",
        "changes.image:jpeg=75", "changes.word:please", "changes.markup",
    )  # fmt: skip
    assert limits_of(str(file), max_drop=1, average=None).max_drop == 1


def test_the_file_on_the_page_is_one(tmp_path):
    page = Path(__file__).parents[3] / "docs" / "howto" / "check.md"
    (block,) = re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
    (tmp_path / "limits.toml").write_text(block, encoding="utf-8")
    limits = limits_of(tmp_path / "limits.toml")
    assert limits.of_slice("word:film").max_drop == limits.max_drop == 2
    assert limits.of_slice("column:site=B") == SliceLimits(75, 5)
    assert limits.groups.min_recall == {"toxic": 70}


@pytest.mark.parametrize(("one", "other", "same"), [
    ("word:don't", "word:don\u2019t", True),
    ("word:Film", "word:film", True),
    ("not word:don't", "not word:don\u2019t", True),
    ("column:caf\u00e9=x", "column:cafe\u0301=x", True),
    ("word:don't", "not word:don\u2019t", False),
    ("column:a=X", "column:a=x", False),
    ("column:a=don't", "column:a=don\u2019t", False),
])  # fmt: skip
def test_two_spellings_of_one_name_are_one_key(tmp_path, one, other, same):
    """Words in texts have one apostrophe and no case; values of a column may differ in both."""
    for kind in ("slices", "changes"):
        limit = {"slices": "accuracy", "changes": "max_flip_rate"}[kind]
        keys = [f'"{name}" = {{ {limit} = {n} }}' for name, n in ((one, 70), (other, 80))]
        path = tmp_path / "limits.toml"
        path.write_text("\n".join([f"[{kind}]", *keys]), encoding="utf-8")
        if same:
            with pytest.raises(InputError, match=f"{kind} has the keys .* which are one name"):
                limits_of(path)
        else:
            assert [*getattr(limits_of(path), kind)] == [one, other]


def test_slices_take_the_drop_of_all_unless_they_have_their_own():
    limits = limits_of({"max_drop": 2, "slices": {"a": {}, "b": {"max_drop": 5}}})
    assert [limits.of_slice(name).max_drop for name in ("a", "b", "else")] == [2, 5, 2]
    assert limits_of({"max_drop": 2, "over": "average"}).of_slice("a").max_drop is None
    assert limits_of({"slices": ["a", "b"]}).slices.keys() == {"a", "b"}
    assert limits_of({"changes": ["markup"]}).stated == ("changes.markup",)
    assert not limits_of({"changes": ["markup"], "average": 3}).comparing
    assert limits_of({"slices": {"b": {"max_new_errors": 5}}}).comparing


def test_the_lowest_accuracy_of_groups_is_one_limit_by_two_names():
    both = {"worst_group": 70, "groups": {"accuracy": 50}}
    for given in (lambda: limits_of(both), lambda: Limits(**both)):
        with pytest.raises(InputError, match=r"are one limit.* Keep one of them"):
            given()
    of_file = {"groups": {"accuracy": 50, "max_drop": 3}}
    for limits in (of_file, limits_of(of_file)):  # an option overrides either name
        found = limits_of(limits, worst_group=70).of_slice("g", "group")
        assert (found.accuracy, found.max_drop) == (70, 3)
    assert limits_of(of_file).of_slice("g", "group").accuracy == 50
    assert limits_of({"worst_group": 60}, worst_group=70).of_slice("g", "group").accuracy == 70


def test_an_option_replaces_looser_limits_of_parts():
    """Stricter ones stay, and a note names what was replaced."""
    of_file = {
        "max_drop": 3,
        "groups": {"max_drop": 50, "max_recall_drop": {"toxic": 20, "fine": 5}},
        "slices": {"a": {"max_drop": 40}, "b": {"max_drop": 2}},
        "changes": {"image:grey": 90, "markup": 1},
    }
    options = {"max_drop": 12, "max_recall_drop": {"toxic": 10}, "max_flip_rate": 5}
    for given in (of_file, limits_of(of_file)):
        limits, notes = limits_with(given, **options)
        assert limits.of_slice("g", "group").max_drop == limits.of_slice("a").max_drop == 12
        assert limits.of_slice("b").max_drop == 2
        assert limits.groups.max_recall_drop == {"toxic": 10, "fine": 5}
        assert [limits.of_change(n).max_flip_rate for n in of_file["changes"]] == [5, 1]
        assert notes == [
            "--max-drop 12 replaces max_drop = 50 of [groups].",
            "--max-drop 12 replaces max_drop = 40 of the slice 'a'.",
            "--max-recall-drop replaces max_recall_drop of [groups].",
            "--max-flip-rate 5 replaces max_flip_rate = 90 of the change 'image:grey'.",
        ]
    assert limits_with(of_file) == (limits_of(of_file), [])
    limits, notes = limits_with(of_file, max_drop=12, over=("average",))
    assert (limits.groups.max_drop, notes) == (50, [])
    with pytest.raises(InputError, match=r"is by class, and the option sets one number"):
        limits_with(of_file, max_recall_drop=10)


def test_a_pyproject_holds_limits_in_its_table(tmp_path):
    (file := tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'x'\n[tool.ntkit.check]\nmax_drop = 2\nmin_recall.toxic = 80\n"
        '[tool.ntkit.check.slices."word:film"]\nmax_recall_drop = 5\n'
    )
    limits = limits_of(file)
    assert limits == Limits(max_drop=2, min_recall={"toxic": 80}, slices=limits.slices)
    assert limits.of_slice("word:film").max_recall_drop == 5
    for content in ("", "[tool.ntkit]", "[tool]\nntkit = 3"):
        file.write_text(content)
        with pytest.raises(InputError, match=r"no table \[tool\.ntkit\.check\]\. Add it"):
            limits_of(file)
    for content, told in (
        ("[tool.ntkit.chek]\nmax_drop = 2", r"has 'chek', which ntkit does not read; did you mean"),
        (
            "[tool.ntkit.check]\naverage = 2\n[tool.ntkit.x]",
            "'x', which ntkit does not read; limits",
        ),
        ("[tool.ntkit]\nmax_drop = 2", "'max_drop', which ntkit does not read; limits are in its"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=told):
            limits_of(file)
    file.write_text("[tool.ntkit.check]\nmax_dorp = 2")
    with pytest.raises(InputError, match=r"pyproject\.toml: 'max_dorp' is not a limit; did you"):
        limits_of(file)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("max_dorp = 2", r"'max_dorp' is not a limit; did you mean 'max_drop'\? .* 'alpha', "),
        ("wurst = 2", "'wurst' is not a limit.* 'worst_group'"),
        ('[slices."word:film"]\naccurate = 2', r"slice 'word:film'.*did you mean 'accuracy'\?"),
        ("[changes.markup]\nmax_flips = 2", "change 'markup': 'max_flips' is not a limit; did"),
        ("worst_group = 0.7", "in percent. Write 70"),
        ("worst_group = 170", "0 to 100"),
        ("[changes]\nmarkup = 200", "change 'markup': max_flip_rate must be a percentage"),
        ("max_drop = nan", "0 to 100"),
        ("max_drop = true", "0 to 100"),
        ('max_drop = "2"', "0 to 100"),
        ("alpha = 0", "alpha must be between"),
        ('over = ["grup"]', "over must list some of average, class, group, slice"),
        ("over = []", "over must list"),
        ("over = 3", "over must list"),
        ("slices = 3", "slices must be a table"),
        ("changes = 3", "changes must be a table of changes, or a list of their names"),
        ('[slices]\n"word:film" = 3', "must be a table"),
        ('[changes]\nmarkup = "2"', "must be a percentage, or a table such as"),
        ('[slices]\na = {}\n"a " = { accuracy = 60 }', "slices has the keys 'a' and 'a '"),
        ('[changes]\n" markup" = 2\nmarkup = 3', "changes has the keys ' markup' and 'markup'"),
        ('min_recall = { "1" = 95, "1 " = 50 }', "min_recall has the keys '1' and '1 '"),
        ("max_drop = ", "is not valid TOML"),
        (b"\xff\xfe\x00", "not valid TOML"),
        (b" " * (1 << 20) + b"#", "larger than 1 MB"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_limit_is_named(tmp_path, content, told):
    file = tmp_path / "limits.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(InputError, match=told) as error:
        check_predictions([0, 1], [0, 1], limits=file)
    assert "limits.toml" in str(error.value)


def test_a_class_in_two_unicode_forms_has_one_limit():
    y, limits = ["caf\u00e9", "tea"] * 9, {"cafe\u0301": 50}
    assert check_predictions(y, y, limits={"min_recall": limits}).rates[0].of_class == "caf\u00e9"
    with pytest.raises(InputError, match=r"min_recall has the keys .* Keep one of them"):
        check_predictions(y, y, limits={"min_recall": {"caf\u00e9": 99} | limits})


def test_other_objects_are_refused(tmp_path):
    with pytest.raises(InputError, match="must be a mapping"):
        limits_of(3)
    with pytest.raises(InputError, match="cannot be read"):
        limits_of(tmp_path)
