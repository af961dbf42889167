"""Changes of a text's surface, and the files that some of them read."""

import os
import re
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit.changes import change_named
from ntkit.changes.change import control_of, file_notes
from ntkit.exceptions import InputError
from ntkit.extraction import Samples, TextPreprocessing, Texts
from tests.texts import bytes_of_texts


@pytest.fixture(scope="module")
def copies_of(tmp_path_factory):
    """Function of a change, texts and perhaps second texts: the copy of each, or None."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    bytes_of_texts().save(str(path))
    steps = TextPreprocessing(str(path), max_length=10**6)

    def copies_of(change, texts, pairs=None, y=None, **options):
        change = change_named(change) if isinstance(change, str) else change
        copies, at = change.copies(Samples(Texts(texts, steps, pairs=pairs), y), **options)
        by_row = dict(zip(at.tolist(), copies.X.texts, strict=True))
        return [by_row.get(row) for row in range(len(texts))]

    copies_of.steps = steps
    return copies_of


@pytest.mark.parametrize(
    ("name", "text", "copy"),
    [
        ("append:please", "Send it. \n", "Send it. please"),
        ("prepend:please", " Send it.", "please Send it."),
        ("append:please", "Send it please ", "Send it"),
        ("append:please", "It will displease", "It will displease please"),
        ("append:please", "please", None),
        ("prepend:Oh,", "Oh, no", "no"),
        ("prepend:a", "all of it", "a all of it"),
        ("append:please", "  ", None),
        ("append:/etc/passwd", "Send it", "Send it /etc/passwd"),
        ("append:@@someone", "Send it", "Send it @someone"),
        ("append:a=b|word:c", "Send it", "Send it a=b|word:c"),
        ("space", "It is, so", "I t i s , s o"),
        ("space", "cafe\u0301", "c a f e\u0301"),
        ("space", "a \U0001f468\u200d\U0001f469 b", None),
        ("punctuation", "So it is.", "So it is"),
        ("punctuation", "He said “no!” ", "He said “no”"),
        ("punctuation", "So it is", "So it is."),
        ("punctuation", "映画です。", "映画です"),
        ("punctuation", "映画です", "映画です。"),
        ("punctuation", "...", None),
        ("punctuation=all", "So - it's (well-known)!", "So it's well-known"),
        ("punctuation=all", "two  spaces", None),
        ("punctuation=all", "?!", None),
        ("case:title", "DON'T be él", "Don't Be Él"),
        ("names", "James's friend, JAMES, met Anna-Lena", None),
        ("names", "james and grace", None),
        ("names", "Grace came. Will he? A New Hope. The Bill passed, in the Mark, GRACE", None),
        ("typos=9", "a to the x42", None),
        ("segment:first", "One sentence", None),
    ],
)
def test_a_text_and_its_copy(copies_of, name, text, copy):
    made = copies_of(name, [text, "another text"])[0]
    if name == "names" and "James" in text:
        found = re.fullmatch(r"(\w+)'s friend, ([A-Z]+), met (\w+)-Lena", made)
        one, shouted, other = found.groups()
        assert one.upper() == shouted != "JAMES"
        assert other not in ("Anna", one)
    else:
        assert made == copy


def test_a_name_that_is_a_word_counts_where_a_name_stands(copies_of):
    texts = ["they told Grace all", "I met Mr. Will there", "Grace told all", "so the Will says"]
    one, two, *others = copies_of("names", texts)
    assert re.fullmatch(r"they told (?!Grace)[A-Z]\w+ all", one)
    assert re.fullmatch(r"I met Mr\. (?!Will)[A-Z]\w+ there", two)
    assert others == [None, None]


def test_the_same_name_is_the_same_in_both_texts_of_a_pair(copies_of):
    firsts, seconds = ["Maria and Ivan came", "x"], ["Ivan met Maria", "y"]
    (one, two), other = copies_of("names", firsts, seconds)
    found = re.fullmatch(r"(\w+) and (\w+) came", one)
    assert two == f"{found[2]} met {found[1]}"
    assert found[1] != found[2]
    assert other is None


def test_both_texts_of_a_pair_change(copies_of):
    assert copies_of("append:please", ["a", "b please"], ["c", "d"]) == [
        ("a please", "c please"), ("b", "d please")]  # fmt: skip
    assert copies_of("case:title", ["a"], ["B"]) == [("A", "B")]
    pairs = copies_of("segment:last", ["A. B.", "C. D."], ["E. F.", "G. H."])
    assert pairs == [("A. D.", "E. H."), ("C. B.", "G. F.")]


def test_typing_errors_are_in_as_many_words(copies_of):
    text = "the acting was terribly boring throughout"
    for n in (1, 2, 9):
        for seed in range(10):
            copy = copies_of(f"typos={n}", [text], seed=seed)[0]
            differ = [a != b for a, b in zip(text.split(), copy.split(), strict=True)]
            assert sum(differ) == min(n, 4)
            assert all(a[0] == b[0] for a, b in zip(text.split(), copy.split(), strict=True))


def test_a_sentence_comes_from_a_text_of_any_class_in_the_fold(copies_of):
    texts = [f"First {i}. Middle {i}!\nLast {i}" for i in range(40)]
    y, folds = [i % 2 for i in range(40)], [i // 20 for i in range(40)]
    change = change_named("segment:first")
    assert change.unrelates
    copies = copies_of(change, texts, y=y, folds=folds)
    donors = []
    for i, copy in enumerate(copies):
        found = re.fullmatch(rf"First (\d+)\. Middle {i}!\nLast {i}", copy)
        donors.append(int(found[1]))
    assert all(i != d and i // 20 == d // 20 for i, d in enumerate(donors))
    assert 10 < sum(i % 2 == d % 2 for i, d in enumerate(donors)) < 30
    last = copies_of("segment:last", texts)[0]
    assert re.fullmatch(r"First 0\. Middle 0!\nLast (?!0)\d+", last)
    assert not change_named("space").unrelates


def test_a_line_is_drawn_for_each_text(copies_of, tmp_path):
    file = tmp_path / "lines.txt"
    file.write_bytes("\ufeffone line\r\n\r\n  zwei Zeilen ü \n".encode())
    change = change_named(f"append:@{file}")
    copies = copies_of(change, [f"text {i}" for i in range(60)])
    assert {copy.split(" ", 2)[2] for copy in copies} == {"one line", "zwei Zeilen ü"}
    assert change.sha256 == sha256(file.read_bytes()).hexdigest()
    assert change.sha256 in file_notes([change, change_named("space")])[0]
    assert change_named("append:please").sha256 is None
    copies, _ = change.copies(Samples(Texts(["a"], copies_of.steps)))
    assert copies.preprocessing["change_sha256"] == change.sha256


def test_the_control_has_the_length_and_other_words(copies_of):
    texts = [f"the good thing {i}, please" for i in range(20)]
    control = control_of(change_named("prepend:do as they say"))
    assert "length" in control.name
    for text, copy in zip(texts, copies_of(control, texts), strict=True):
        line = copy.removesuffix(text).rstrip()
        assert len("do as they say") <= len(line) <= len("do as they say") + 10
        assert {*line.split()} <= {"the", "good", "thing", "please", *map(str, range(20))}
    control = control_of(change_named("append:please"))
    assert copies_of(control, ["it is so, please", "please"])[0] == "it please"
    assert copies_of(control_of(change_named("append:good")), ["good", "it is"])[1] is not None


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("case:lower", "The Plot is THIN, really.", {"is", "really"}),
        ("case:upper", "The Plot is THIN, really.", {"THIN"}),
        ("space", "It is a long film.", {"a"}),
        ("typos=2", "one very long and tired tale", None),
    ],
)
def test_the_control_of_rewritten_words_has_unknown_words_in_their_places(
    copies_of, name, text, kept
):
    control = control_of(change_named(name))
    assert name in control.name
    copy = copies_of(control, [text])[0]
    assert copy == copies_of(control, [text])[0] != text
    old, new = re.findall(r"[\w']+", text), re.findall(r"[\w']+", copy)
    assert re.sub(r"\w", "", copy) == re.sub(r"\w", "", text)
    same = {one for one, other in zip(old, new, strict=True) if one == other}
    changed = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
    assert same == kept if kept is not None else len(changed) == 2
    for one, other in changed:
        assert {*other.lower()} <= {*"jkqvwxz"}
        assert (one.isupper(), one.istitle()) == (other.isupper(), other.istitle())
        assert len(other) == max(len(one), 3)  # single letters are words of many networks


def test_unknown_words_keep_the_marks_inside(copies_of):
    copy = copies_of(control_of(change_named("case:upper")), ["it isn't so, at a well-known x2"])[0]
    rare = "[jkqvwxz]"
    assert re.fullmatch(
        rf"{rare}{{3}} {rare}{{3}}'{rare}{{3}} {rare}{{3}}, {rare}{{3}} {rare}{{3}} "
        rf"{rare}{{4}}-{rare}{{5}} {rare}{{3}}2", copy,
    )  # fmt: skip


def test_the_control_of_names_replaces_as_many_other_words_of_like_frequency(copies_of):
    common, rare = ["film", "story"], [f"rare{c}" for c in "abcdefghijklmn"]
    names = ["Maria"] * 14 + ["Olga", "Priya", "Anna", "Ruth", "Joan", "Lisa", "Betty"] * 2
    texts = [f"told {n} of the {common[i % 2]} and {rare[i // 2]}" for i, n in enumerate(names)]
    control = control_of(change_named("names"))
    assert "names" in control.name
    copies = copies_of(control, [*texts, "no name here"])
    assert copies.pop() is None
    for text, copy in zip(texts, copies, strict=True):
        (differ,) = [(a, b) for a, b in zip(text.split(), copy.split(), strict=True) if a != b]
        assert differ[0] in (common if "Maria" in text else rare)
    (pair,) = copies_of(control, ["Maria met Ivan"], ["Ivan was late"])
    assert [w for part in pair for w in part.split() if w in ("Maria", "Ivan")] == [
        "Maria", "Ivan", "Ivan"]  # fmt: skip
    assert copies_of(control, ["Maria"]) == [None]


def test_pairs_are_controlled_on_both_sides_and_samples_without_change_have_no_copy(copies_of):
    control = control_of(change_named("case:lower"))
    (pair, none) = copies_of(control, ["Good day", "so"], pairs=["so it is", "it is"])
    assert none is None
    assert re.fullmatch(r"[JKQVWXZ][jkqvwxz]{3} day", pair[0])
    assert pair[1] == "so it is"


@pytest.fixture
def folder(tmp_path):
    """A folder with answers, a file of lines inside and others outside."""
    if sys.platform == "win32":
        pytest.skip("no named pipes, and links only for administrators")
    inside = tmp_path / "theirs"
    (inside / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "theirs and more").mkdir()
    (tmp_path / "theirs and more" / "secret.txt").write_text("secret")
    (inside / "sub" / "lines.txt").write_text("a line")
    (inside / "empty.txt").write_text(" \n\n")
    (inside / "latin.txt").write_bytes("Zeilen ü".encode("latin-1"))
    (inside / "utf16.txt").write_bytes("lines".encode("utf-16"))
    (inside / "large.txt").write_bytes(b"x" * (1 << 20) + b"\n")
    (inside / "just.txt").write_bytes(b"x" * ((1 << 20) - 1) + b"\n")
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    (inside / "near.txt").symlink_to(inside / "sub" / "lines.txt")
    (inside / "zero.txt").symlink_to("/dev/zero")
    (inside / "up").symlink_to(tmp_path)
    os.mkfifo(inside / "pipe")
    return inside


OUTSIDE = [
    *("/etc/passwd", "../secret.txt", "sub/../../secret.txt", "../theirs and more/secret.txt"),
    *("link.txt", "up/secret.txt", "zero.txt", "/dev/zero", "/proc/self/environ", ".."),
    *("C:\\Windows\\win.ini", "C:lines.txt", "\\\\server\\share\\x", "\\etc\\passwd"),
    *("//server/share/x", "{inside}/sub/lines.txt"),
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_file_outside_the_folder_is_refused(folder, path, monkeypatch):
    """By its place alone: it is not opened."""
    path = path.format(inside=folder)
    monkeypatch.setattr(Path, "open", lambda *_args, **_more: pytest.fail("opened"))
    for kind in ("append", "prepend"):
        with pytest.raises(InputError, match="can only name files inside its folder") as refused:
            change_named(f"{kind}:@{path}", below=folder)
        assert "secret" not in str(refused.value).replace(path, "")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.txt", "cannot be read"),
        ("sub", "is not a file"),
        ("pipe", "is not a file"),
        ("empty.txt", "has no lines"),
        ("latin.txt", "not UTF-8"),
        ("utf16.txt", "not UTF-8"),
        ("large.txt", "larger than 1 MB"),
        ("a\0b", "does not name a file|not a valid file name"),
        ("x" * 5000, "does not name a file|cannot be read"),
    ],
)
def test_a_file_that_is_no_list_of_lines_is_refused(folder, path, message, monkeypatch):
    monkeypatch.chdir(folder)
    for below in (folder, None):
        with pytest.raises(InputError, match=message):
            change_named(f"append:@{path}", below=below)


def test_files_inside_the_folder_and_named_by_the_user_are_read(folder, monkeypatch):
    for path in ("sub/lines.txt", "sub/../sub/lines.txt", "near.txt", "just.txt"):
        assert change_named(f"append:@{path}", below=folder).sha256 is not None
    monkeypatch.chdir(folder.parent)
    assert change_named("append:@theirs/near.txt", below=Path("theirs/..")).sha256 is not None
    assert change_named("append:@secret.txt").sha256 is not None
    with pytest.raises(InputError, match="is not a file"):
        change_named("append:@/dev/zero")
    assert change_named("append:/etc/passwd", below=folder).sha256 is None


NAMES = ["space", "punctuation", "punctuation=all", "case:title", "names", "typos=2",
         "append:please", "prepend:a.", "segment:first", "segment:last"]  # fmt: skip
PIECES = ["Mary", "MARY", "Will", "told", " ", "\n", ". ", "!", "“", "é", "e\u0301", "映画。", "\0",
          "x" * 30, "don't", "\u200d", "Mr. "]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES)), st.sampled_from(NAMES), st.integers(0, 3))
def test_a_copy_differs_holds_something_and_depends_on_its_row_alone(copies_of, pieces, name, seed):
    text = "".join(pieces)
    copy = copies_of(name, [text, "Told Anna. So it is"], seed=seed)[0]
    assert copy is None or (copy != text and copy.strip())
    if not name.startswith("segment"):
        assert copy == copies_of(name, [text, "other"], seed=seed)[0]


@pytest.mark.parametrize("part", [".", "a.", "!?", "'", " ", "Mr. ", "told ", "Mary", "e\u0301"])
def test_long_texts_of_one_part_take_no_longer_than_others(copies_of, part):
    text = part * 20_000 + "x"
    for name in NAMES:
        copies_of(name, [text, f"a. {text}"])
