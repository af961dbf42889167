"""Write a folder for a service, and run its program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import sha256_of
from ntkit._types import Array
from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples
from ntkit.model import FrozenModel
from ntkit.model.class_names import folders_of
from ntkit.pages.usage import Usage
from ntkit.samples.kinds import TextData
from ntkit.samples.read import read
from ntkit.verification import random_inputs

DEPLOYED = "model.onnx"
_PROGRAM = "predict.py"
_TRIED = 16  # samples for the test run of the program
_SECONDS = 600
_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"


def write_deployed(
    folder: Path,
    model: FrozenModel,
    original: FrozenModel,
    samples: Samples,
    usage: Usage,
    card: str,
) -> None:
    """Write the other files of a folder that holds the model, and run the program."""
    named = model.label_names or json.loads(model.metadata["ntkit.classes"])
    names = [str(name) for name in named]
    labels = json.dumps(names, indent=2, ensure_ascii=False) + "\n"
    (folder / "labels.json").write_text(labels, encoding="utf-8")
    for name, content in usage.files.items():
        (folder / name).write_bytes(content)
    _copy_used(folder, original, samples, names)
    written = FrozenModel.load(folder / DEPLOYED)
    # timm's config.json names the preprocessing, but options may have replaced it.
    if samples.data.are_files and not _names_steps(written, samples.X.preprocessing):
        (folder / _CONFIG).unlink(missing_ok=True)
    (folder / _PROGRAM).write_text(usage.program, encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")
    _run(folder, written, samples, usage.snippet)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    sums = [f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def _copy_used(folder: Path, original: FrozenModel, samples: Samples, names: list[str]) -> None:
    """Copy the original's configuration files that were used to read the samples."""
    places = folders_of(original.path)
    existing = {
        name: place / name
        for place in reversed(places)
        for name in (_CONFIG, _PREPROCESSOR)
        if (place / name).is_file()
    }
    if _CONFIG in existing:
        config = _with_names(existing[_CONFIG], names)
        if config is not None:
            (folder / _CONFIG).write_text(config, encoding="utf-8")
    is_used = samples.data.are_files and _names_steps(original, samples.X.preprocessing)
    if is_used and _PREPROCESSOR in existing:
        shutil.copyfile(existing[_PREPROCESSOR], folder / _PREPROCESSOR)


def _with_names(path: Path, names: list[str]) -> str | None:
    """Text of a config.json with the names of these classes; None if it is not readable."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(config, dict):
        return None
    config.pop("_name_or_path", None)  # a path on another machine
    if "id2label" in config or "model_type" in config:
        config["id2label"] = {str(i): name for i, name in enumerate(names)}
        config["label2id"] = {name: i for i, name in enumerate(names)}
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _names_steps(original: FrozenModel, steps: ImagePreprocessing) -> bool:
    """Whether the files of a model name this preprocessing."""
    try:
        return ImagePreprocessing.for_model(original) == steps
    except InputError:
        return False


def _run(folder: Path, written: FrozenModel, samples: Samples, snippet: str) -> None:
    """Run the program on some samples, from another folder, and compare with ntkit."""
    with tempfile.TemporaryDirectory(prefix="ntkit-") as elsewhere:
        arguments, X = _some(written, samples, Path(elsewhere))
        try:
            done = subprocess.run(
                [sys.executable, "-B", str(folder / _PROGRAM), *arguments],
                cwd=elsewhere,
                capture_output=True,
                env={**os.environ, "PYTHONUTF8": "1"},  # class names may need UTF-8
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise VerificationError(f"{_PROGRAM} does not run: {error}.") from error
    if done.returncode:
        reason = (_text(done.stderr).strip().splitlines() or ["no reason given"])[-1]
        raise VerificationError(f"{_PROGRAM} of the folder for the service does not run: {reason}.")
    several = bool(written.label_names)
    if (written.head is None and not several) or "    return outputs\n" in snippet:
        return  # no output of the model shows classes
    lines = _predicted(written, X)
    if samples.data.are_files:
        lines = [f"{path} {label}" for path, label in zip(arguments, lines, strict=True)]
    printed = _text(done.stdout)
    if printed != "".join(f"{line}\n" for line in lines):  # as a whole: names hold line breaks
        raise VerificationError(
            f"{_PROGRAM} of the folder for the service predicts {printed.splitlines()[:4]}, but "
            f"ntkit predicts {lines[:4]}."
        )


def _predicted(model: FrozenModel, X: Any) -> list[str]:
    """The class of each sample as a text, or all its labels."""
    names, embedded, has = model.label_names, dict[str, Array](), list[Any]()
    for one in [model.of_label(name) for name in names] or [model]:
        if one.embedding.name not in embedded:
            embedded[one.embedding.name] = OnnxEmbedder(one, device="cpu").transform(X)
        assert one.head is not None
        has.append(one.head.predict(embedded[one.embedding.name]).tolist())
    if not names:
        return list(map(str, has[0]))
    rows = (
        [n for n, y in zip(names, row, strict=True) if y == n] for row in zip(*has, strict=True)
    )
    return [", ".join(row) or "no label" for row in rows]


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").replace(os.linesep, "\n")


def _some(model: FrozenModel, samples: Samples, elsewhere: Path) -> tuple[list[str], Any]:
    """Arguments of the program, and the same samples as inputs."""
    if samples.embedded:
        made = random_inputs(model, _TRIED)
        X = made if len(made) > 1 else next(iter(made.values()))
        samples = read(X, model, labels="optional")
    rows = [*np.unique(np.linspace(0, len(samples) - 1, _TRIED).astype(np.intp))]
    if isinstance(samples.data, TextData):  # short ones, because a command line has a limit
        texts, n = samples.X.texts, len(samples)
        rows = sorted(range(n), key=lambda i: len(str(texts[i])))[:: max(1, n // 8)][:_TRIED]
    some = samples.take(rows)
    return some.data.as_arguments(elsewhere)
