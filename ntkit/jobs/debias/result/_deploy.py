"""A folder that a service takes as it is: model, what it needs, and a program that was run."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction import ImageFiles, ImagePreprocessing, OnnxEmbedder, Samples, Texts
from ntkit.model import FrozenModel
from ntkit.pages import Usage
from ntkit.samples import with_plain_texts
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
    (folder / "labels.json").write_text(
        json.dumps(names, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for name, content in usage.files.items():
        (folder / name).write_bytes(content)
    _copy_used(folder, original, samples, names)
    (folder / _PROGRAM).write_text(_program(usage.snippet), encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")
    _run(folder, samples, usage.snippet)
    _write_sums(folder)


def _program(snippet: str) -> str:
    """The card's program, which finds what lies beside it wherever it is started."""
    for name in (DEPLOYED, "tokenizer.json"):
        snippet = snippet.replace(f'("{name}"', f'(str(HERE / "{name}")')
    imports, rest = snippet.split("\n\nsession = ", 1)
    imports = imports.replace("import sys\n", "import sys\nfrom pathlib import Path\n", 1)
    told = '"""Predict the class of the files or texts on the command line."""'
    return f"{told}\n\n{imports}\n\nHERE = Path(__file__).resolve().parent\nsession = {rest}\n"


# -- what lies beside the original ---------------------------------------------------------------


def _copy_used(folder: Path, original: FrozenModel, samples: Samples, names: list[str]) -> None:
    if original.path is None:
        return
    parent = original.path.parent
    places = [parent, parent.parent] if parent.name == "onnx" else [parent]
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
    wanted = list[str]()
    if isinstance(samples.X, ImageFiles) and _says(original, samples.X.preprocessing):
        wanted = [_PREPROCESSOR]
    elif isinstance(samples.X, Texts):
        tokenizer = samples.X.preprocessing.tokenizer
        used = tokenizer is not None and Path(tokenizer).parent in places
        wanted = [*_BESIDE_TOKENIZER] * used
    for name in wanted:
        if name in beside:
            (folder / name).write_bytes(beside[name].read_bytes())
    # timm's config.json says how images are prepared, and options may have said otherwise.
    told = isinstance(samples.X, ImageFiles) and (folder / _CONFIG).is_file()
    if told and not _says(FrozenModel.load(folder / DEPLOYED), samples.X.preprocessing):
        (folder / _CONFIG).unlink()


def _with_names(path: Path, names: list[str]) -> str | None:
    """A network's config.json with the names of these classes; None where it is not readable."""
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
    """Whether what lies beside a model says of images what was done to them."""
    try:
        return ImagePreprocessing.for_model(original) == steps
    except InputError:
        return False


# -- the program, run -----------------------------------------------------------------------------


def _run(folder: Path, samples: Samples, snippet: str) -> None:
    """Run the program on some samples, from another folder, and compare with ntkit."""
    written = FrozenModel.load(folder / DEPLOYED)
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
        why = (_text(done.stderr).strip().splitlines() or ["no reason given"])[-1]
        raise VerificationError(f"{_PROGRAM}, as it would be handed on, does not run: {why}.")
    if written.head is None or "    return found\n" in snippet:
        return  # no output of the model shows classes
    expected = written.head.predict(OnnxEmbedder(written, device="cpu").transform(X))
    wanted = [str(label) for label in expected.tolist()]
    if isinstance(samples.X, ImageFiles):
        wanted = [f"{path} {label}" for path, label in zip(arguments, wanted, strict=True)]
    found = _text(done.stdout)
    if found != "".join(f"{line}\n" for line in wanted):  # as a whole: names may hold line breaks
        raise VerificationError(
            f"{_PROGRAM}, as it would be handed on, predicts {found.splitlines()[:4]} where ntkit "
            f"predicts {wanted[:4]}."
        )


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").replace(os.linesep, "\n")


def _some(model: FrozenModel, samples: Samples, elsewhere: Path) -> tuple[list[str], Any]:
    """Arguments of the program, and the same samples as inputs."""
    X = samples.X
    rows = np.unique(np.linspace(0, len(samples) - 1, _TRIED).astype(np.intp))
    if samples.embedded:
        made = random_inputs(model, _TRIED)
        X, rows = made if len(made) > 1 else next(iter(made.values())), np.arange(_TRIED)
        X = with_plain_texts(Samples(X), model.inputs).X
    if isinstance(X, ImageFiles):
        paths = [X.paths[i] for i in rows]
        # Their own names may hold anything.
        copies = [elsewhere / f"{i}" for i in range(len(paths))]
        for path, copy in zip(paths, copies, strict=True):
            shutil.copyfile(path, copy)
        return [*map(str, copies)], ImageFiles(paths, X.preprocessing)
    if isinstance(X, Texts):
        chosen = sorted(range(len(X)), key=lambda i: len(str(X.texts[i])))[:: max(1, len(X) // 8)]
        texts = [X.texts[i] for i in chosen[:_TRIED]]  # short ones: a command line has an end
        first = [text[0] if X.paired else text for text in texts]
        second = [text[1] for text in texts] if X.paired else None
        flat = [part for text in texts for part in (text if X.paired else (text,))]
        return flat, Texts(first, X.preprocessing, pairs=second)
    if isinstance(X, Mapping):
        some = {name: _plain(np.asarray(part)[rows]) for name, part in X.items()}
        np.savez(elsewhere / "samples.npz", **some)  # type: ignore[arg-type]
        return [str(elsewhere / "samples.npz")], some
    some_rows = np.asarray(X[rows])
    if samples.columns and not samples.embedded and len(model.inputs) == 1:
        with (elsewhere / "samples.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([samples.columns, *some_rows.tolist()])
        return [str(elsewhere / "samples.csv")], some_rows
    np.save(elsewhere / "samples.npy", some_rows)
    return [str(elsewhere / "samples.npy")], some_rows


def _plain(values: Array) -> Array:
    return values.astype(str) if values.dtype.kind == "O" else values


def _write_sums(folder: Path) -> None:
    lines = []
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            lines.append(f"{digest}  {file.relative_to(folder).as_posix()}\n")
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
