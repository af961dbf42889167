"""Another share of the new head, which a person chooses after the report."""

import html
import json
import re
import shlex
import shutil
import tomllib

import numpy as np
import onnx
import pytest
from onnx.numpy_helper import to_array

from ntkit import DebiasSettings, FrozenModel, debias
from ntkit.exceptions import InputError
from ntkit.jobs.debias import _job
from tests.cases import done, ntkit, refused
from tests.jobs.debias.conftest import QUICK
from tests.models import contents

REGION = "column:region=0"
DEVICE = ("--device", "cpu", "--quiet")
CHOSEN = "A person chose the share of the new head"


def sets_of(data, test=True):
    parts = ("train", "validation", "test")[: 3 if test else 2]
    return [f"--{part}={path}" for part, path in zip(parts, data[1:], strict=False)]


@pytest.fixture(scope="module")
def finished(biased, tmp_path_factory):
    """The folder of a finished run, whose report somebody reads."""
    out = tmp_path_factory.mktemp("finished") / "out"
    done("debias", biased[0], *sets_of(biased), "--spurious", REGION, "-o", out, *DEVICE)
    return out


@pytest.fixture
def own(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "own")


def record_of(folder):
    return json.loads((folder / "result.json").read_text("utf-8"))


def last_layer(path):
    """Weights and bias of the last layer, read without ntkit."""
    graph = onnx.load(path).graph
    arrays = {each.name: to_array(each) for each in graph.initializer}
    gemm = [node for node in graph.node if node.op_type in ("Gemm", "MatMul")][-1]
    found = [arrays[name].astype(float) for name in gemm.input if name in arrays]
    return np.concatenate([np.ravel(each) for each in found])


@pytest.mark.more
def test_another_step_is_written_beside_the_run(biased, finished, tmp_path):
    before, out = contents(finished), tmp_path / "step"
    printed, _ = done("debias", "--from", finished, "--interpolation", "0.6", "-o", out, *DEVICE)
    assert printed.startswith("Probably better. ")
    assert f"Note: {CHOSEN} (60 %), perhaps by results on the test set." in printed
    assert contents(finished) == before
    first, record = record_of(finished), record_of(out)
    assert (first["accuracy_cost"]["t"], first["outcome"]["word"]) == (1, "better")
    assert first["ordered_share"] is None
    assert (record["accuracy_cost"]["t"], record["ordered_share"]) == (0.6, 0.6)
    assert record["outcome"]["word"] == "probably better"
    assert record["chosen"] == first["chosen"]
    assert any(note.startswith(CHOSEN) for note in record["notes"])
    assert CHOSEN in (out / "README.md").read_text("utf-8")
    assert "**Probably better.**" in (out / "README.md").read_text("utf-8")
    # 0.6 of the new head, and 0.4 of the original's logits in the same unit.
    old, new, step = map(last_layer, (biased[0], finished / "debiased.onnx", out / "debiased.onnx"))
    rest = step - 0.6 * new
    unit = rest @ old / (old @ old)
    assert unit > 0
    assert np.allclose(rest, unit * old, atol=1e-5 * np.abs(step).max())
    assert record["verification"]["logit_difference"] < 1e-4
    # The limits are those of this head.
    limits = [tomllib.loads((f / "repair-limits.toml").read_text("utf-8")) for f in (finished, out)]
    assert limits[1]["repair"]["new"] == FrozenModel.load(out / "debiased.onnx").sha256()
    assert limits[0]["max_drop"] != limits[1]["max_drop"]


@pytest.mark.more
def test_the_command_of_the_report_writes_a_step(own, monkeypatch):
    page = (own / "report.html").read_text("utf-8")
    (command,) = re.findall(r"<pre>(ntkit debias --from [^<]* --interpolation [^<]*)</pre>", page)
    words = shlex.split(html.unescape(command))[1:]
    assert words[3:5] == ["--interpolation", "0.9"]
    words[2], words[-1] = own, own.with_name("copied")  # they are of the folder of the run
    done(*words, *DEVICE)
    page = (own.with_name("copied") / "report.html").read_text("utf-8")
    assert "<td>90 % ←</td>" in page
    assert " unrelated to the class</th>" in page


@pytest.mark.more
def test_in_the_folder_of_the_run_all_or_nothing_is_replaced(own, monkeypatch):
    before = contents(own)
    with monkeypatch.context() as patch:

        def stopped(*_):
            raise KeyboardInterrupt

        patch.setattr(_job, "write_record", stopped)  # the last file of a run
        code, *_ = ntkit("debias", "--from", own, "--interpolation", "0.5", *DEVICE)
    assert code == 130
    assert contents(own) == before
    done("debias", "--from", own, "--interpolation", "0.5", *DEVICE)
    assert record_of(own)["ordered_share"] == 0.5
    # The next run chooses by itself again, unless the option is typed.
    done("debias", "--from", own, "--max-cost", "0.06", *DEVICE)
    assert record_of(own)["ordered_share"] is None


@pytest.mark.more
def test_the_method_of_the_run_stays(biased, tmp_path):
    options = ["--spurious", REGION, "--method", "auto", "--even-if-worse", *DEVICE]
    done("debias", biased[0], *sets_of(biased, test=False), *options, "-o", tmp_path / "out")
    again = ["--from", tmp_path / "out", "--interpolation", "0.35", "--even-if-worse", *DEVICE]
    printed, _ = done("debias", *again)
    record = record_of(tmp_path / "out")
    assert (record["chosen"], record["accuracy_cost"]["t"]) == ("auto", 0.35)
    assert f"{CHOSEN} (35 %), perhaps by results on the validation set." in printed


@pytest.mark.more
@pytest.mark.parametrize("share", ["0", "-0.5", "1.5", "nan"])
def test_a_share_is_above_0_and_at_most_1(own, share):
    before = contents(own)
    says = "must be a share of the new head above 0 (the original) and at most 1, not "
    refused("debias", "--from", own, f"--interpolation={share}", *DEVICE, says=says)
    assert contents(own) == before


def test_without_a_repair_there_is_no_step(biased, tmp_path):
    sets = sets_of(biased, test=False)
    refused("debias", biased[0], *sets, "--interpolation", 0.5, "-o", tmp_path / "out", *DEVICE,
            says="needs a new head; name a shortcut")  # fmt: skip


@pytest.mark.more
def test_a_head_with_a_mask_has_two_steps_and_the_page_says_why(biased, tmp_path):
    out = tmp_path / "out"
    options = ["--method", "neurontune", "--even-if-worse", *DEVICE]
    done("debias", biased[0], *sets_of(biased, test=False), *options, "-o", out)
    assert record_of(out)["suppressed_neurons"]
    assert [each["t"] for each in record_of(out)["accuracy_costs"]] == [0, 1]
    page = (out / "report.html").read_text("utf-8")
    why = "The new head suppresses neurons, and an interpolation would use them again."
    assert why in page
    assert "<td>100 % ←</td>" in page
    assert "--interpolation" not in page
    again = ["--from", out, "--method", "neurontune", "--even-if-worse", *DEVICE]
    refused("debias", *again, "--interpolation", 0.5,
            says="suppresses neurons, which an interpolation would use again")  # fmt: skip
    done("debias", *again, "--interpolation", 1)


@pytest.mark.more
@pytest.mark.parametrize("share", [None, 1.0, 0.7])
def test_in_python_a_chosen_share_is_at_most_probably_better(biased, share):
    model, train, validation, test = biased
    result = debias(
        model,
        train,
        validation,
        test=test,
        spurious=REGION,
        settings=DebiasSettings(interpolation=share),
        **QUICK,
    )
    assert result.outcome.word == ("better" if share is None else "probably better")
    assert result.ordered_share == share
    assert result.accuracy_cost.t == (share or 1)
    assert any(note.startswith(CHOSEN) for note in result.notes) == (share is not None)


def test_in_python_the_share_is_checked_before_the_work(biased):
    with pytest.raises(InputError, match="above 0"):
        debias(*biased[:3], spurious=REGION, settings=DebiasSettings(interpolation=0), **QUICK)
