"""Killed again and again at random moments, an extraction ends in the bytes of one run.

NTKIT_KILLS (25) says how often; ``make test-fuzz`` kills by the hundred.
"""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore, Samples
from tests import models

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
ROWS, BATCH = 4_000, 2
KILLS = int(os.environ.get("NTKIT_KILLS", "25"))


class Slow(OnnxEmbedder):
    """Takes a while for each batch."""

    pause = 0.002

    def iter_batches(self, *args, **kwargs):
        for batch in super().iter_batches(*args, **kwargs):
            time.sleep(self.pause)
            yield batch


def extract(model, out, pause=0.0, checkpoint_rows=2000, n=ROWS, force=False, die_at=None):
    embedder = Slow(FrozenModel.load(model), device="cpu", batch_size=BATCH)
    embedder.pause = pause
    samples = Samples(models.inputs(n), np.arange(n) % 3, np.arange(n) % 2)
    if die_at is not None:
        sys.addaudithook(death(out, die_at))
    options = {"checkpoint_rows": checkpoint_rows, "force": force}
    return EmbeddingStore.write(out, embedder, samples, **options)


def death(folder, step):
    """End the process before the step-th thing that Python does to a file in a folder."""

    def watch(event, arguments):
        nonlocal step
        named = [os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | os.PathLike)]
        if event.startswith(("os.", "open", "fcntl.", "mmap.")) and (
            event.startswith(("fcntl.", "mmap.")) or any(folder in name for name in named)
        ):
            if step == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            step -= 1

    return watch


def serve():
    """Fork a child per line of input; say its number, and how it ended."""
    answers = os.dup(1)
    os.dup2(2, 1)
    os.fsync = lambda _: None  # what it is good for shows after a power failure only
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                extract(*json.loads(line))
                os._exit(0)
            except InputError as error:
                os.write(2, f"{error}\n".encode())
            finally:
                os._exit(1)
        os.write(answers, f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


class Server:
    """Starts extractions in children of a process that has imported everything."""

    def __init__(self):
        root = Path(__file__).parents[2]
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # quick to fork
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.test_store_kills"],
            cwd=root,
            env={**os.environ, **threads, "PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def start(self, *arguments):
        """Start ``extract(*arguments)`` in a child; its process id."""
        self.process.stdin.write((json.dumps(arguments) + "\n").encode())
        return int(self.process.stdout.readline())

    def ended(self, seconds):
        """Whether the child ended by itself; its exit code is read by ``code``."""
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def code(self):
        return int(self.process.stdout.readline())

    def killed(self, child):
        """Kill the child; its exit code, 0 if it had ended by itself before."""
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        code = self.code()
        assert code in (0, -signal.SIGKILL)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=10)


@pytest.fixture
def paths(tmp_path):
    models.save(models.classifier(3), tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx"), str(tmp_path / "store")


def finished(out):
    manifest = Path(out) / "manifest.json"
    return json.loads(manifest.read_text())["finished_rows"] if manifest.exists() else 0


@pytest.mark.more
def test_kills_at_random_moments_end_in_the_bytes_of_one_run(paths, tmp_path):
    model, out = paths
    whole = models.contents(extract(model, tmp_path / "whole").path)
    rng, seen = random.Random(0), set()
    with Server() as server:
        child = server.start(model, out, 0.002, 6)
        begin = time.monotonic()
        while not finished(out):
            time.sleep(0.002)
        horizon = time.monotonic() - begin + 0.06  # some are killed before they get on
        for kill in range(KILLS):
            before = finished(out)
            if kill % 5:
                server.ended(rng.uniform(0.0, horizon))
            while (
                not kill % 5 and finished(out) == before
            ):  # on a busy machine nothing else gets on
                if server.ended(0.002):
                    break
            ended_by_itself = server.killed(child) == 0  # on a busy machine: all over again
            seen.add(finished(out))
            if ended_by_itself:
                assert models.contents(Path(out)) == whole
                shutil.rmtree(out)
            child = server.start(model, out, 0.002, 6)
        server.killed(child)
        server.start(model, out)
        assert server.code() == 0
    assert len(seen) > KILLS // 10  # it got on between the kills
    assert models.contents(Path(out)) == whole


@pytest.mark.more
@pytest.mark.parametrize("force", [False, True])
def test_killed_before_anything_done_to_a_file_it_ends_in_the_bytes_of_one_run(
    paths, tmp_path, force
):
    model, out = paths
    whole = models.contents(extract(model, tmp_path / "whole", n=12).path)
    arguments = (0.0, 4, 12, force)
    old = extract(model, tmp_path / "old", n=6).path
    with Server() as server:
        for step in range(200):
            shutil.rmtree(out, ignore_errors=True)
            if force:
                shutil.copytree(old, out)
            server.start(model, out, *arguments, step)
            killed = server.code() != 0
            begun = EmbeddingStore.is_store(out)
            if force or finished(out) < 12:
                server.start(model, out, *arguments)
                assert server.code() == 0, step
            assert models.contents(Path(out)) == whole, step
            if not killed or (begun and not force):
                break
    assert (30 if force else 5) < step < 199


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(paths, tmp_path):
    model, out = paths
    whole = models.contents(extract(model, tmp_path / "whole").path)
    with Server() as server:
        child = server.start(model, out, 0.002, 6)
        while not finished(out):
            time.sleep(0.01)
        os.kill(child, signal.SIGSTOP)
        with pytest.raises(InputError, match="Another process is writing"):
            extract(model, out)
        os.kill(child, signal.SIGKILL)
        assert server.code() == -signal.SIGKILL
    assert 0 < finished(out) < ROWS
    assert models.contents(extract(model, out).path) == whole


if __name__ == "__main__":
    serve()
