"""Ctrl-C says what is left and how to go on."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from ntkit import OnnxEmbedder
from ntkit.store import EmbeddingStore
from tests.cases import N, done, ntkit
from tests.models import contents


def pressing(after):
    """Batches of an embedder, and Ctrl-C after some."""
    batches = OnnxEmbedder._outputs

    def outputs(self, *args, **kwargs):
        with closing(batches(self, *args, **kwargs)) as several:
            for i, batch in enumerate(several):
                if i == after:
                    raise KeyboardInterrupt
                yield batch

    return outputs


def embed(user):
    return ("embed", user / "model.onnx", user / "train.npz", "--batch-size", "10", "--quiet",
            "--device", "cpu", "-o")  # fmt: skip


def test_embed_keeps_what_was_computed_and_goes_on(user, tmp_path, monkeypatch):
    done(*embed(user), tmp_path / "whole")
    kept = 0
    for force in ([], ["--force"], []):
        with monkeypatch.context() as patch:
            patch.setattr(OnnxEmbedder, "_outputs", pressing(20))
            code, out, err = ntkit(*embed(user), tmp_path / "store", *force)
        assert (code, out, err.count("\n")) == (130, "", 1)
        manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
        kept = manifest["finished_rows"]
        assert err.startswith("Interrupted: no damaged file is left. The same command")
    assert kept >= 200
    done(*embed(user), tmp_path / "store")
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


def test_debias_writes_nothing(user, tmp_path, monkeypatch):
    arguments = ["debias", user / "model.onnx", "-o", tmp_path / "out", "--quiet"]
    sets = ["--train", user / "train.npz", "--validation", user / "validation.npz"]
    with monkeypatch.context() as patch:
        patch.setattr(OnnxEmbedder, "_outputs", pressing(3))
        code, out, err = ntkit(*arguments, *sets)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith("Interrupted: no damaged file is left.")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_real_signal(user, tmp_path):
    store, root = tmp_path / "store", Path(__file__).parents[2]
    code = (
        # A process started in the background is deaf to Ctrl-C, and so is what it starts.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import time; from ntkit import OnnxEmbedder; batches = OnnxEmbedder.iter_batches\n"
        "def slow(*args, **kwargs):\n"
        "    for batch in batches(*args, **kwargs):\n"
        "        yield batch; time.sleep(100)\n"
        "OnnxEmbedder.iter_batches = slow\n"
        "from ntkit.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, embed(user)), str(store)],
        env={**os.environ, "PYTHONPATH": str(root)}, cwd=root, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not EmbeddingStore.is_store(store) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert json.loads((store / "manifest.json").read_text())["finished_rows"] < N
    assert err.startswith("Interrupted: ")
