"""MLflow's ONNX flavour: what it keeps, and that it answers as ntkit does."""

import json

import numpy as np
import onnx
import pytest

from ntkit import FrozenModel
from ntkit.extraction import ImageFiles, ImagePreprocessing, TextPreprocessing, Texts
from tests.hosts.checkpoints import NAMES
from tests.jobs.verify.services import softmax

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
pytest.importorskip("pandas", reason="pandas is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")
CPU = ["CPUExecutionProvider"]


def saved(case, path):
    return mlflow.onnx.save_model(
        onnx.load(case.service / "model.onnx"),
        path,
        pip_requirements=["onnxruntime"],
        onnx_execution_providers=CPU,
    )


def fed(case, folder):
    """Inputs as ntkit makes them, from the files next to the model."""
    model = FrozenModel.load(folder)
    if case.kind == "texts":
        return Texts(case.samples, TextPreprocessing.for_model(model))[:]
    steps = ImagePreprocessing.for_model(model)
    return {model.inputs[0].name: np.stack(list(ImageFiles(case.samples, steps)[:]))}


def test_the_saved_model_answers_as_ntkit_does(hub, tmp_path):
    saved(hub, tmp_path / "saved")
    served = mlflow.pyfunc.load_model(str(tmp_path / "saved"))
    (logits,) = served.predict(fed(hub, hub.service)).values()
    shares = softmax(logits)
    kept = onnx.load(tmp_path / "saved" / "model.onnx", load_external_data=False)
    metadata = {entry.key: entry.value for entry in kept.metadata_props}
    names = json.loads(metadata["ntkit.classes"])
    hub.check([names[i] for i in shares.argmax(axis=1)], shares)


def test_the_saved_folder_is_a_model_for_ntkit(hub, tmp_path):
    saved(hub, tmp_path / "saved")
    written, kept = FrozenModel.load(hub.service), FrozenModel.load(tmp_path / "saved")
    assert kept.head == written.head
    assert kept.metadata == written.metadata


def test_no_file_of_it_is_a_pickle(hub, tmp_path):
    saved(hub, tmp_path / "saved")
    for file in (tmp_path / "saved").rglob("*"):
        content = file.read_bytes()
        assert not content.startswith((b"\x80", b"PK"))  # as pickles and their zip files do
    text = "".join(
        (tmp_path / "saved" / name).read_text()
        for name in ("MLmodel", "requirements.txt", "conda.yaml", "python_env.yaml")
    )
    assert "pickle" not in text


def test_the_server_answers_as_ntkit_does(hub, tmp_path):
    testclient = pytest.importorskip("fastapi.testclient", reason="httpx is not installed")
    from mlflow.pyfunc import scoring_server

    saved(hub, tmp_path / "saved")
    served = mlflow.pyfunc.load_model(str(tmp_path / "saved"))
    client = testclient.TestClient(scoring_server.init(served))
    feed = {name: values.tolist() for name, values in fed(hub, hub.service).items()}
    answer = client.post("/invocations", json={"inputs": feed})
    assert answer.status_code == 200, answer.text
    (logits,) = answer.json()["predictions"].values()
    shares = softmax(np.asarray(logits))
    hub.check([NAMES[i] for i in shares.argmax(axis=1)], shares)


def test_a_registered_version_comes_back_as_it_was(hub, tmp_path, monkeypatch):
    """Logged, registered, fetched by its alias: unchanged, with its other files."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    try:
        with mlflow.start_run():
            mlflow.onnx.log_model(
                onnx.load(hub.service / "model.onnx"),
                name="ours",
                registered_model_name="ours",
                pip_requirements=["onnxruntime"],
                onnx_execution_providers=CPU,
                extra_files=[str(hub.service / "labels.json")],
                save_as_external_data=False,
            )
        mlflow.MlflowClient().set_registered_model_alias("ours", "in-use", "1")
        fetched = mlflow.artifacts.download_artifacts("models:/ours@in-use", dst_path="fetched")
    finally:
        mlflow.set_tracking_uri(None)
    kept, written = FrozenModel.load(fetched), FrozenModel.load(hub.service)
    assert kept.head == written.head
    assert not list(kept.path.parent.glob("*.data"))
    assert json.loads((kept.path.parent / "extra_files" / "labels.json").read_text()) == NAMES
