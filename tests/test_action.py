"""action.yml, whose steps run here as GitHub runs them."""

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from ntkit import FrozenModel
from ntkit.datasets import marked_digits_model_path

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS = [step for step in ACTION["runs"]["steps"] if "run" in step]
SHELLS = {
    "bash": ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"],
    "python": [sys.executable],
}
HOSTILE = "$(touch run) `touch run` \"'; touch run; ${{ x }}\n::warning::"
PLAIN = "$(touch run) `touch run` '; touch run; ${{ x }}"  # Windows allows it in a file name


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, digits):
    """The demo's model, one that guesses, and samples."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copy(marked_digits_model_path(), folder / "old.onnx")
    model = FrozenModel.load(folder / "old.onnx")
    model.with_head(model.head.scaled([0] * 64)).save(folder / "guess.onnx")
    for name, n in (("test", 400), ("few", 40)):
        rows = np.linspace(0, len(digits.y_test) - 1, n).astype(int)
        np.savez(folder / f"{name}.npz", X=digits.X_test[rows], y=digits.y_test[rows])
    return folder


def run(step, inputs, folder, **environment):
    """Run one step with the inputs of a workflow; the finished process, outputs and summary."""
    temporary = folder.parent / f"{folder.name}-runner"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    files = {name: temporary / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for file in files.values():
        file.touch()
    defaults = {name: field.get("default", "") for name, field in ACTION["inputs"].items()}
    given = {f"${{{{ inputs.{name} }}}}": value for name, value in (defaults | inputs).items()}
    script = temporary / "script"
    script.write_text(step["run"], "utf-8")
    variables = {name: given[value] for name, value in step.get("env", {}).items()}
    done = subprocess.run(
        [*SHELLS[step["shell"]], str(script)],
        cwd=folder,
        env={**os.environ, **variables, **files, "RUNNER_TEMP": str(temporary), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    return done, outputs, files["GITHUB_STEP_SUMMARY"].read_text("utf-8")


def check(folder, **inputs):
    step = next(step for step in STEPS if step.get("id") == "check")
    return run(step, inputs, folder)


def test_no_script_holds_an_expression():
    """GitHub pastes an expression into a script as text, which a shell then runs."""
    assert [step["shell"] for step in STEPS] == ["bash", "python"]
    assert not any("${{" in step["run"] for step in STEPS)
    named = {value for step in STEPS for value in step.get("env", {}).values()}
    asked = {f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"]}
    assert asked - named == {"${{ inputs.python-version }}"}
    values = {output["value"] for output in ACTION["outputs"].values()}
    assert values == {f"${{{{ steps.check.outputs.{name} }}}}" for name in ACTION["outputs"]}


@pytest.mark.parametrize(
    ("new", "data", "allow", "code", "outcome"),
    [
        ("guess.onnx", "test.npz", "true", 1, "fail"),
        ("old.onnx", "few.npz", "false", 3, "too few"),
        pytest.param("old.onnx", "few.npz", "true", 0, "too few", marks=pytest.mark.more),
    ],
)
def test_outcome_summary_and_exit_code(workspace, new, data, allow, code, outcome):
    done, outputs, summary = check(
        workspace, old="old.onnx", new=new, data=data, **{"allow-too-few": allow}
    )
    assert (done.returncode, outputs["outcome"]) == (code, outcome), done.stderr
    report = Path(outputs["report"])
    assert json.loads((report / "check.json").read_text("utf-8"))["outcome"] == outcome
    suites = ET.parse(report / "check.xml").getroot()
    assert suites.find(".//failure" if outcome == "fail" else ".//error") is not None
    assert summary == (report / "check.md").read_text("utf-8") + "\n"
    assert "points" in summary


@pytest.mark.more
def test_names_are_not_run(workspace, tmp_path):
    """A passing check of files whose names a shell would run; its limits are in a file, too."""
    old, new, data = f"-{PLAIN}.onnx", f"{PLAIN}.onnx", f"{PLAIN}.npz"
    for name in (old, new):
        shutil.copy(workspace / "old.onnx", tmp_path / name)
    shutil.copy(workspace / "test.npz", tmp_path / data)
    (tmp_path / "ntkit.py").write_text("raise SystemExit(0)")  # must not pass for ntkit
    limits = f"{PLAIN}.toml"
    (tmp_path / limits).write_text("max_drop = 5\n", "utf-8")
    done, outputs, _ = check(tmp_path, old=old, new=new, data=data, limits=limits)
    assert (done.returncode, outputs["outcome"]) == (0, "pass"), done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first == f"::stop-commands::{last.strip(':')}"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (f"--slice {HOSTILE}", "quote without its end"),
        ("--max-drop 50 --json-file mine.json", "args must not hold --json-file, because the step"),
        ("--junit=mine.xml", "args must not hold --junit"),
        pytest.param("--slice '$(touch run)'", "$(touch run)", marks=pytest.mark.more),
        pytest.param("; touch run", "path(s) are given", marks=pytest.mark.more),
    ],
)
def test_options_are_not_run(workspace, args, says):
    done, outputs, summary = check(
        workspace, old="old.onnx", new="old.onnx", data="test.npz", args=args
    )
    assert (done.returncode, outputs["outcome"], summary) == (2, "error", "")
    assert says in done.stderr
    assert not (workspace / "run").exists()


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"new": ""}, "The input new is empty."),  # a misspelt expression
        ({"new": "none"}, "The input new is missing. Set it, or name --predictions in args."),
        ({"old": " "}, "The input old is empty."),
        ({"data": ""}, "The input data is empty."),
        ({"data": "", "args": "--predictions test.csv"}, "The input data is empty."),
        ({"limits": ""}, "The input limits is empty."),
        ({"args": "--help"}, "nothing was checked"),
    ],
)
def test_no_input_is_left_out_by_accident(workspace, inputs, says):
    given = {"old": "old.onnx", "new": "old.onnx", "data": "test.npz"} | inputs
    done, outputs, summary = check(workspace, **given)
    assert (done.returncode, outputs["outcome"], summary) == (2, "error", ""), done.stderr
    assert says in done.stderr


@pytest.mark.more
@pytest.mark.parametrize(
    ("inputs", "code", "outcome"),
    [
        (
            {"old": "none", "new": "guess.onnx", "data": "test.npz", "args": "--average 70"},
            1,
            "fail",
        ),
        ({"data": "none", "args": "--predictions=test.csv --average 50"}, 0, "pass"),
        ({"new": "", "data": "none", "args": "--predictions test.csv --average 50"}, 0, "pass"),
    ],
)
def test_inputs_may_be_left_out_on_purpose(workspace, inputs, code, outcome):
    rows = "".join(f"{i},{i % 2},{i % 2}\n" for i in range(400))
    (workspace / "test.csv").write_text(f"id,label,prediction\n{rows}")
    done, outputs, _ = check(workspace, **inputs)
    assert (done.returncode, outputs["outcome"]) == (code, outcome), done.stderr


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for python is a shell script")
@pytest.mark.parametrize(
    ("inputs", "runtime", "extras"),
    [
        ({"args": "--max-drop 2"}, False, "[cpu,text]"),
        ({"args": "--max-drop 2"}, True, "[onnx,text]"),
        ({"args": "--predictions new.csv --before old.csv"}, False, ""),
        ({"args": "--predictions=new.parquet"}, True, "[text]"),
        ({"args": "--predictions new.csv", "data": "labels.parquet"}, False, "[text]"),
        ({"args": HOSTILE}, False, "[cpu,text]"),
    ],
)
def test_the_smallest_that_runs_the_check_is_installed_from_the_repository(
    tmp_path, inputs, runtime, extras
):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    imports = f'[ "$2" = -c ] && exit {0 if runtime else 1}'
    python.write_text(f'#!/bin/sh\n{imports}\nfor word; do printf "%s\\n" "$word"; done\n')
    python.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    step = next(step for step in STEPS if step.get("name") == "Install ntkit")
    given = {"data": "data", **inputs}
    done, _, _ = run(step, given, tmp_path, PATH=path, GITHUB_ACTION_PATH="/actions/at $(REF)")
    said = ["-P", "-m", "pip", "install", f"/actions/at $(REF){extras}"]
    assert done.stdout.splitlines() == said
    assert [*tmp_path.iterdir()] == [python.parent]
