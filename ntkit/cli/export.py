"""ntkit export: a head into a model."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntkit._labels import spelt_as
from ntkit._output import check_file
from ntkit.cli import _options as o
from ntkit.exceptions import InputError, ModelError

if TYPE_CHECKING:
    from ntkit.head import LinearHead
    from ntkit.model import FrozenModel
    from ntkit.verification import Verification


@o.with_options()
def command(
    *,
    model: o.Model,
    head: Path | None = o.argument("Head that ntkit fit wrote.", "HEAD", default=None),
    out: Path = o.output("Output model."),
    undo: bool = o.switch("--undo", "Write back the original; MODEL is debias's output."),
    data: Path | None = o.option("Samples to verify on; default: random inputs.", "DATA"),
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    device: o.Device = "auto",
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Write a head into a model.

    ntkit writes the file only after ONNX Runtime and NumPy agree on its outputs.

    Example: ntkit export classifier.onnx head.onnx -o debiased.onnx

    With --undo the head is the one that the model had before ntkit debias repaired it.

    Example: ntkit export --undo debiased/ -o original.onnx
    """
    from ntkit._disk import size_of
    from ntkit.extraction import OnnxEmbedder
    from ntkit.extraction.head_check import check_head
    from ntkit.jobs.debias import undo as put_back
    from ntkit.samples.kinds import first_rows
    from ntkit.samples.samples import input_paths
    from ntkit.samples.stored import check_alike
    from ntkit.verification import random_inputs, save_verified

    if undo:
        if head is not None:
            raise InputError(f"--undo takes the head that the run kept; leave {head} out.")
        _show(out, put_back(model, out, device=device, force=force), json)
        return
    if head is None:
        raise InputError("Name the head to write: ntkit export MODEL HEAD -o OUT.")
    check_file(out, inputs=[model, head, data, *data_options.files], force=force)
    original = model_options.load(model)
    inputs, size = input_paths(original), size_of(original.files)
    check_file(out, inputs=inputs, force=force, size=size)
    original, new, facts, origin = _fitted(original, head)
    if data is None:
        X = random_inputs(original)
    else:
        samples = data_options.read_inputs(data, original)
        check_alike((str(head), str(data)), origin, {"preprocessing": samples.preprocessing})
        X = first_rows(samples.X, 256)
    if original.head is not None:
        check_head(OnnxEmbedder(original, device=device), X)
    check = save_verified(
        original.with_head(new, provenance=facts),
        out,
        original=original,
        X=X,
        head=new,
        device=device,
        force=force,
    )
    _show(out, check, json)


def _fitted(
    original: FrozenModel, head: Path
) -> tuple[FrozenModel, LinearHead, dict[str, str], dict[str, Any]]:
    """The model and the head of a file with the same classes; what the file says; its origin."""
    from ntkit.model import FrozenModel
    from ntkit.samples.stored import check_made_with, origin_of_head

    source = FrozenModel.load(head)
    if source.head is None:
        raise ModelError(f"{head} holds no linear head.")
    if source.inputs[0].name == "embedding" != source.embedding.name:
        raise ModelError(
            f"{head} is a head with a scaler in front of it, which cannot be taken apart; fit "
            "without the scaler, or convert a pipeline that starts with an OnnxEmbedder."
        )
    origin = origin_of_head(source.metadata)
    if origin["model"] is None:  # of a table of embeddings: its columns are neurons, not inputs
        origin["preprocessing"] = None
    check_made_with(str(head), origin, original)
    facts = {k.removeprefix("ntkit."): v for k, v in source.metadata.items() if "ntkit." in k}
    facts |= {"source_sha256": original.sha256()}
    facts.pop("classes", None)
    if origin["preprocessing"] is None:
        facts.pop("preprocessing", None)
    new = source.head
    if original.head is not None:
        new = replace(new, classes=spelt_as(new.classes, original.head.classes))
    if not original.has_class_names:
        original = o.named_like(original, new)
    elif set(new.classes.tolist()) != set(original.class_names or ()):
        with suppress(InputError):  # which says so below
            original = original.matched_to(new.classes)
    return original, new, facts, origin


def _show(out: Path, check: Verification, json: bool) -> None:
    text = (
        f"{out}: verified on {check.n_samples} samples, largest relative difference of logits "
        f"{check.logit_difference:.1e}; node list {'un' if check.kept.nodes else ''}changed. "
        f"{check.on_other_labels()}"
    )
    o.show_verified(out, check, text.rstrip(), json=json)
