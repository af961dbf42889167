"""ntkit parity: the outputs of ntkit next to those that a service recorded."""

from __future__ import annotations

from pathlib import Path

import typer

from ntkit.cli import _options as o


@o.with_options()
def command(
    *,
    model: o.Model,
    outputs: Path = o.argument("Outputs that a service recorded (.npz).", "OUTPUTS"),
    data: Path | None = o.option(
        "Samples, if OUTPUTS only names them: images, table, arrays.", "DATA"
    ),
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Compare ntkit with a service's outputs.

    ntkit reads, prepares and runs the same samples. If the outputs differ, it looks for the cause.

    Example: ntkit parity classifier.onnx outputs.npz --data images/recent

    OUTPUTS holds the service's logits, probabilities or labels. It also holds the inputs: files
    (names below --data), rows (of --data), texts, images, or X (the model's inputs).

    Possible causes: resize, crop, filter, channel order, scale, mean and std, EXIF, tokenizer,
    truncation, class order, softmax.

    The exit code is 1 if the outputs differ.
    """
    from ntkit.jobs.verify import check_parity

    frozen = model_options.load(model)
    parity = check_parity(
        frozen,
        outputs,
        None if data is None else data_options.read_inputs(data, frozen),
        preprocessing=data_options.said(frozen),
        device=device,
        verbose=True,
    )
    o.show(parity, json=json, text=parity.summary())
    raise typer.Exit(0 if parity.matched else 1)
