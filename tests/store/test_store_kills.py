"""Killed at any step, an extraction ends in the bytes of one run."""

import json
import shutil

import pytest

from ntkit.extraction import EmbeddingStore
from tests import models
from tests.fuzz.sandbox import Sandbox


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
