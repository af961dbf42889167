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
from ntkit.extraction import EmbeddingStore
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


def press(*_, **__):
    raise KeyboardInterrupt


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
        assert f"store keeps {kept} of {N} rows" in err
        assert ("without --force" in err) == bool(force)
        assert "again to continue" in err
    assert kept >= 200
    done(*embed(user), tmp_path / "store")
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")
    # Before it began.
    monkeypatch.setattr(OnnxEmbedder, "settings", press)
    for name, said in [("new", "nothing was written."), ("store", "nothing was written, and")]:
        code, _, err = ntkit(*embed(user), tmp_path / name, "--force")
        assert code == 130
        assert said in err
    assert EmbeddingStore.open(tmp_path / "store").y.shape == (N,)


def test_debias_writes_nothing_and_says_how_to_resume(user, tmp_path, monkeypatch):
    arguments = ["debias", user / "model.onnx", "-o", tmp_path / "out", "--quiet"]
    sets = ["--train", user / "train.npz", "--validation", user / "validation.npz"]
    with monkeypatch.context() as patch:
        patch.setattr(OnnxEmbedder, "_outputs", pressing(3))
        code, out, err = ntkit(*arguments, *sets)
    assert (code, out) == (130, "")
    assert "Interrupted: nothing was written (ntkit embed can continue" in err
    assert not list(tmp_path.iterdir())
    arguments += ["--train", user / "train.store", "--validation", user / "validation.store"]
    arguments += ["--force", "--method", "class-balanced"]
    with monkeypatch.context() as patch:
        patch.setattr("ntkit.cli._options.print_json", press)  # when it is written
        code, _, err = ntkit(*arguments, "--json")
    assert code == 130
    assert err.endswith(f"Interrupted; {tmp_path / 'out'} was written.\n")
    before = contents(tmp_path)
    monkeypatch.setattr("ntkit.jobs.debias._job.report_html", press)
    code, _, err = ntkit(*arguments)
    assert code == 130
    assert "out is as it was" in err
    assert contents(tmp_path) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_real_signal(user, tmp_path):
    store, root = tmp_path / "store", Path(__file__).parents[2]
    code = (
        # A process started in the background is deaf to Ctrl-C, and so is what it starts.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import time; from ntkit import OnnxEmbedder; batches = OnnxEmbedder.iter_batches\n"
        "def slow(*args, **kwargs):\n"
        "    for batch in batches(*args, **kwargs):\n"
        "        time.sleep(0.5); yield batch\n"
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
    kept = json.loads((store / "manifest.json").read_text())["finished_rows"]
    again = "run the same command again to continue"
    assert err == f"Interrupted: {store} keeps {kept} of {N} rows; {again}.\n"
