"""A fuzzer: mutants of small classifiers are refused in one sentence or edited rightly.

``make test`` runs a few mutants, ``make test-fuzz`` thousands. Every mutant goes through load,
describe, body, with_head, save and load in a process of its own (sandbox.py); a file that was
written is then run by ONNX Runtime and compared with what it should compute (jobs.compare), for an
edit that is wrong without an error is the worst outcome of all.

NTKIT_FUZZ_MUTATIONS (60) says how many mutants, NTKIT_FUZZ_SEED (0) with which number they begin.
"""

import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz.mutate import corpus, mutant
from tests.fuzz.sandbox import Sandbox

MUTATIONS = int(os.environ.get("NTKIT_FUZZ_MUTATIONS", "60"))
FIRST = int(os.environ.get("NTKIT_FUZZ_SEED", "0"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("corpus"))


def test_the_corpus_itself_is_edited_rightly(models, tmp_path):
    """Otherwise the mutants would say little."""
    with Sandbox() as sandbox:
        for name, files in models.items():
            folder = tmp_path / name
            folder.mkdir()
            for file, content in files.items():
                (folder / file).write_bytes(content)
            said, outcome = examine(sandbox, folder / "m.onnx", 0)
            assert (said, outcome) == ("", "edited and compared"), name


def test_mutants_are_refused_in_one_sentence_or_edited_rightly(models, tmp_path, capsys):
    def try_all(seeds):
        with Sandbox() as sandbox:
            return [try_one(sandbox, models, tmp_path, seed) for seed in seeds]

    workers = min(8, os.cpu_count() or 1)
    seeds = range(FIRST, FIRST + MUTATIONS)
    with ThreadPoolExecutor(workers) as pool:
        parts = pool.map(try_all, [seeds[i::workers] for i in range(workers)])
        found = [one for part in parts for one in part]
    outcomes = Counter(outcome for _, outcome in found)
    with capsys.disabled():
        sys.stdout.write(f"\n{len(found)} mutants\n")
        for outcome, count in outcomes.most_common():
            sys.stdout.write(f"{count:>7}  {outcome}\n")
    failures = sorted(failure for failure, _ in found if failure)
    assert not failures, f"{len(failures)} mutants failed:\n" + "\n".join(failures[:200])
    compared = sum(outcome.startswith("edited and compared") for _, outcome in found)
    assert compared > len(found) / 20  # else they would say little


def try_one(sandbox, models, tmp_path, seed):
    """Make a mutant and examine it; what failed is kept in a folder that the message names."""
    made = mutant(models, seed)
    folder = tmp_path / str(seed)
    folder.mkdir()
    path = made.write(folder)
    failure, outcome = examine(sandbox, path, extra_classes=int(seed % 4 == 3))
    if failure:
        kept = Path(tempfile.mkdtemp(prefix=f"ntkit-fuzz-{seed}-"))
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        failure = f"{failure}\n    mutant {seed} ({made.story}), kept as {kept / 'm.onnx'}"
    shutil.rmtree(folder)
    return failure, outcome


def examine(sandbox, path, extra_classes):
    """What is wrong with ntkit's answer to a file (empty if nothing), and what the answer was."""
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    saved = path.parent / "saved"
    saved.mkdir()
    target = saved / "n.onnx"
    arguments = {"path": str(path), "target": str(target), "extra_classes": extra_classes}
    outcome = sandbox.run("exchange", **arguments)
    if problem := outcome.problem():
        return problem, outcome.status
    after = {p.name: p.read_bytes() for p in path.parent.iterdir() if p != saved}
    if after != before:
        return "the mutant's own files were changed", "changed"
    if outcome.status == "refused":
        if os.listdir(saved):
            return f"refused, yet wrote {os.listdir(saved)}", "refused"
        return "", f"refused: {kind(outcome.message)}"
    options = {"extra_classes": extra_classes, "seconds": 10}
    back = sandbox.run("read_back", path=str(path), saved=str(target), **options)
    if back.status != "done":
        return f"what was written cannot be read: {back.status}: {back.message}", "unreadable"
    if not back.result["same_head"]:
        return "the written file holds another head than was put in", "another head"
    compared = sandbox.run("compare", original=str(path), edited=str(target), **options)
    if compared.status in ("timeout", "crashed"):  # ONNX Runtime's own trouble with the mutant
        return "", f"edited; ONNX Runtime {compared.status}"
    if compared.status != "done":
        return f"comparing {compared.status}: {compared.message}", "not compared"
    if not compared.result["comparable"]:
        return "", "edited; not compared, ONNX Runtime does not run the mutant"
    problems = compared.result["problems"]
    said = "; ".join(f"wrong edit: {problem}" for problem in problems)
    refusal = compared.result["verify_refuses"]
    return said, "edited and compared" + f", but verify() refuses: {kind(refusal)}" * bool(refusal)


def kind(message):
    """A message without the names and numbers in it."""
    message = re.sub(r"/\S*/", "", message)
    message = re.sub(r"'[^']*'|\"[^\"]*\"", "NAME", message)
    message = re.sub(r"-?\b\d[\d.e+]*\b|\bnan\b|\binf\b", "#", message)
    return message[:100]
