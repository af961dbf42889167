"""What `ntkit debias` prints and writes, and what other commands read of it."""

import json
import re
import shlex
import shutil

import numpy as np
import onnxruntime as ort
import pytest

from ntkit import DebiasSettings, FrozenModel, debias, write_report
from ntkit.attributes.answers import write_answers
from ntkit.exceptions import InputError
from ntkit.jobs.debias import write_candidate
from tests.jobs.debias.conftest import DIGITS, QUICK
from tests.model.test_pooling import backbone


def command(npz, out, *more):
    parts = [word for n in ("train", "validation") for word in (f"--{n}", npz / f"{n}.npz")]
    return ["debias", DIGITS, *parts, "-o", out, "--device", "cpu", *more]


def accuracies(model, digits):
    """Average, worst class and worst group in percent, by ONNX Runtime alone."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: digits.X_test})
    right = logits.argmax(axis=1) == digits.y_test
    return [
        f"{100 * min(right[of == each].mean() for each in np.unique(of)):.1f}"
        for of in (np.zeros_like(digits.y_test), digits.y_test, digits.groups_test)
    ]


@pytest.mark.more
@pytest.mark.parametrize("max_cost", ["0.05", "0.003"])
def test_the_rows_are_those_of_the_files_and_the_next_command_runs(
    digits, npz, tmp_path, run, max_cost
):
    """Also if the head that is written is an interpolation."""
    more = ["--method", "auto", "--max-cost", max_cost, "--test", npz / "test.npz"]
    out, more = tmp_path / "out", [*more, "--label-column", "y", "--even-if-worse"]
    code, printed, _ = run(*command(npz, out, *more))
    assert code == 0
    lines = printed.splitlines()
    table = [re.split(r"\s{2,}", line) for line in lines[-4:]]
    assert table[0] == ["test set, %", "average", "worst class", "worst group"]
    assert table[1] == ["original head", *accuracies(DIGITS, digits)]
    assert table[2][1:] == accuracies(out / "debiased.onnx", digits)
    assert table[2][0].startswith("written: auto")
    assert table[3][0].startswith("best control: class-balanced")
    assert len(lines) == 4 + 1 + 4
    before, after = table[1], table[2]
    assert lines[1].startswith(f"Test set: Worst class: {before[2]} → {after[2]} % (")
    assert lines[1].endswith(f"Average: {before[1]} → {after[1]} %. No shortcut was named.")
    assert f"Wrote {out / 'debiased.onnx'}" in lines[0]
    if max_cost == "0.05":
        program, *words = shlex.split(lines[3].removeprefix("Next: "))
        assert (program, words[0]) == ("ntkit", "check")
        assert words[-2:] == ["--settings", str(out / "settings.toml")]
        code, printed, _ = run(*words, "--device", "cpu")
        assert code in (0, 1, 3)
        assert re.match("Passed|Failed|Too few", printed)
        found = re.search(r"worst group (?:\(\d\) )?([\d.]+)(?: \(\d\))? → ([\d.]+) %", printed)
        assert found.groups() == (before[3], after[3])


@pytest.mark.more
def test_without_a_test_set_the_next_command_names_no_sample_of_the_repair(npz, tmp_path, run):
    out = tmp_path / "out"
    code, printed, _ = run(*command(npz, out, "--method", "auto", "--even-if-worse"))
    assert code == 0
    line = next(line for line in printed.splitlines() if line.startswith("Next: "))
    program, *words = shlex.split(line.removeprefix("Next: ").partition(", ")[0])
    assert (program, words[0], words[-1]) == ("ntkit", "check", "TEST")
    assert line.endswith("with samples as TEST that this repair has not seen")
    words[-1] = str(npz / "test.npz")
    assert run(*words, "--device", "cpu")[0] in (0, 1, 3)


def test_a_kept_model_says_why_and_what_was_tried(npz, tmp_path, run):
    settings = tmp_path / "run.toml"
    settings.write_text("[debias]\nkeep_original = true\n", encoding="utf-8")
    more = ("--method", "neurontune", "--max-cost", "0", "--settings", settings)
    code, out, _ = run(*command(npz, tmp_path / "out", *more))
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith("Kept the original model: neurontune ")
    assert lines[0].endswith(f"{tmp_path / 'out'}: debiased.onnx is the unchanged original.")
    assert lines[1].startswith("Validation set, cross-fitted, with neurontune: Worst class: ")
    assert lines[3] == f"Next: open {tmp_path / 'out' / 'report.html'}"
    assert lines[-2].startswith("not written: neurontune")


@pytest.mark.more
def test_everything_is_there_if_asked_for(npz, tmp_path, run, all_candidates):
    """And a new head has no old model to compare it with."""
    more = ("--method", "auto", "--verbose", "--new-head")
    _, out, _ = run(*command(npz, tmp_path / "out", *more))
    table = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert out.rstrip("\n").replace("\\", "") == table.rstrip("\n").replace("\\", "")
    for name in ("random mask of ", "neurontune-half", "Embeddings computed on: cpu"):
        assert name in out
    assert f"Next: open {tmp_path / 'out' / 'report.html'}" in out.splitlines()


@pytest.mark.more
def test_the_next_command_of_an_audit_runs_in_a_folder_with_blanks(npz, asked, tmp_path, run):
    more = ["--label-column", "y", "--device", "cpu", "--changes", "0"]
    _, text, _ = run("audit", DIGITS, npz / "validation.npz", "-o", tmp_path / "o ut", *more)
    program, *words = shlex.split(text.splitlines()[-1].removeprefix("Next: "))
    assert program == "ntkit"
    assert words[-2:] == ["-o", "debiased/"]
    assert words[words.index("--settings") + 1] == str(tmp_path / "o ut" / "settings.toml")
    answers = tmp_path / "answers.json"
    write_answers(answers, asked.audit.answers(asked.open[0].name))
    place = {"TRAIN": npz / "train.npz", "answers.json": answers, "debiased/": tmp_path / "d"}
    code, text, _ = run(*(place.get(word, word) for word in words), "--device", "cpu")
    assert code == 0
    assert text.startswith("Probably better. Wrote ")  # there is no test set


# -- another row of a finished run: the head as if it had been asked for ---------------------------


@pytest.fixture(scope="module")
def rows(zoo, tmp_path_factory):
    """A run of a model whose classes are in no order, and its samples."""
    folder = tmp_path_factory.mktemp("run")
    path = zoo.save(zoo.classifier(3), folder / "m.onnx")
    model = FrozenModel.load(path, classes=["cow", "ant", "bee"])
    X = zoo.inputs(240)
    y = np.array(["cow", "ant", "bee"])[(X[:, :3] + zoo.run(path, X)["logits"] / 3).argmax(axis=1)]
    sets = (X[:120], y[:120]), (X[120:], y[120:])
    debias(
        model,
        *sets,
        method="auto",
        out=folder / "run",
        settings=DebiasSettings(trust_inputs=True),
        **QUICK,
    )
    return model, sets, folder / "run"


@pytest.mark.more
@pytest.mark.parametrize("name", ["class-balanced", "neurontune-half"])
def test_a_row_is_what_the_job_would_have_written(zoo, rows, tmp_path, run, all_candidates, name):
    model, sets, folder = rows
    before, other = zoo.contents(folder), tmp_path / "other"
    options = {"settings": DebiasSettings(otherwise="new head", trust_inputs=True)} | QUICK
    asked = debias(model, *sets, method=name, **options)
    code, out, err = run(
        "debias", "--from", folder, "--method", name, "-o", other, "--device", "cpu"
    )
    assert code == 0, err
    assert f"with the whole head of {name} of the run in {folder}" in out
    X = zoo.inputs(50, seed=9)
    found = zoo.run(other / "debiased.onnx", X)["logits"]
    np.testing.assert_allclose(found, zoo.run(asked.model.to_proto(), X)["logits"], atol=1e-5)
    written = FrozenModel.load(other / "debiased.onnx")
    assert written.head.classes.tolist() == ["cow", "ant", "bee"]
    assert written.metadata["ntkit.method"] == name
    record = json.loads((other / "result.json").read_text())
    assert record["chosen"] == name
    of_other_row = {"max_cost", "headline", "accuracy_costs", "change"}
    assert not of_other_row & set(record)
    assert [row["name"] for row in record["candidates"] if row["chosen"]] == [name]
    assert zoo.contents(folder) == before


def test_what_is_no_row_of_a_run_is_refused(zoo, rows, tmp_path, run):
    model, _, folder = rows
    out, moved = tmp_path / "out", tmp_path / "elsewhere.onnx"
    copy, other_json = tmp_path / "copy", tmp_path / "json"
    other = zoo.save(zoo.classifier(3, dtype=np.float64), tmp_path / "other.onnx")
    shutil.copytree(folder, copy)
    (copy / "heads.npz").write_bytes((folder / "heads.npz").read_bytes()[:300])
    shutil.copytree(folder, other_json)
    with np.load(folder / "heads.npz") as arrays:
        np.savez(other_json / "heads.npz", **dict(arrays) | {"about": np.asarray("{}")})
    for arguments, options, message in (
        ((folder, "magic", out), {}, r"has no candidate 'magic'. It has .*class-balanced"),
        ((tmp_path, "auto", out), {}, "not the folder of a finished run"),
        ((folder, "auto", out), {"model": other}, "the SHA-256 differs"),
        ((folder, "auto", folder), {"force": True}, "is an input of this job"),
        ((copy, "auto", out), {"model": model}, "is damaged"),
        ((other_json, "auto", out), {"model": model}, "is damaged"),
    ):
        with pytest.raises(InputError, match=message):
            write_candidate(*arguments, **options)
    shutil.move(model.path, moved)
    try:
        with pytest.raises(InputError, match="no longer at"):
            write_candidate(folder, "class-balanced", out)
        write_candidate(folder, "class-balanced", out, model=moved, device="cpu")
    finally:
        shutil.move(moved, model.path)
    assert (out / "debiased.onnx").exists()
    code, _, err = run("debias", "--from", folder, "-o", tmp_path / "new")
    assert (code, "holds a decided run. Another method" in err) == (2, True)
    row = ("--from", folder, "--method", "auto", "-o", tmp_path / "new", "--train", folder)
    code, _, err = run("debias", *row)
    assert (code, "--train is not used to write another row" in err) == (2, True)
    code, _, err = run("debias", "-o", tmp_path / "new")
    assert (code, "MODEL is missing" in err) == (2, True)


# -- `verify` and `check --report` read what `debias` writes ---------------------


def side_outputs(zoo):
    graph = zoo.classifier(3, output=False)
    graph.add("Softmax", ["h"], "attention")
    graph.output("z", ["batch", 5])
    graph.output("logits", ["batch", 3])
    graph.output("attention", ["batch", 5])
    return graph.model()


def two_heads(zoo):
    graph = zoo.classifier(3, output=False)
    graph.add("Gemm", ["z", graph.constant("w2", np.ones((2, 5)))], "domain", transB=1)
    graph.output("logits", ["batch", 3])
    graph.output("domain", ["batch", 2])
    return graph.model()


# Model, how it is loaded, labels of the samples, whether their head is new.
JOBS = {
    "side outputs": (side_outputs, {"logits": "logits"}, [0, 1, 2], False),
    "one of two heads": (two_heads, {"logits": "logits"}, ["a", "b", "c"], False),
    "four for three": (lambda zoo: zoo.classifier(3), {}, [0, 1, 2, 3], True),
    "cls, next to another head": (
        lambda zoo: backbone(zoo, masks=(), head=True),
        {"embedding": "hidden", "pooling": "cls"}, ["x", "y"], True),
}  # fmt: skip


@pytest.fixture(scope="module", params=JOBS)
def job(request, zoo, tmp_path_factory):
    """The original, the folder that debias wrote, a test set, and whether the head is new."""
    build, options, labels, new = JOBS[request.param]
    folder = tmp_path_factory.mktemp("job")
    path = zoo.save(build(zoo), folder / "m.onnx")
    rng = np.random.default_rng(0)
    shape = (4, 6) if "pooling" in options else (6,)

    def sample(n):
        X = rng.normal(size=(n, *shape)).astype(np.float32)
        logits = X.reshape(n, -1)[:, : len(labels)] + rng.normal(size=(n, len(labels))) / 4
        return X, np.asarray(labels)[logits.argmax(axis=1)]

    model = FrozenModel.load(path, **options)
    out = folder / "out"
    # Weights are random: some classes are never predicted.
    settings = DebiasSettings(
        trust_inputs=True, new_head=new, otherwise=None if new else "new head"
    )
    ordered = {"settings": settings} | ({} if new else {"method": "class-balanced"})
    debias(model, sample(120), sample(120), out=out, **ordered, **QUICK)
    X, y = sample(90)
    np.savez(folder / "test.npz", X=X, y=y)
    return path, out / "debiased.onnx", folder / "test.npz", new


@pytest.mark.more
def test_verify_and_report_read_what_was_written(job, run, tmp_path):
    path, debiased, data, new = job
    code, out, err = run("verify", path, debiased, data)
    assert code == 0, err
    assert "check                 passed" in out
    assert ("has other classes" in out or "no head" in out) == new
    assert ("same predictions      –" in out) == new

    def says_so(page):
        text = page.read_text(encoding="utf-8")
        return "The results before the repair are those of an ERM head" in text

    page = tmp_path / "report.html"
    code, _, err = run("check", path, debiased, data, "--report", page)
    if code == 2:  # a model without these classes has no predictions to check
        assert (new, page.exists(), len(err.splitlines())) == (True, False, 1), err
    else:
        assert says_so(page) == new
    with np.load(data) as npz:
        assert (
            says_so(write_report(path, debiased, (npz["X"], npz["y"]), page.with_name("p"))) == new
        )
    read = FrozenModel.load(debiased)
    assert read.head == FrozenModel.load(debiased, **read.located_by).head
    assert read.metadata["ntkit.new_head"] in ("true", "false")
