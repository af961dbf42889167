"""diagnosis says what ONNX Runtime really uses, and names the repair."""

import json
import os
import sys

import onnxruntime as ort
import pytest

from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction import doctor as _doctor
from ntkit.extraction import session as _session
from ntkit.extraction.doctor import diagnosis
from ntkit.model import FrozenModel
from ntkit.verification import random_inputs

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.fixture
def machine(monkeypatch):
    """A machine without a GPU, whatever this one is."""
    for module in (_doctor, _session):
        monkeypatch.setattr(module, "nvidia_device", lambda: False)
    monkeypatch.setattr(_doctor, "builds", lambda: {"onnxruntime-gpu": "1.31.1"})
    return monkeypatch


@pytest.fixture
def machine_with_gpu(machine):
    for module in (_doctor, _session):
        machine.setattr(module, "nvidia_device", lambda: True)
    machine.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    machine.setattr(ort, "preload_dlls", lambda: None, raising=False)
    return machine


class Session:
    """A session on the CPU that says it runs on ``runs_on``."""

    runs_on = (CUDA, CPU)
    complaint = b""
    made = ort.InferenceSession

    def __init__(self, model, options, providers):
        if CUDA in str(providers):
            os.write(2, self.complaint)
        self.on = self.runs_on if CUDA in str(providers) else (CPU,)
        self.real = self.made(model, options, providers=[CPU])
        self.get_inputs, self.run = self.real.get_inputs, self.real.run

    def get_providers(self):
        return list(self.on)


def ntkit(*arguments):
    """Exit code of the command."""
    with pytest.raises(SystemExit) as end:
        main(["doctor", *map(str, arguments)])
    return end.value.code or 0


def test_a_machine_without_a_gpu_is_sound(machine, capfd):
    found = diagnosis()
    assert found["sound"]
    assert found["device"] == "cpu"
    assert found["cuda_starts"] is None
    assert (found["problems"], found["hints"]) == ([], [])
    assert found["versions"]["onnxruntime"] == ort.__version__
    assert 1 <= found["cpus"]["usable"] <= found["cpus"]["host"]
    assert ntkit() == 0
    assert "the installation works" in capfd.readouterr().out


def test_a_gpu_that_works_is_what_auto_runs_on(machine_with_gpu, capfd):
    machine_with_gpu.setattr(ort, "InferenceSession", Session)
    found = diagnosis()
    assert (found["device"], found["cuda_starts"], found["sound"]) == ("cuda", True, True)
    assert ntkit() == 0
    out, err = capfd.readouterr()
    assert "built with CUDA, which starts" in out
    assert err == ""


def test_a_gpu_that_does_not_start_is_a_problem_with_the_missing_library(machine_with_gpu, capfd):
    machine_with_gpu.setattr(ort, "InferenceSession", Session)
    machine_with_gpu.setattr(Session, "runs_on", (CPU,))
    said = b"info\n[E:onnxruntime] Error libcudnn.so.9: cannot open shared object file\n"
    machine_with_gpu.setattr(Session, "complaint", said)
    found = diagnosis()
    assert (found["device"], found["cuda_starts"], found["sound"]) == ("cpu", False, False)
    (problem,) = found["problems"]
    assert "libcudnn.so.9" in problem["what"]
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in problem["repair"]
    assert ntkit() == 1
    out, err = capfd.readouterr()
    assert "repair       pip install 'onnxruntime-gpu[cuda,cudnn]'" in out
    assert err == ""


def test_a_gpu_without_a_build_for_it_is_a_hint(machine_with_gpu):
    machine_with_gpu.setattr(ort, "get_available_providers", lambda: [CPU])
    found = diagnosis()
    (hint,) = found["hints"]
    assert (found["sound"], "built without CUDA" in hint["what"]) == (True, True)
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in hint["repair"]


def repair_of(names, then="onnxruntime-gpu"):
    return f"pip uninstall -y {' '.join(names)} && pip install {then}"


BOTH, DIRECTML = ["onnxruntime", "onnxruntime-gpu"], "onnxruntime-directml"


@pytest.mark.parametrize("names", [BOTH, ["onnxruntime-gpu", "onnxruntime-openvino"]])
def test_builds_over_each_other_that_work_are_a_hint(machine, names, capfd):
    machine.setattr(_doctor, "builds", lambda: dict.fromkeys(names, "1.31"))
    found = diagnosis()
    (hint,) = found["hints"]
    assert " and ".join(names) in hint["what"]
    assert hint["repair"] == repair_of(names)
    assert (found["sound"], found["device"]) == (True, "cpu")
    assert ntkit("--json") == 0
    assert json.loads(capfd.readouterr().out)["hints"] == [hint]


@pytest.mark.parametrize(
    ("names", "repair"),
    [
        ([], "pip install onnxruntime"),
        ([DIRECTML], repair_of([DIRECTML], DIRECTML)),
        (BOTH, repair_of(BOTH)),
    ],
)
def test_an_onnx_runtime_that_cannot_be_used_is_a_problem(machine, names, repair):
    for module in (_doctor, _session):
        machine.setattr(module, "builds", lambda: dict.fromkeys(names, "1.31"))
    for shell in (None, type(sys)("onnxruntime")):
        machine.setitem(sys.modules, "onnxruntime", shell)
        found = diagnosis()
        (problem,) = found["problems"]
        assert problem["repair"] == repair
        assert (found["device"], found["sound"], found["hints"]) == (None, False, [])


def test_a_session_that_computes_wrongly_is_a_problem(machine):
    class Wrong(Session):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.run = lambda names, feed: [-feed["x"]]

    machine.setattr(ort, "InferenceSession", Wrong)
    found = diagnosis()
    assert "it computes [[1.0, -2.0]]" in found["problems"][0]["what"]
    assert found["device"] is None


# -- a model ----------------------------------------------------------------------------------


def test_a_model_is_run_and_its_nodes_are_counted_per_provider(machine, tmp_path, capfd):
    path = marked_digits_model_path()
    about = diagnosis(path, random_inputs(FrozenModel.load(path)))["model"]
    assert (about["device"], about["ran"], about["nodes"]) == ("cpu", True, {CPU: 1.0})
    assert ntkit(path) == 0
    assert "on cpu; ran; 100% of the nodes by CPU" in capfd.readouterr().out
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert ntkit(tmp_path / "broken.onnx") == 1
    assert "broken.onnx: ONNX Runtime cannot run the model" in capfd.readouterr().out
