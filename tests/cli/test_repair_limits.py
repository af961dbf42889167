"""The limits that a repair writes next to its model, and ntkit check that finds them."""

import json
import os
import shlex
import shutil
import tomllib
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier

from data_made_up import KINDS, write_samples
from ntkit import FrozenModel
from ntkit._disk import sha256_of
from ntkit._output import RECORD
from ntkit.datasets import marked_digits_model_path
from tests.cases import CLASSES, done, ntkit, read_csv, settings, write_csv, write_images

MARK = "metadata:mark=yes"
DEVICE = ("--device", "cpu", "--quiet")


def write_marked(folder, X, y, marks):
    """An image folder, and a column that says which images have the mark."""
    write_images(folder, X, y)
    names = [f"{CLASSES[label]}/{i:04}.png" for i, label in enumerate(y)]
    lines = [f"{name},{mark}" for name, mark in zip(names, marks, strict=True)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,mark", *lines]))


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture(scope="module")
def repaired(tmp_path_factory, digits):
    """A folder with the demo's model, its samples with a column ``mark``, and the repair."""
    root = tmp_path_factory.mktemp("repaired")
    shutil.copy(marked_digits_model_path(), root / "model.onnx")
    for part, n in (("train", 900), ("validation", 1500), ("test", 900)):
        X, y, groups = (digits[f"{name}_{part}"] for name in ("X", "y", "groups"))
        rows = np.random.default_rng(0).permutation(len(y))[:n]
        marks = np.where(groups[rows] % 2, "yes", "no")
        write_marked(root / part, X[rows], y[rows], marks)
    sets = [f"--{part}={root / part}" for part in ("train", "validation", "test")]
    done("debias", root / "model.onnx", *sets, "--spurious", MARK, "-o", root / "out", *DEVICE)
    return root


@pytest.fixture
def own(repaired, tmp_path):
    """A copy, to write in, with the record that ntkit would have written there."""
    root = shutil.copytree(repaired, tmp_path / "own")
    file = root / "out" / RECORD
    record = json.loads(file.read_text())
    record["at"] = {name: (root / "out" / name).stat().st_ctime_ns for name in record["files"]}
    file.write_text(json.dumps(record))
    return root


def checked(root, *options, old="model.onnx", new="out/debiased.onnx"):
    return ntkit("check", root / old, root / new, root / "test", *options, *DEVICE)


@pytest.mark.more
def test_a_repair_passes_the_limits_that_came_with_it(repaired, tmp_path):
    files = {name: tmp_path / f"c.{name}" for name in ("json", "xml", "md")}
    options = [
        ("--json-file", files["json"]),
        ("--junit", files["xml"]),
        ("--markdown", files["md"]),
    ]
    code, out, err = checked(repaired, *(word for pair in options for word in pair))
    assert code == 0, out + err
    held = "held to the limits that came with this model"
    assert out.splitlines()[0].endswith(f"900 samples, {held}.")
    assert held in files["md"].read_text("utf-8").splitlines()[0]
    record = json.loads(files["json"].read_text("utf-8"))
    assert record["held_to"] == str(repaired / "out" / "repair-limits.toml")
    (suite,) = ElementTree.parse(files["xml"]).getroot()
    assert held in suite.get("name")
    shown = [line for line in out.splitlines() if "× not metadata:mark=yes" in line]
    assert len([line for line in shown if line.endswith("pass")]) >= 1


@pytest.mark.more
def test_the_original_does_not_pass_them(repaired):
    limits = repaired / "out" / "repair-limits.toml"
    least = {n: v["accuracy"] for n, v in tomllib.loads(limits.read_text())["slices"].items()
             if "accuracy" in v}  # fmt: skip
    assert least
    code, out, err = checked(repaired, "--limits", limits, new="model.onnx")
    assert code == 1, out + err
    assert "held to" not in out
    assert f"{next(iter(least))}: accuracy at least" in out
    assert checked(repaired, "--limits", limits)[0] == 0


def test_the_file_says_what_it_is_of(repaired):
    content = (repaired / "out" / "repair-limits.toml").read_text("utf-8")
    limits = tomllib.loads(content)
    for key, name in (("old", "model.onnx"), ("new", "out/debiased.onnx")):
        assert limits["repair"][key] == FrozenModel.load(repaired / name).sha256()
    named = {*limits["slices"]} | {
        each.split(" (")[0] for each in limits["repair"]["without_limit"]
    }
    assert named == {f"{k} × {no}{MARK}" for k in CLASSES for no in ("", "not ")}
    assert {*limits["max_recall_drop"]} == {*CLASSES}
    assert limits["max_drop"] > 0
    for each in limits["repair"]["without_limit"]:  # said for people as well
        assert f"# Too few samples for a useful limit: {each}." in content


@pytest.mark.more
def test_test_samples_do_not_change_the_limits(own, repaired, digits):
    """Not a number in the file is of the test set."""
    X, y = digits["X_test"][:300], 1 - digits["y_test"][:300]
    shutil.rmtree(own / "test")
    write_marked(own / "test", X, y, np.where(digits["groups_test"][:300] % 2, "no", "yes"))
    sets = [f"--{part}={own / part}" for part in ("train", "validation", "test")]
    ntkit("debias", own / "model.onnx", *sets, "--spurious", MARK, "-o", own / "other", *DEVICE,
          *settings(trust_inputs=True))  # fmt: skip
    if (file := own / "other" / "repair-limits.toml").exists():
        assert file.read_text() == (repaired / "out" / "repair-limits.toml").read_text()


@pytest.mark.more
@pytest.mark.parametrize("options", [("--max-drop", 50), ("--limits", "LIMITS"), ("--average", 10)])
def test_other_limits_come_first(own, options):
    (own / "l.toml").write_text("max_drop = 60")
    options = [own / "l.toml" if each == "LIMITS" else each for each in options]
    code, out, _ = checked(own, *options)
    assert code == 0
    assert "held to" not in out


@pytest.mark.parametrize(
    "options",
    [("--slice", MARK), ("--answers", "ANSWERS"), ("--limits", "LIMITS")],
)
def test_what_is_named_is_held_to_limits(repaired, tmp_path, options):
    """The limits of a repair, of its groups alone, do not take the place of what a person names."""
    (limits := tmp_path / "l.toml").write_text(f'[slices]\n"{MARK}" = {{}}\n')
    files = {"LIMITS": limits, "ANSWERS": repaired / "out" / "answers.json"}
    _, out, err = checked(repaired, *(files.get(each, each) for each in options))
    assert "held to" not in out
    assert "allows a drop of 5 percentage points" in err
    without = f"repair-limits.toml may have no limit for {options[0]}, so ntkit goes on without it"
    assert (without in err) == ("--limits" not in options)
    assert MARK in out


def test_limits_of_the_project_come_first(own, monkeypatch):
    (own / "pyproject.toml").write_text("[tool.ntkit.check]\nmax_drop = 61\n")
    monkeypatch.chdir(own)
    code, out, _ = checked(own)
    assert code == 0
    assert "held to" not in out


def test_how_sure_to_be_is_taken_from_the_project(repaired, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text, alpha in (("", 0.05), ("[tool.ntkit.check]\nalpha = 0.2\n", 0.2)):
        (tmp_path / "pyproject.toml").write_text(text)
        code, out, _ = checked(repaired, "--json-file", tmp_path / "c.json", "--force")
        assert code == 0
        assert "held to" in out
        assert json.loads((tmp_path / "c.json").read_text())["alpha"] == alpha


def bad(root):
    """Put a weak model into the folder of the repair; ntkit check fails it."""
    new = root / "out" / "debiased.onnx"
    model = FrozenModel.load(new)
    model.with_head(model.head.scaled(np.arange(64) % 4 == 0)).save(new, force=True)
    return FrozenModel.load(new).sha256()


LAX = 'max_drop = 100\nover = ["average"]\n[repair]\nold = "{old}"\nnew = "{new}"\n'


def sent(folder, to):
    """A folder that came with a repository: its record lists the files as they are."""
    record = json.loads((folder / RECORD).read_text())
    record["files"] = {name: sha256_of(folder / name) for name in record["files"]}
    (folder / RECORD).write_text(json.dumps(record))
    shutil.rmtree(to, ignore_errors=True)
    return shutil.copytree(folder, to)


@pytest.mark.more
@pytest.mark.parametrize("how", ["sent", "sent over it"])
def test_a_folder_that_somebody_sent_makes_no_failing_check_pass(own, tmp_path, how):
    """Though its record, its limits and its models fit each other, and files keep their times."""
    old = FrozenModel.load(own / "model.onnx").sha256()
    (own / "out" / "repair-limits.toml").write_text(LAX.format(old=old, new=bad(own)))
    place = own / "out" if how == "sent over it" else own / "received"
    sent(own / "out", tmp_path / "made")
    received = sent(tmp_path / "made", place)
    code, out, err = checked(own, new=received / "debiased.onnx")
    assert code == 1, out + err
    assert "held to" not in out
    assert "repair-limits.toml is a link, a copy, or not as ntkit wrote it" in err
    code, out, _ = checked(own, "--limits", place / "repair-limits.toml",
                           new=received / "debiased.onnx")  # fmt: skip
    assert code == 0  # a person says so


def test_an_honest_copy_is_named_and_not_used(repaired, tmp_path):
    copy = shutil.copytree(repaired / "out", tmp_path / "copy")
    _, out, err = checked(repaired, new=copy / "debiased.onnx")
    assert "held to" not in out
    assert f"To use it anyway, add: --limits {copy / 'repair-limits.toml'}" in err


@pytest.mark.more
@pytest.mark.parametrize("how", ["beside", "edited", "link", "damaged", "other pair", "no folder"])
def test_no_file_makes_a_failing_check_pass(own, tmp_path, how):
    """A file that ntkit did not write there, or wrote about other models, is ignored and said."""
    digest, file = bad(own), own / "out" / "repair-limits.toml"
    lax = LAX.format(old=FrozenModel.load(own / "model.onnx").sha256(), new=digest)
    new = "out/debiased.onnx"
    if how == "beside":  # a folder that ntkit did not write
        (own / "plain").mkdir()
        new = shutil.copy(own / new, own / "plain" / "new.onnx")
        (own / "plain" / file.name).write_text(lax)
    elif how in ("edited", "damaged"):
        file.write_text(lax if how == "edited" else "max_drop = ")
    elif how == "link":
        (tmp_path / "lax.toml").write_text(lax)
        file.unlink()
        file.symlink_to(tmp_path / "lax.toml")
    elif how == "no folder":
        file.unlink()
        file.mkdir()
    code, out, err = checked(own, new=new)
    assert code == 1, out + err
    assert out.startswith("Failed")
    assert "held to" not in out
    assert file.name in err
    assert "goes on without it" in err or "To use it" in err


def test_a_file_of_another_original_is_ignored(own):
    model = FrozenModel.load(own / "model.onnx")
    model.with_head(model.head, provenance={"x": "y"}).save(own / "second.onnx")
    _, out, err = checked(own, old="second.onnx")
    assert "held to" not in out
    assert "another pair of models" in err


def test_where_ci_is_set_it_is_named_and_not_read(own, monkeypatch):
    monkeypatch.setenv("CI", "true")
    (own / "out" / "repair-limits.toml").write_text("max_drop = ")  # would be an error
    _, out, err = checked(own)
    assert "held to" not in out
    assert f"--limits {os.path.join(own, 'out', 'repair-limits.toml')}" in err


@pytest.mark.more
def test_the_model_of_the_folder_for_a_service_has_its_limits(repaired, tmp_path):
    sets = [f"--{part}={repaired / part}" for part in ("train", "validation", "test")]
    folders = ("-o", tmp_path / "out", "--deploy", tmp_path / "service")
    done("debias", repaired / "model.onnx", *sets, "--spurious", MARK, *folders, *DEVICE)
    code, out, err = checked(repaired, new=tmp_path / "service" / "model.onnx")
    assert code == 0, out + err
    assert "held to the limits that came with this model" in out
    sums = (tmp_path / "service" / "SHA256SUMS").read_text()
    assert "  repair-limits.toml" in sums


@pytest.mark.more
def test_a_test_set_that_lacks_what_was_named_is_not_proposed(own):
    (own / "test" / "metadata.csv").unlink()
    sets = [f"--{part}={own / part}" for part in ("train", "validation", "test")]
    out, _ = done("debias", own / "model.onnx", *sets, "--spurious", MARK, "-o", own / "b", *DEVICE)
    assert "Validation set, cross-fitted: If metadata:mark=yes and the class were unrelated" in out
    assert "Note: The test set does not judge, but validation samples do: " in out
    assert "TEST, with samples as TEST that show what was named" in out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """For texts and tables, a model with a shortcut and three files of samples."""
    root = tmp_path_factory.mktemp("made")
    for name in ("texts", "tables"):
        kind, rng = KINDS[name], np.random.default_rng(0)
        for part, n, share in (("train", 900, 0.92), ("val", 700, 0.75), ("test", 700, 0.5)):
            drawn = kind.draw(part, n, [share], rng)
            if part == "train":
                with warnings.catch_warnings(action="ignore"):
                    kind.train(drawn.X, drawn.y, 0, root / f"{name}.onnx")
            write_samples(drawn, root / f"{name}-{part}.csv")
    return root


@pytest.mark.more
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("texts", ["--invariant", "word:film|word:movie"]),
        ("texts", ["--invariant", "word:film=both"]),
        ("tables", ["--invariant", "column:region"]),
        ("tables", ["--spurious", "column:region", "--invariant", "column:region"]),
        ("tables", ["--spurious", "column:x1>=0", "--invariant", "column:region"]),
    ],
)
def test_the_next_check_reads_the_groups_of_a_change(made, tmp_path, kind, options):
    """Changed words and columns judge by their groups, on the test set and in its check."""
    out = tmp_path / "out"
    sets = [
        f"--{part}={made / f'{kind}-{name}.csv'}"
        for part, name in (("train", "train"), ("validation", "val"), ("test", "test"))
    ]
    shown, _ = done("debias", made / f"{kind}.onnx", *sets, *options, "-o", out, *DEVICE)
    assert "\nTest set: " in shown
    assert "does not judge" not in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("Next: ntkit ")]
    code, told, err = ntkit(*shlex.split(line.removeprefix("Next: ntkit ")), *DEVICE)
    assert code in (0, 3), told + err
    limits = tomllib.loads((out / "repair-limits.toml").read_text("utf-8"))
    assert limits["slices"]
    rows = [line for line in told.splitlines() if line.startswith(tuple(limits["slices"]))]
    assert len(rows) == len(limits["slices"])


@pytest.mark.more
def test_every_limit_is_of_a_group_that_a_check_reads(tmp_path, rng):
    """Sites, most of them with a few samples of each class: these are joined to one row."""
    columns = ["m0", "m1", "m2", "x0", "x1"]
    x = np.array([[1, 0], [0, 1], [-1, -1]])

    def drawn(name, n, share):
        y = rng.integers(0, 3, n)
        led = np.where(rng.random(n) < share, y, rng.integers(0, 3, n))
        site = np.where(rng.random(n) < 0.7, led, rng.integers(3, 30, n))
        X = np.column_stack([2 * np.eye(3)[led], x[y]]) + rng.normal(0, 0.5, (n, 5))
        table = {
            **dict(zip(columns, X.round(3).T, strict=True)),
            "site": [f"s{v}" for v in site],
            "label": y,
        }
        return write_csv(tmp_path / f"{name}.csv", table), X.round(3).astype(np.float32), y

    _, X, y = drawn("network", 1500, 0.97)
    model = MLPClassifier((16,), random_state=0, early_stopping=True).fit(X, y)
    onnx = to_onnx(model, X[:1], options={"zipmap": False})
    (tmp_path / "model.onnx").write_bytes(onnx.SerializeToString())
    sets = [f"--{part}={drawn(part, 1200, 0.9)[0]}" for part in ("train", "validation")]
    options = ["--columns", ",".join(columns), "--spurious", "metadata:site", "--force"]
    done("debias", tmp_path / "model.onnx", *sets, *options, "-o", tmp_path / "out", *DEVICE)
    file = tmp_path / "out" / "repair-limits.toml"
    assert "others, groups of fewer than 10 samples" in file.read_text("utf-8")
    slices = tomllib.loads(file.read_text("utf-8"))["slices"]
    new = tmp_path / "out" / "debiased.onnx"
    code, told, err = ntkit("check", tmp_path / "model.onnx", new, drawn("fresh", 1200, 0.9)[0],
                            "--columns", ",".join(columns), "--json", *DEVICE)  # fmt: skip
    assert code in (0, 3), err
    sizes = {row["name"]: row["samples"] for row in json.loads(told)["rows"]}
    assert all(sizes[name] for name in slices)
    other = read_csv(tmp_path / "fresh.csv")
    upper = {c: [row[c].upper() for row in other] for c in other[0]}  # S1 for s1
    write_csv(tmp_path / "upper.csv", upper)
    code, _, err = ntkit("check", tmp_path / "model.onnx", new, tmp_path / "upper.csv",
                         "--columns", ",".join(columns), *DEVICE)  # fmt: skip
    assert code == 2
    assert "Write one value in one way in both" in err


def test_another_row_of_the_table_has_no_limits(repaired, tmp_path):
    done("debias", "--from", repaired / "out", "--method", "class-balanced", "-o",
         tmp_path / "row", *DEVICE)  # fmt: skip
    assert not (tmp_path / "row" / "repair-limits.toml").exists()
    _, out, err = checked(repaired, new=tmp_path / "row" / "debiased.onnx")
    assert "held to" not in out
    assert "repair-limits" not in err


@pytest.mark.more
def test_a_repair_that_is_not_better_has_no_limits(own):
    sets = [f"--{part}={own / part}" for part in ("train", "validation")]
    ntkit("debias", own / "model.onnx", *sets, "--method", "class-balanced", "--max-cost", 0,
          "--even-if-worse", "-o", own / "even", *DEVICE)  # fmt: skip
    assert (own / "even" / "debiased.onnx").exists()
    assert not (own / "even" / "repair-limits.toml").exists()


@pytest.mark.more
@pytest.mark.parametrize(("test", "names"), [("validation", False), ("test", True)])
def test_next_is_no_check_of_samples_that_fitted_the_head(own, test, names):
    sets = [f"--train={own / 'train'}", f"--validation={own / 'validation'}"]
    out, _ = done("debias", own / "model.onnx", *sets, f"--test={own / test}", "--spurious", MARK,
                  "-o", own / "next", *DEVICE)  # fmt: skip
    (line,) = [line for line in out.splitlines() if line.startswith("Next: ")]
    assert line.startswith("Next: ntkit check ")
    assert (str(own / test) in line) == names
    assert ("debiased.onnx TEST, with samples" in line) != names
