"""What the smallest installation can do: predictions, metrics and estimators, without ONNX."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("onnx", "onnx_ir", "onnxruntime", "skl2onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""
INSTALL = "pip install onnx onnx-ir skl2onnx onnxruntime"


def python(code, folder):
    """Run code where nothing of ONNX can be imported."""
    command = [sys.executable, "-c", WITHOUT + code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")


def ntkit(folder, *arguments):
    return python(f"from ntkit.cli import main; main({list(arguments)!r})", folder)


@pytest.fixture
def folder(tmp_path):
    """Predictions of two models; the new one answers by the site alone."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=600)
    site = np.where((y == 0) == (rng.random(600) < 0.8), "B", "A")
    old = np.where(rng.random(600) < 0.9, y, 1 - y)
    new = np.where(site == "B", 0, 1)
    for name, pred in (("old", old), ("new", new)):
        table = {"id": np.arange(600), "label": y, "prediction": pred, "site": site}
        pd.DataFrame(table).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_predictions_are_checked_and_audited(folder):
    both = ["--before", "old.csv", "--predictions", "new.csv"]
    done = ntkit(folder, "check", *both, "--max-drop", "2")
    assert done.returncode == 1, done.stderr
    done = ntkit(folder, "audit", "new.csv", "--predictions", "new.csv", "-o", "audit")
    assert done.returncode == 0, done.stderr
    assert "site=B" in done.stdout
    assert (folder / "audit" / "audit.html").is_file()


def test_estimators_fit_and_metrics_measure(tmp_path):
    done = python(
        """
import numpy as np
import ntkit.metrics, ntkit.scorers
from ntkit.estimators import DFRClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X = np.random.default_rng(0).normal(size=(200, 4))
y = np.where(X[:, 0] > 0, "yes", "no")
model = make_pipeline(StandardScaler(), DFRClassifier()).fit(X, y, dfrclassifier__groups=y)
print(model.score(X, y) > 0.9)
""",
        tmp_path,
    )
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize(
    "arguments", [("demo",), ("debias", "model.onnx", "data.csv", "-o", "out")]
)
def test_what_needs_a_model_says_what_to_install(tmp_path, arguments):
    done = ntkit(tmp_path, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(INSTALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["ntkit.debias", "ntkit.FrozenModel", "ntkit.export.to_onnx"])
def test_python_names_that_need_a_model_say_so_too(tmp_path, name):
    module, _, what = name.rpartition(".")
    last = python(f"from {module} import {what}", tmp_path).stderr.splitlines()[-1]
    assert last.startswith("ntkit.exceptions.MissingDependencyError: ")
    assert last.endswith(INSTALL)
