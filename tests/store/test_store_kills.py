"""Killed at any step, an extraction ends in the bytes of one run."""

import json
import shutil
import subprocess
import sys

import pytest

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.store import EmbeddingStore
from tests import models
from tests.fuzz.sandbox import Sandbox


def write(model, out, embedder=OnnxEmbedder):
    embedder = embedder(FrozenModel.load(model), device="cpu", batch_size=2)
    return EmbeddingStore.write(out, embedder, Samples(models.inputs(12)), checkpoint_rows=2)


class Waits(OnnxEmbedder):
    """Says when a batch is done, and goes on with the next line of its input."""

    def iter_batches(self, *args, **kwargs):
        for batch in super().iter_batches(*args, **kwargs):
            yield batch
            print("one batch", flush=True)  # noqa: T201 - to the test
            sys.stdin.readline()


@pytest.mark.more
def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    model, out = models.save(models.classifier(3), tmp_path / "m.onnx"), tmp_path / "store"
    code = f"from {__name__} import Waits, write; write({str(model)!r}, {str(out)!r}, Waits)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "one batch\n"
        with pytest.raises(InputError, match="Another process is writing"):
            write(model, out)
        other.kill()
    assert 0 <= finished(out) < 12
    whole = write(model, tmp_path / "whole")
    assert models.contents(write(model, out).path) == models.contents(whole.path)


def finished(out):
    manifest = out / "manifest.json"
    return json.loads(manifest.read_text())["finished_rows"] if manifest.exists() else 0


@pytest.mark.more
@pytest.mark.parametrize("force", [False, True])
def test_killed_before_anything_done_to_a_file_it_ends_in_the_bytes_of_one_run(tmp_path, force):
    path = models.save(models.classifier(3), tmp_path / "m.onnx")
    whole, old, out = (tmp_path / name for name in ("whole", "old", "store"))
    with Sandbox() as sandbox:

        def embed(folder, n=12, **options):
            arguments = {"path": str(path), "out": str(folder), "n": n, "seconds": 20, **options}
            return sandbox.run("embed", **arguments).status

        assert embed(whole) == embed(old, n=6) == "done"
        for step in range(200):
            shutil.rmtree(out, ignore_errors=True)
            if force:
                shutil.copytree(old, out)
            killed = embed(out, force=force, step=step) == "crashed"
            begun = EmbeddingStore.is_store(out)
            if force or finished(out) < 12:
                assert embed(out, force=force) == "done", step
            assert models.contents(out) == models.contents(whole), step
            if not killed or (begun and not force):
                break
    assert (30 if force else 5) < step < 199
