"""ntkit audit on files: of a model, and of tables of predictions and inputs."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest

from tests.cases import N_BARE, done, ntkit, refused, settings, write_csv, write_images

N = 400
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, N)
FILM = np.where(RNG.random(N) < 0.9, Y, 1 - Y)
PRED = np.where(RNG.random(N) < 0.5, FILM, Y)
TEXTS = [f"a {['movie', 'film'][f]}, number {i}" for i, f in enumerate(FILM)]
SITE = np.array(["A", "B"])[RNG.integers(0, 2, N)]
ALL = {"label": Y, "prediction": PRED, "prob_1": PRED * 0.8 + 0.1, "text": TEXTS, "site": SITE}


@pytest.fixture
def audit(tmp_path):
    """Audit tables, each given as columns; the record, the output and the error output."""
    out = tmp_path / "out"

    def audited(predictions, data, *options, **more):
        preds = write_csv(tmp_path / "p.csv", predictions)
        inputs = preds if data is None else write_csv(tmp_path / "d.csv", data)
        for name, columns in more.items():
            options += (f"--{name}", write_csv(tmp_path / f"{name}.csv", columns))
        shown, err = done("audit", "--predictions", preds, inputs, "-o", out, "--force", *options)
        return json.loads((out / "audit.json").read_text()), shown, err

    return audited


def names(record):
    return [finding["name"] for finding in record["findings"]]


def test_one_table(audit, tmp_path):
    found, out, err = audit(ALL, None)
    assert names(found) == ["word:film"]
    assert "word:film against word:movie" in out
    assert "left out 'prob_1'" in err
    assert "`word:film against word:movie`" in (tmp_path / "out" / "table.md").read_text()
    assert json.loads(audit(ALL, None, "--json")[1]) == found
    assert audit(ALL, None, "--columns", "site")[0]["looked_at"]["column"] == 2
    scored, _, _ = audit(ALL, None, "--score-columns", "prob_1")
    (note,) = scored.pop("notes")
    assert note.endswith("1 is predicted where the score 'prob_1' is above 0.5.")
    assert "prob_1" in found.pop("notes")[0]
    assert scored == found


def test_several_tables_are_matched_by_name_or_position(audit, tmp_path):
    order, some = RNG.permutation(N), np.arange(0, N, 2)
    moved = {"key": order, "text": [TEXTS[i] for i in order]}
    meta = {"key": some, "site": np.array(["A", "B"])[FILM[some]]}
    preds = {"key": range(N), "label": Y, "pred": PRED}
    found, _, err = audit(preds, moved, "--id-column", "key", metadata=meta)
    (note,) = err.splitlines()
    assert note.endswith(f"by its column 'key': it names {N // 2} of {N} samples.")
    assert {s["name"]: s["n_known"] for s in found["findings"]}["word:film"] == N
    assert found["looked_at"] == {"word": 2, "metadata": 3}
    # By a column id that both have, without being asked.
    data = {"id": range(N), "label": Y, "text": TEXTS}
    found, out, err = audit({"id": order, "prediction": PRED[order]}, data)
    assert "matched by their column 'id'" in out + err
    assert names(found) == ["word:film"]
    assert found["accuracy"] == pytest.approx((PRED == Y).mean())
    # By position, which is said; the labels are in either table.
    found, _, err = audit({"y_pred": PRED}, {"label": Y, "text": TEXTS}, metadata={"site": SITE})
    assert f"Rows of {tmp_path / 'd.csv'} and {tmp_path / 'p.csv'} are matched by position" in err
    assert f"{tmp_path / 'metadata.csv'} is matched row by row" in err
    assert len(found["notes"]) == 2
    assert names(found) == ["word:film"]


def test_predictions_labels_and_groups_are_no_attributes(audit):
    meta = {"label": Y, "group": [f"g{y}" for y in Y], "site": SITE}
    data = {"prediction": PRED, "text": TEXTS}
    found, _, err = audit({"label": Y, "prediction": PRED}, data, metadata=meta)
    assert names(found) == ["word:film"]
    assert found["looked_at"] == {"word": 2, "metadata": 2}
    assert "left out 'prediction'" in err


def test_labels_that_contradict_each_other_are_refused(audit, tmp_path):
    """Rows of one table in another order, and no known column that names them."""
    order = RNG.permutation(N)
    preds = write_csv(tmp_path / "p.csv", {"name": range(N), "label": Y, "y_pred": PRED})
    texts = [TEXTS[i] for i in order]
    data = write_csv(tmp_path / "d.csv", {"name": order, "label": Y[order], "text": texts})
    command = ["audit", "--predictions", preds, data, "-o", tmp_path / "out"]
    n = np.sum(Y[order] != Y)
    refused(*command, says="another order, by its column 'name'")
    bare = write_csv(tmp_path / "bare.csv", {"label": Y[order], "text": texts})
    without = ["audit", "--predictions", preds, bare, "-o", tmp_path / "out"]
    refused(*without, says=[f"{n} of {N} rows have different labels in", "--id-column"])
    assert not (tmp_path / "out").exists()
    assert done(*command, "--id-column", "name")[1] == ""
    write_csv(data, {"name": order, "label": 1 - Y[order], "text": texts})
    error = refused(*command, "--id-column", "name", "--force", says=f"{N} of {N} rows")
    assert "--id-column" not in error
    # Labels are compared as they are meant, and where there are any.
    some = [f"{y}.0" if i % 2 else "" for i, y in enumerate(Y)]
    audit({"label": Y, "y_pred": PRED}, {"label": some, "text": TEXTS})


def test_parquet_with_embeddings(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    vectors = np.column_stack([FILM + 0.1 * RNG.normal(size=N), RNG.normal(size=N)])
    table = pa.table({"label": Y, "pred": PRED, "embedding": list(vectors), "site": SITE})
    path = tmp_path / "all.parquet"
    pq.write_table(table, path)
    done("audit", "--predictions", path, path, "-o", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert names(found)[0].startswith("embedding #0")


def test_tables_that_do_not_fit_are_refused(user, tmp_path):
    files = {
        "one": {"id": range(N), **ALL},
        "short": {"id": range(3), "text": ["a b c"] * 3},
        "nameless": {"text": ["a b c"] * 3},
        "plain": {"label": Y, "text": TEXTS},
        "twice": {"id": [1] * N, "text": TEXTS},
    }
    at = {name: write_csv(tmp_path / f"{name}.csv", columns) for name, columns in files.items()}
    at |= {"model": user / "model.onnx", "missing": tmp_path / "missing.csv"}
    for predictions, data, options, says in (
        ("one", "one", "--label-column lable", "is it 'label'?"),
        ("one", "one", "--prediction-column nope", "no column 'nope'"),
        ("one", "one", "--score-columns nope", "no column 'nope'"),
        ("one", "one", "--text-column nope", "no column 'nope'"),
        ("one", "one", "--columns nope", "no column 'nope'"),
        ("one", "one", f"--id-column nope --metadata {at['one']}", "no column 'nope'"),
        ("one", "one", "--score-columns site", "not a finite number"),
        ("one", "nameless", "", "same order"),
        ("one", "nameless", "--id-column id", "no column 'id'"),
        ("one", "short", "", "no row for the sample '3'"),
        ("one", "twice", "--id-column id", "400 samples have this name"),
        ("plain", "plain", "", "no column of predictions"),
        ("model", "one", "", "model.onnx is no"),
        ("missing", "one", "", "does not exist"),
        ("one", "one", "--cross-fit", "--cross-fit needs a model"),
        ("one", "one", "--feature-sets word", "--feature-sets needs a model"),
        ("one", "one", "--preprocessing resize=9", "--preprocessing needs a model"),
        ("one", "one", f"--unlabelled {user}", "--unlabelled needs a model"),
    ):
        command = ["audit", "--predictions", at[predictions], at[data], "-o", tmp_path / "out"]
        refused(*command, *options.split(), says=says)
        assert not (tmp_path / "out").exists()


# -- of a model -----------------------------------------------------------------------------------


def test_images_and_arrays(user, tmp_path):
    found = []
    for data, *options in (("validation", "--changes", "1"), ("validation.npz", "--changes", "0")):
        out = tmp_path / data
        printed, err = done("audit", user / "model.onnx", user / data, "-o", out, *options)
        assert f"Written: {out}" in printed
        found.append(json.loads((out / "audit.json").read_text()))
        assert printed.splitlines()[0] in (out / "table.md").read_text()
        assert set(found[-1]["looked_at"]) >= {"image", "layer"}
        assert ("assumed from the model's input" in err) == (data == "validation")
    images, arrays = found
    assert images["classes"] == ["small", "zlarge"]
    assert any("used the labels in sorted order" in note for note in images["notes"])
    first = arrays["findings"][0]  # where the patch is, and neurons that see it
    assert first["name"].startswith("image:row 1 column 2 of 8 brightness")
    assert any(name.startswith("layer:") for name in first["same"])


def test_feature_sets_cross_fitting_and_samples_without_labels(user, tmp_path):
    out, _ = done(
        "audit", user / "model.onnx", user / "validation.npz", "-o", tmp_path / "o", "--cross-fit",
        "--feature-sets", "image", "--changes", "0",
    )  # fmt: skip
    assert out.startswith("Cross-fitted heads are right on")
    out, _ = done(
        "audit", user / "model.onnx", user / "validation.npz", "--unlabelled", user / "bare",
        "--feature-sets", "image", "-o", tmp_path / "out", "--json", "--quiet", "--changes", "0",
    )  # fmt: skip
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert json.loads(out) == found
    assert list(found["looked_at"]) == ["image"]
    assert found["unlabelled"]["samples"] == N_BARE
    assert [*found["unlabelled"]["findings"]] == names(found)
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    known = [each["known"] for each in found["unlabelled"]["findings"].values()]
    of_known = re.findall(r"Of (\d+) \w+ without labels, ", page)
    assert sorted(map(int, of_known)) == sorted(known) != []


def test_images_that_do_not_decode(user, tmp_path):
    ignored = shutil.ignore_patterns("metadata.csv")
    shutil.copytree(user / "test", tmp_path / "images", ignore=ignored)
    broken = tmp_path / "images" / "small" / "broken.png"
    broken.write_bytes(b"no picture")
    audit = ["audit", user / "model.onnx", tmp_path / "images", "-o", tmp_path / "o"]
    _, err = done(*audit, *settings(skip_bad=True), "--changes", "0")
    assert f"Left out 1 image(s) that cannot be decoded: {broken}" in err


def test_usage(user, tmp_path):
    model, data, table = (user / "model.onnx", user / "bare.npz", tmp_path / "t.csv")
    labelled = user / "test.npz"
    table.write_text("label,prediction,site\n" + "0,0,A\n1,1,B\n" * 20)
    for arguments, says in (
        ((model,), "Only one path is given"),
        ((table,), "ntkit audit --predictions TABLE DATA"),
        ((model, data, data), "3 paths are given"),
        ((table, data), "if it holds predictions, name it with --predictions"),
        ((data, model), "a model (an ONNX file) comes first"),
        ((model, model), "is a model, but samples are needed here"),
        ((model, tmp_path / "none"), "does not exist"),
        ((model, data, "--unlabelled", tmp_path / "none"), "does not exist"),
        ((model, table, "--predictions", table), "With --predictions no model is run"),
        ((model, data, "--prediction-column", "p"), "name the table with --predictions"),
        ((model, labelled, "--feature-sets", "words"), "feature_sets must be some of word"),
        ((model, labelled, "--metadata", tmp_path / "no.csv"), "does not exist"),
        ((model, labelled, "--metadata", table), "has 40 rows and there are"),
        ((model, labelled, "--metadata", table, "--id-column", "site"), "no column 'site'"),
    ):
        refused("audit", *arguments, "-o", tmp_path / "out", says=says)
        assert not (tmp_path / "out").exists()


@pytest.mark.more
@pytest.mark.parametrize("named", [False, True])
def test_the_next_command_of_an_audit_with_metadata_runs(user, tmp_path, named):
    """The table has rows of the audited samples alone, so these are the only set."""
    with np.load(user / "validation.npz") as arrays:
        y, wrong = arrays["y"], np.random.default_rng(1).random(len(arrays["y"])) < 0.1
    site = np.array(["A", "B"])[np.where(wrong, 1 - y, y)]
    names = {"id": range(len(y))} if named else {}
    meta = write_csv(tmp_path / "meta.csv", {**names, "site": site})
    data = user / "validation.npz"
    if named:
        data = tmp_path / "validation"
        with np.load(user / "validation.npz") as arrays:
            write_images(data, arrays["X"], y)
        files = [f"{('small', 'zlarge')[c]}/{i:04}.png" for i, c in enumerate(y.tolist())]
        write_csv(meta, {"file_name": files, "site": site})
    options = ("--classes", "small,zlarge") if named else ()
    command = ("audit", user / "model.onnx", data, "--metadata", meta, "-o", tmp_path / "a")
    out, _ = done(*command, "--changes", "0", "--device", "cpu", *options)
    line = out.split("Next: ntkit ")[1].split("\n")[0]
    one = {"name": "metadata:site=A", "answer": "spurious", "values": [["metadata:site=A"]]}
    answers = {"ntkit": "answers", "version": 1, "answers": [one]}
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    words = shlex.split(line.replace("answers.json", str(tmp_path / "answers.json")))
    assert words[0] == "debias"
    code, out, err = ntkit(*words[:-1], tmp_path / "debiased", "--device", "cpu", "--quiet")
    assert code in (0, 1), err
    assert "group-balanced" in out  # over class × site


@pytest.mark.more
def test_an_audit_a_check_and_a_repair_say_how_a_column_was_read(user, tmp_path):
    """Numbers with some NA are numbers in all of them."""
    sets = [user / f"{name}.npz" for name in ("train", "validation")]
    y = np.concatenate([np.load(path)["y"] for path in sets])
    rng = np.random.default_rng(6)
    age = (
        20 + 20 * np.where(rng.random(len(y)) < 0.2, 1 - y, y) + rng.integers(0, 9, len(y))
    ).astype(str)
    age[::50] = "NA"
    meta = write_csv(tmp_path / "meta.csv", {"age": age})
    own = write_csv(tmp_path / "own.csv", {"age": age[-len(np.load(sets[1])["y"]) :]})
    says = " cells such as 'NA' mean missing."
    model, device = user / "model.onnx", ("--device", "cpu", "--quiet")
    _, err = done(
        "audit", model, sets[1], "--metadata", own, "-o", tmp_path / "a", "--changes", "0", *device
    )
    assert says in err
    sliced = ("--average", 20, "--metadata", own, "--slice", "metadata:age>=35", *device)
    code, out, err = ntkit("check", model, sets[1], *sliced)
    assert code in (0, 1, 3), err
    assert says in err
    named = ("--train", sets[0], "--validation", sets[1], "--metadata", meta)
    spurious = ("--spurious", "metadata:age>=35", "-o", tmp_path / "out", *device)
    code, out, err = ntkit("debias", model, *named, *spurious)
    assert code in (0, 1), err
    for words in (says, "The metadata is matched row by row."):
        assert words in " ".join((out + err).split()), out + err
