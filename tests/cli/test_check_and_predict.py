"""ntkit check and ntkit predict on files: exit codes, what is printed and written."""

import json
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest

from ntkit import FrozenModel
from ntkit.head import LinearHead
from ntkit.samples.copies import Identified
from ntkit.samples.read import read
from tests.cases import CLASSES, N_BARE, N, done, ntkit, read_csv, refused, write_csv
from tests.jobs.label.models import rows, write_model

DEVICE = ("--device", "cpu", "--quiet")


@pytest.mark.parametrize(
    ("names", "options", "code", "says"),
    [
        ("model.onnx model.onnx test.npz", "--max-drop 4", 0, "Passed: "),
        ("model.onnx worse.onnx test.npz", "--max-drop 2", 1, "Failed: worse.onnx compared with"),
        ("model.onnx model.onnx FEW", "--max-drop 2", 3, "Too few samples to say: "),
        ("model.onnx model.onnx FEW", "--max-drop 2 --allow-too-few", 0, "Too few samples to say"),
        ("model.onnx worse.onnx test.npz", "--max-drop 2 --allow-too-few", 1, "Failed: "),
        ("model.onnx test.npz", "--worst-group 20", 0, f"Passed: model.onnx, {N} samples.\n"),
        ("model.onnx test.npz", "--worst-class 80", 1, "Failed: model.onnx"),
        ("model.onnx test.npz", "--min-recall 20 --min-precision 1=20", 0, "Passed: model.onnx"),
        ("model.onnx test.npz", "--min-recall 0=99 --min-recall 1=2", 1, "Failed: model.onnx"),
        ("model.onnx test.npz", "--min-recall 90 --threshold 0", 0, "Passed: model.onnx"),
    ],
)
def test_exit_codes(user, tmp_path, names, options, code, says):
    paths = [tmp_path / "few.npz" if name == "FEW" else user / name for name in names.split()]
    with np.load(user / "test.npz") as arrays:
        np.savez(tmp_path / "few.npz", **{name: array[:30] for name, array in arrays.items()})
    ended, out, _ = ntkit("check", *paths, *options.split(), *DEVICE)
    assert (ended, out[: len(says)]) == (code, says)
    assert code != 3 or "150 such samples would decide" in out


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        ("model.onnx", "", "the usage is"),
        ("model.onnx model.onnx none.npz", "--max-drop 2", "none.npz does not exist"),
        ("model.onnx test.npz", "", "No limit is set"),
        ("model.onnx test.npz", "--max-new-errors 3", "Pass both models"),
        ("model.onnx test.npz", "--min-recall no=80", "the class 'no', which is not one. The cl"),
        ("model.onnx test.npz", "--min-recall a=b", "--min-recall: 'b' is not a number"),
        ("model.onnx test.npz", "--min-recall 80 --min-recall 1=2", "--min-recall is one number"),
        ("model.onnx test.npz", "--average 8 --threshold .1,.2", "or one for each of 1 model(s)"),
        ("model.onnx test.npz", "--limits none/pyproject.toml", "pyproject.toml cannot be read"),
        ("model.onnx test.npz", "--invariant image:grey", "may flip with --max-flip-rate"),
        ("model.onnx test.npz", "--invariant image:blurr", "did you mean 'blur'?"),
        ("model.onnx model.onnx bare.npz", "", "no array 'y'"),
        ("model.onnx test.npz", "--report OUT", "--report compares two models"),
        ("model.onnx other.onnx test.npz", "--report OUT", "in more than its head"),
        ("model.onnx model.onnx test.npz", "--json-file THESIS", "exists"),
        ("model.onnx model.onnx test.npz", "--junit THESIS", "exists"),
        ("model.onnx model.onnx test.npz", "--markdown THESIS", "exists"),
        ("model.onnx model.onnx test.npz", "--junit MODEL --force", "is an input of this job"),
    ],
)
def test_what_check_refuses(user, tmp_path, names, options, says):
    """Before any work, and files of others stay."""
    files = {name: tmp_path / name.lower() for name in ("OUT", "THESIS")}
    files["MODEL"] = user / "model.onnx"
    files["THESIS"].write_text("years of work")
    words = [files.get(word, word) for word in options.split()]
    refused("check", *(user / name for name in names.split()), *words, says=says)
    assert files["THESIS"].read_text() == "years of work"
    assert not files["OUT"].exists()


def test_an_old_model_of_the_same_network_takes_names_with_a_note(user, tmp_path):
    """Scores in another order than these names are refused, as of any other old model."""
    with np.load(user / "test.npz") as arrays:
        np.savez(tmp_path / "t.npz", X=arrays["X"], y=np.array(["cat", "dog"])[arrays["y"]])
    for name, order in (("old", [0, 1]), ("turned", [1, 0]), ("new", [0, 1])):
        model = FrozenModel.load(user / "model.onnx")
        head = model.head
        turned = LinearHead(head.coef[order], head.intercept[order], head.classes)
        model.with_head(turned).save(tmp_path / f"{name}.onnx")
        proto = onnx.load(tmp_path / f"{name}.onnx")
        del proto.metadata_props[:]
        if name == "new":
            onnx.helper.set_model_props(proto, {"ntkit.classes": '["cat", "dog"]'})
        onnx.save(proto, tmp_path / f"{name}.onnx")
    rest = (tmp_path / "new.onnx", tmp_path / "t.npz", "--max-drop", "90", *DEVICE)
    code, _, err = ntkit("check", tmp_path / "old.onnx", *rest)
    assert code == 0
    assert "old.onnx does not name its classes, so ntkit takes those of the second model" in err
    refused("check", tmp_path / "turned.onnx", *rest, says="another order than the labels")


def test_limits_of_the_working_directory(user, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check = (
        "check",
        user / "model.onnx",
        user / "model.onnx",
        user / "test.npz",
        *DEVICE,
        "--json",
    )
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.other]\nx = 1\n")
    (tmp_path / "empty.toml").touch()
    for table, options, limits in (
        ("", (), {"max_drop": 0.05}),
        ("[tool.ntkit.check]\nmax_drop = 30\n", (), {"max_drop": 0.3}),
        ("average = 9\n", ("--max-drop", "40"), {"accuracy": 0.09, "max_drop": 0.4}),
        ("", ("--limits", "pyproject.toml"), {"accuracy": 0.09, "max_drop": 0.3}),
        ("", ("--limits", "empty.toml"), {"max_drop": 0.05}),
    ):
        project.write_text(project.read_text() + table)
        _, out, err = ntkit(*check, *options)
        average = json.loads(out)["rows"][0]
        assert {each["limit"]: each["bound"] for each in average["limits"]} == limits
        of_project = "--limits" not in options and limits != {"max_drop": 0.05}
        assert ("read from [tool.ntkit.check] in pyproject.toml" in err) == of_project


def test_an_option_keeps_the_limits_of_other_classes(user, tmp_path):
    (tmp_path / "l.toml").write_text("min_recall = {0 = 5, 1 = 6}\n")
    (tmp_path / "one.toml").write_text("min_recall = 5\n")
    check = ("check", user / "model.onnx", user / "test.npz", *DEVICE, "--json", "--limits")
    for options, bounds in (((), [0.05, 0.06]), (("--min-recall", "1=7"), [0.05, 0.07])):
        _, out, _ = ntkit(*check, tmp_path / "l.toml", *options)
        assert sorted(r["limits"][0]["bound"] for r in json.loads(out)["rates"]) == bounds
    refused(*check, tmp_path / "l.toml", "--min-recall", "7", says="Name the class in both")
    refused(*check, tmp_path / "one.toml", "--min-recall", "1=7", says="Name the class in both")
    _, out, _ = ntkit(*check, tmp_path / "one.toml", "--min-recall", "7")
    assert [r["limits"][0]["bound"] for r in json.loads(out)["rates"]] == [0.07]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "[tool.ntkit.chek]\nmax_drop = 1\n",
            "has 'chek', which ntkit does not read; did you mean",
        ),
        ("[tool.ntkit.check]\naverage = 99 %\n", "pyproject.toml is not valid TOML"),
        ("[tool]\nntkit.check.average = 99 %\n", "pyproject.toml is not valid TOML"),
        ("[tool]\nntkit = {check = {average = 99}}\nx = y\n", "pyproject.toml is not valid TOML"),
        ("[tool.ntkit.check]\naverage = 99\n".encode("utf-16"), "pyproject.toml is not valid TOML"),
        ("[project]\nname = x\n", None),
        ("[project]\ndependencies = [\n'ntkit==1',\n", None),
        ("[project]\ndependencies = ['ntkit==1',\n", None),
    ],
)
def test_a_project_whose_limits_cannot_be_read(user, tmp_path, monkeypatch, content, says):
    """An error if it has limits, which options replace only singly; else a note."""
    monkeypatch.chdir(tmp_path)
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "pyproject.toml").write_bytes(content)
    check = ("check", user / "model.onnx", user / "test.npz", "--average", 9, *DEVICE)
    if says is not None:
        refused(*check, says=says)
        (tmp_path / "own.toml").write_text("average = 9\n")
        assert ntkit(*check, "--limits", "own.toml")[0] == 0
    else:
        code, _, err = ntkit(*check)
        assert code == 0
        assert "Note: pyproject.toml is not valid TOML" in err
        assert "No limits are in this file, so ntkit goes on without it." in err


def test_changes_that_must_not_matter(user):
    changes = ("--invariant", "image:jpeg=90", "--invariant", "image:top left", *DEVICE)
    code, out, _ = ntkit("check", *[user / "model.onnx"] * 2, user / "test.npz", *changes)
    assert code == 0
    assert re.search(rf"image:top left +{N} +[0-9.]+ ", out)
    rate = ("--max-flip-rate", "5", "--json")
    code, out, _ = ntkit("check", user / "model.onnx", user / "test.npz", *changes, *rate)
    (jpeg, part) = json.loads(out)["changes"]
    assert (code, jpeg["limits"][0]["outcome"], part["limits"][0]["outcome"]) == (1, "pass", "fail")


def test_files_are_written_whatever_the_outcome(user, tmp_path):
    limits = tmp_path / "limits.toml"
    limits.write_text('max_drop = 2\nover = ["group"]\nmax_new_errors = 50\n')
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "xml", "md")}
    command = ["check", user / "model.onnx", user / "worse.onnx", user / "test.npz", *DEVICE]
    command += ["--limits", limits]
    code, out, _ = ntkit(
        *command, "--json", "--json-file", files["json"], "--junit", files["xml"],
        "--markdown", files["md"],
    )  # fmt: skip
    assert code == 1
    written = json.loads(files["json"].read_text("utf-8"))
    assert json.loads(out) == written
    assert "report" not in written
    limited = [row for row in written["rows"] if row["limits"]]
    assert [row["kind"] for row in limited] == ["average", *["group"] * 4]
    assert [each["limit"] for each in limited[0]["limits"]] == ["max_new_errors"]
    assert ElementTree.parse(files["xml"]).getroot().get("tests") == "5"
    assert files["md"].read_text("utf-8").startswith("### Failed")
    # An option goes before the file.
    assert ntkit(*command, "--max-drop", "100")[0] == 0


def test_a_report_on_two_models(user, tmp_path):
    page = tmp_path / "report.html"
    command = ["check", user / "model.onnx", user / "worse.onnx", user / "test.npz", *DEVICE]
    plain = ntkit(*command)
    code, out, _ = ntkit(*command, "--report", page)
    assert (code, out) == (plain[0], f"{plain[1]}\nReport: {page}\n")
    assert "data:image/webp" in page.read_text(encoding="utf-8")
    refused(*command, "--report", page, says="--force")
    code, out, _ = ntkit(*command, "--report", page, "--force", "--json")
    assert (code, json.loads(out)["report"]) == (plain[0], str(page))


def test_predict(user, tmp_path):
    out = tmp_path / "out.csv"
    predict = ["predict", user / "worse.onnx", user / "test.npz", "-o", out, *DEVICE]
    code, said, _ = ntkit(*predict, "--before", user / "model.onnx")
    assert code == 0
    rows = read_csv(out)
    assert len(rows) == N
    assert [*rows[0]][:6] == [
        "row", "label", "prediction_before", "prediction", "changed", "margin_before",
    ]  # fmt: skip
    assert f"differ on {sum(int(row['changed']) for row in rows)} samples" in said
    refused(*predict, says="exists")
    bare = ["predict", user / "model.onnx", user / "bare.npz", "-o", out, "--force", "--json"]
    code, said, _ = ntkit(*bare, *DEVICE)
    assert (code, json.loads(said)["n_samples"]) == (0, N_BARE)


def test_the_old_file_outside_its_folder_reads_images_like_the_new_one(user, tmp_path):
    """As in the recipe for CI: only the folder of the new model has a preprocessor_config.json."""
    (folder := tmp_path / "model").mkdir()
    shutil.copy(user / "model.onnx", folder / "model.onnx")
    shutil.copy(user / "model.onnx", tmp_path / "old.onnx")
    steps = {"image_mean": [0.3], "image_std": [0.5], "do_resize": False, "rescale_factor": 1 / 255}
    config = {"do_normalize": True, "do_rescale": True, **steps}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    (limits := tmp_path / "limits.toml").write_text('max_drop = 2\nover = ["average"]\n')
    options = ("--limits", limits, "--classes", ",".join(CLASSES), *DEVICE)
    pair = (tmp_path / "old.onnx", folder / "model.onnx")
    _, out, err = ntkit("check", *pair, user / "test", *options, "--json")
    (average, *_), notes = (json.loads(out)[key] for key in ("rows", "notes"))
    assert average["before"] == average["accuracy"], err
    assert any("so it gets that of model.onnx" in note for note in notes)
    assert not any("name different preprocessing" in note for note in notes)
    _, turned, _ = ntkit("check", *pair[::-1], user / "test", *options, "--json")
    assert any("No file of old.onnx names its prep" in note for note in json.loads(turned)["notes"])
    assert json.loads(turned)["rows"][0]["accuracy"] == average["accuracy"]
    _, own, _ = ntkit("check", folder / "model.onnx", user / "test", "--average", "2", *options[2:],
                      "--json")  # fmt: skip
    assert json.loads(own)["rows"][0]["accuracy"] == average["accuracy"]


def test_labels_of_samples_make_groups(user, tmp_path):
    """Labels that ntkit label saved are groups as confirmed findings are."""
    with np.load(user / "test.npz") as arrays:
        X, y, marked = arrays["X"], arrays["y"], arrays["groups"] % 2
    digests = Identified([read((X, y), FrozenModel.load(user / "model.onnx"))]).digests
    values = np.array(["no", "yes"])
    entries = [
        {"name": str(i), "answer": str(values[marked[i]]), "content": digests[i]}
        for i in range(300)
    ]
    said = {"ntkit": "answers", "version": 1, "question": "Is there a mark?"}
    said |= {"values": ["yes", "no"], "answers": entries}
    (tmp_path / "answers.json").write_text(json.dumps(said))
    models = user / "model.onnx", user / "worse.onnx"
    code, out, _ = ntkit("check", *models, user / "test.npz", "--answers",
                         tmp_path / "answers.json", "--json", *DEVICE)  # fmt: skip
    rows = {row["name"]: row["samples"] for row in json.loads(out)["rows"]}
    assert code in (1, 3)
    for label in (0, 1):
        for value, name in enumerate(values):
            n = int(((y == label) & (marked == value))[:300].sum())
            assert rows[f"{label} × {name}"] == n
    said["answers"] = [{**entries[0], "content": "0" * 64, "name": "elsewhere"}]
    (tmp_path / "answers.json").write_text(json.dumps(said))
    refused("check", *models, user / "test.npz", "--answers", tmp_path / "answers.json", *DEVICE,
            says="belongs to one of these samples")  # fmt: skip


def test_predictions_are_named_by_the_column_that_check_matches_by(tmp_path):
    model, (X, y, _) = write_model(tmp_path / "model.onnx"), rows(n=60)
    names = [f"case {i}" for i in range(60)]
    columns = dict(zip("abcdef", X.T.tolist(), strict=True)) | {"label": y, "case": names}
    data = write_csv(tmp_path / "data.csv", columns)
    out, options = tmp_path / "p.csv", ("--id-column", "case", "--columns", "a,b,c,d,e,f")
    done("predict", model, data, "-o", out, *options, *DEVICE)
    table = read_csv(out)
    assert [row["case"] for row in table] == names
    moved = write_csv(tmp_path / "moved.csv", {"case": names[::-1], "label": y[::-1]})
    code, said, _ = ntkit("check", "--predictions", out, moved, *options[:2], "--average", 50)
    right = np.mean([row["prediction"] == row["label"] for row in table])
    assert (code, f"Average accuracy {100 * right:.1f} %" in said) == (0, True)
    refused("predict", model, data, "-o", out, "--id-column", "cas", *options[2:], "--force",
            says="no column 'cas' that names samples")  # fmt: skip
