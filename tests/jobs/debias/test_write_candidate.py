"""Another row of a finished run: the head as if it had been asked for, nothing fitted again."""

import json
import shutil

import numpy as np
import pytest

from ntkit import FrozenModel, debias
from ntkit.cli import main
from ntkit.exceptions import InputError
from ntkit.jobs.debias import write_candidate

OPTIONS = {"device": "cpu", "n_random": 1, "trust_inputs": True}  # random weights


@pytest.fixture(scope="module")
def job(zoo, tmp_path_factory):
    """A run of a model whose classes are in no order, and its samples."""
    folder = tmp_path_factory.mktemp("run")
    path = zoo.save(zoo.classifier(3), folder / "m.onnx")
    model = FrozenModel.load(path, classes=["cow", "ant", "bee"])
    X = zoo.inputs(240)
    y = np.array(["cow", "ant", "bee"])[(X[:, :3] + zoo.run(path, X)["logits"] / 3).argmax(axis=1)]
    sets = (X[:120], y[:120]), (X[120:], y[120:])
    debias(model, *sets, method="auto", out=folder / "run", **OPTIONS)
    return model, sets, folder / "run"


def command(capsys, *arguments):
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code or 0
    return code, *capsys.readouterr()


@pytest.mark.parametrize("name", ["class-balanced", "neurontune-half"])
def test_a_row_is_what_the_job_would_have_written(zoo, job, tmp_path, capsys, name):
    model, sets, run = job
    before = zoo.contents(run)
    asked = debias(model, *sets, method=name, even_if_worse=True, **OPTIONS)
    code, out, err = command(
        capsys, "debias", "--from", run, "--method", name, "-o", tmp_path / "other", "--device",
        "cpu",
    )  # fmt: skip
    assert code == 0, err
    assert f"with the whole head of {name} of the run in {run}" in out
    X = zoo.inputs(50, seed=9)
    found = zoo.run(tmp_path / "other" / "debiased.onnx", X)["logits"]
    np.testing.assert_allclose(found, zoo.run(asked.model.to_proto(), X)["logits"], atol=1e-5)
    written = FrozenModel.load(tmp_path / "other" / "debiased.onnx")
    assert written.head.classes.tolist() == ["cow", "ant", "bee"]
    assert written.metadata["ntkit.method"] == name
    record = json.loads((tmp_path / "other" / "result.json").read_text())
    assert record["chosen"] == name
    assert not {"max_cost", "headline", "accuracy_costs", "change"} & set(
        record
    )  # of the other row
    assert [row["name"] for row in record["candidates"] if row["chosen"]] == [name]
    assert zoo.contents(run) == before


def test_what_is_no_row_of_a_run_is_refused(zoo, job, tmp_path):
    model, _, run = job
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"has no candidate 'magic'. It has .*class-balanced"):
        write_candidate(run, "magic", out)
    with pytest.raises(InputError, match="not the folder of a finished run"):
        write_candidate(tmp_path, "class-balanced", out)
    other = zoo.save(zoo.classifier(3, dtype=np.float64), tmp_path / "other.onnx")
    with pytest.raises(InputError, match="the SHA-256 differs"):
        write_candidate(run, "class-balanced", out, model=other)
    with pytest.raises(InputError, match="is an input of this job"):
        write_candidate(run, "class-balanced", run, force=True)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "heads.npz").write_bytes((run / "heads.npz").read_bytes()[:300])
    with pytest.raises(InputError, match="is damaged"):
        write_candidate(copy, "class-balanced", out, model=model)
    assert not out.exists()


def test_a_model_that_has_moved_is_named(job, tmp_path):
    model, _, run = job
    moved = tmp_path / "elsewhere.onnx"
    shutil.move(model.path, moved)
    try:
        with pytest.raises(InputError, match="no longer at"):
            write_candidate(run, "class-balanced", tmp_path / "out")
        write_candidate(run, "class-balanced", tmp_path / "out", model=moved, device="cpu")
    finally:
        shutil.move(moved, model.path)
    assert (tmp_path / "out" / "debiased.onnx").exists()


def test_the_command_line_says_what_is_missing(job, tmp_path, capsys):
    _, _, run = job
    code, _, err = command(capsys, "debias", "--from", run, "-o", tmp_path / "out")
    assert code == 2
    assert "holds a decided run. Another method" in err
    row = ["debias", "--from", run, "--method", "auto", "-o", tmp_path / "out"]
    for option in ("--train", "--deploy"):
        code, _, err = command(capsys, *row, option, run)
        assert code == 2
        assert f"{option} is not used to write another row" in err
    code, _, err = command(capsys, "debias", "-o", tmp_path / "out")
    assert code == 2
    assert "Give a model, samples and a folder" in err
