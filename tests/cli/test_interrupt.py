"""Ctrl-C says what is left and how to go on."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ntkit import OnnxEmbedder
from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction import EmbeddingStore
from tests.models import contents

N, BATCH = 600, 10


def run(capsys, *arguments):
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(scope="module")
def data(tmp_path_factory, digits):
    root = tmp_path_factory.mktemp("data")
    for name in ("train", "validation"):
        np.savez(root / f"{name}.npz", X=digits[f"X_{name}"][:N], y=digits[f"y_{name}"][:N])
    return root


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


def test_embed_keeps_what_was_computed_and_goes_on(capsys, data, tmp_path, monkeypatch):
    embed = ("embed", marked_digits_model_path(), data / "train.npz", "--batch-size", BATCH,
             "--quiet", "--device", "cpu", "-o")  # fmt: skip
    assert run(capsys, *embed, tmp_path / "whole")[0] == 0
    kept = 0
    for force in ([], ["--force"], []):
        with monkeypatch.context() as patch:
            patch.setattr(OnnxEmbedder, "_outputs", pressing(20))
            code, out, err = run(capsys, *embed, tmp_path / "store", *force)
        assert (code, out, err.count("\n")) == (130, "", 1)
        manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
        kept = manifest["finished_rows"]
        assert f"store keeps {kept} of {N} rows" in err
        assert ("without --force" in err) == bool(force)
        assert "again to continue" in err
    assert kept >= 200
    code, _, err = run(capsys, *embed, tmp_path / "store")
    assert code == 0, err
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


def test_embed_interrupted_before_it_began(capsys, data, tmp_path, monkeypatch):
    embed = ("embed", marked_digits_model_path(), data / "train.npz", "--quiet", "-o")
    assert run(capsys, *embed, tmp_path / "old")[0] == 0

    def press(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(OnnxEmbedder, "settings", press)
    for name, said in [("new", "nothing was written."), ("old", "nothing was written, and")]:
        code, _, err = run(capsys, *embed, tmp_path / name, "--force")
        assert code == 130
        assert said in err
    assert EmbeddingStore.open(tmp_path / "old").y.shape == (N,)


def test_debias_writes_nothing_and_says_how_to_resume(capsys, data, tmp_path, monkeypatch):
    arguments = ["debias", marked_digits_model_path(), "-o", tmp_path / "out", "--quiet"]
    for name in ("train", "validation"):
        arguments += [f"--{name}", data / f"{name}.npz"]
    with monkeypatch.context() as patch:
        patch.setattr(OnnxEmbedder, "_outputs", pressing(3))
        code, out, err = run(capsys, *arguments)
    assert (code, out) == (130, "")
    assert "Interrupted: nothing was written (ntkit embed can continue" in err
    assert not list(tmp_path.iterdir())
    assert run(capsys, *arguments, "--method", "class-balanced")[0] == 0
    before = contents(tmp_path)

    def press(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ntkit.jobs.debias._job.report_html", press)
        code, _, err = run(capsys, *arguments, "--force", "--method", "auto")
    assert code == 130
    assert "out is as it was" in err
    assert contents(tmp_path) == before
    with monkeypatch.context() as patch:
        patch.setattr("ntkit.cli._options.print_json", press)  # when it is written
        code, _, err = run(capsys, *arguments, "--force", "--method", "cell-balanced", "--json")
    assert code == 130
    assert err.endswith(f"Interrupted; {tmp_path / 'out'} was written.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_real_signal(data, tmp_path):
    store, root = tmp_path / "store", Path(__file__).parents[2]
    code = (
        # A process started in the background is deaf to Ctrl-C, and so is what it starts.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import time; from ntkit import OnnxEmbedder; batches = OnnxEmbedder.iter_batches\n"
        "def slow(*args, **kwargs):\n"
        "    for batch in batches(*args, **kwargs):\n"
        "        time.sleep(0.05); yield batch\n"
        "OnnxEmbedder.iter_batches = slow\n"
        "from ntkit.cli import main; main()"
    )
    arguments = ["embed", marked_digits_model_path(), data / "train.npz", "--batch-size", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments), "--quiet", "-o", str(store)],
        env={**os.environ, "PYTHONPATH": str(root)}, cwd=root, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not EmbeddingStore.is_store(store) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    kept = json.loads((store / "manifest.json").read_text())["finished_rows"]
    again = "run the same command again to continue"
    assert err == f"Interrupted: {store} keeps {kept} of {N} rows; {again}.\n"
