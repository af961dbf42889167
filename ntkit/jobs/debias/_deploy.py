"""A folder that a service takes as it is: model, what it needs, and a program that was run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import sha256_of
from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples
from ntkit.inputs import folders_of
from ntkit.model import FrozenModel
from ntkit.pages import Usage
from ntkit.samples import read
from ntkit.verification import random_inputs

DEPLOYED = "model.onnx"
_PROGRAM = "predict.py"
_TRIED = 16  # samples that the program is run on
_SECONDS = 600
_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
_BESIDE_TOKENIZER = ("special_tokens_map.json", "vocab.txt", "merges.txt", "added_tokens.json")


def write_deployed(
    folder: Path,
    model: FrozenModel,
    original: FrozenModel,
    samples: Samples,
    usage: Usage,
    card: str,
) -> None:
    """Write everything beside a model that is already in the folder, and run the program."""
    names = [str(name) for name in json.loads(model.metadata["ntkit.classes"])]
    labels = json.dumps(names, indent=2, ensure_ascii=False) + "\n"
    (folder / "labels.json").write_text(labels, encoding="utf-8")
    for name, content in usage.files.items():
        (folder / name).write_bytes(content)
    _copy_used(folder, original, samples, names)
    written = FrozenModel.load(folder / DEPLOYED)
    # timm's config.json says how images are prepared, and options may have said otherwise.
    if samples.kind == "images" and not _says(written, samples.X.preprocessing):
        (folder / _CONFIG).unlink(missing_ok=True)
    (folder / _PROGRAM).write_text(usage.program, encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")
    _run(folder, written, samples, usage.snippet)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    sums = [f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


# -- what lies beside the original ---------------------------------------------------------------


def _copy_used(folder: Path, original: FrozenModel, samples: Samples, names: list[str]) -> None:
    """Copy the configuration files beside the original that the samples were read with."""
    places = folders_of(original)
    beside = {
        name: place / name
        for place in reversed(places)
        for name in (_CONFIG, _PREPROCESSOR, *_BESIDE_TOKENIZER)
        if (place / name).is_file()
    }
    if _CONFIG in beside:
        config = _with_names(beside[_CONFIG], names)
        if config is not None:
            (folder / _CONFIG).write_text(config, encoding="utf-8")
    wanted: Sequence[str] = ()
    if samples.kind == "images" and _says(original, samples.X.preprocessing):
        wanted = (_PREPROCESSOR,)
    elif samples.kind == "texts":
        tokenizer = samples.X.preprocessing.tokenizer
        used = tokenizer is not None and Path(tokenizer).parent in places
        wanted = _BESIDE_TOKENIZER if used else ()
    for name in wanted:
        if name in beside:
            shutil.copyfile(beside[name], folder / name)


def _with_names(path: Path, names: list[str]) -> str | None:
    """Text of a config.json with the names of these classes; None where it is not readable."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(config, dict):
        return None
    config.pop("_name_or_path", None)  # a place on the machine of whoever saved it
    if "id2label" in config or "model_type" in config:
        config["id2label"] = {str(i): name for i, name in enumerate(names)}
        config["label2id"] = {name: i for i, name in enumerate(names)}
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _says(original: FrozenModel, steps: ImagePreprocessing) -> bool:
    """Whether the files beside a model say how these images were prepared."""
    try:
        return ImagePreprocessing.for_model(original) == steps
    except InputError:
        return False


# -- the program, run -----------------------------------------------------------------------------


def _run(folder: Path, written: FrozenModel, samples: Samples, snippet: str) -> None:
    """Run the program on some samples, from another folder, and compare with ntkit."""
    with tempfile.TemporaryDirectory(prefix="ntkit-") as elsewhere:
        arguments, X = _some(written, samples, Path(elsewhere))
        try:
            done = subprocess.run(
                [sys.executable, "-B", str(folder / _PROGRAM), *arguments],
                cwd=elsewhere,
                capture_output=True,
                env={**os.environ, "PYTHONUTF8": "1"},  # a pipe's encoding may lack a class's sign
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise VerificationError(f"{_PROGRAM} does not run: {error}.") from error
    if done.returncode:
        reason = (_text(done.stderr).strip().splitlines() or ["no reason given"])[-1]
        raise VerificationError(f"{_PROGRAM}, as it would be handed on, does not run: {reason}.")
    if written.head is None or "    return found\n" in snippet:
        return  # no output of the model shows classes
    expected = written.head.predict(OnnxEmbedder(written, device="cpu").transform(X))
    lines = [str(label) for label in expected.tolist()]
    if samples.kind == "images":
        lines = [f"{path} {label}" for path, label in zip(arguments, lines, strict=True)]
    printed = _text(done.stdout)
    if printed != "".join(f"{line}\n" for line in lines):  # as a whole: names hold line breaks
        raise VerificationError(
            f"{_PROGRAM}, as it would be handed on, predicts {printed.splitlines()[:4]} where "
            f"ntkit predicts {lines[:4]}."
        )


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").replace(os.linesep, "\n")


def _some(model: FrozenModel, samples: Samples, elsewhere: Path) -> tuple[list[str], Any]:
    """Arguments of the program, and the same samples as inputs."""
    if samples.embedded:
        made = random_inputs(model, _TRIED)
        X = made if len(made) > 1 else next(iter(made.values()))
        samples = read(X, model, labels="optional")
    rows = [*np.unique(np.linspace(0, len(samples) - 1, _TRIED).astype(np.intp))]
    if samples.kind == "texts":  # short ones: a command line has an end
        texts, n = samples.X.texts, len(samples)
        rows = sorted(range(n), key=lambda i: len(str(texts[i])))[:: max(1, n // 8)][:_TRIED]
    some = samples.take(rows)
    if some.kind == "images":
        # Their own names may hold anything.
        copies = [elsewhere / f"{i}" for i in range(len(some))]
        for path, copy in zip(some.X.paths, copies, strict=True):
            shutil.copyfile(path, copy)
        return [*map(str, copies)], some.X
    if some.kind == "texts":
        pairs = ((text,) if isinstance(text, str) else text for text in some.X.texts)
        return [part for parts in pairs for part in parts], some.X
    if some.kind == "inputs":
        parts = {
            name: part.astype(str) if part.dtype.kind == "O" else part
            for name, part in some.X.items()
        }
        np.savez(elsewhere / "samples.npz", **parts)
        return [str(elsewhere / "samples.npz")], parts
    if some.kind == "columns" and len(model.inputs) == 1:
        with (elsewhere / "samples.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([some.columns, *some.X.tolist()])
        return [str(elsewhere / "samples.csv")], some.X
    np.save(elsewhere / "samples.npy", some.X)
    return [str(elsewhere / "samples.npy")], some.X
