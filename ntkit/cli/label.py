"""ntkit label: ask a person about some samples."""

from __future__ import annotations

from pathlib import Path

from ntkit.cli import _options as o
from ntkit.jobs.label import label_samples


@o.with_options
def command(
    *,
    model: o.Model,
    data: Path = o.argument(
        "DATA: labelled samples to ask about, as a rule those to train.", default=...
    ),
    out: Path = o.option("Folder of this question.", "-o", "--out", default=...),
    question: str | None = o.option(
        'What to ask about each sample: "Is there water in the background?"'
    ),
    values: str | None = o.option("What can be answered, two to nine: yes,no by default."),
    batch: int = o.option("How many samples to ask about next.", default=48, min=1),
    answers: list[Path] | None = o.option(
        "Answers that are not in the folder: labels.csv, answers.json; again."
    ),
    match_names: o.MatchNames = False,
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    device: o.Device = "auto",
    batch_size: o.BatchSize = None,
    seed: o.Seed = 0,
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Ask a person about some of the samples.

    A few dozen labels of an attribute that the model may rely on are enough.

    The first time, OUT holds label.html, an offline page that takes one key for each sample and
    saves labels.csv, and questions-1.csv, the same to fill in. Move labels.csv to OUT and run the
    same command again: it takes the answers, infers the attribute for all samples, says whether
    more answers pay, and asks about the next samples. The model's errors come first, and no sample
    is asked about twice. answers.json in OUT keeps all answers, for ntkit debias --answers.

    Example: ntkit label classifier.onnx images/train -o water/ --question "Is there water?"
    """
    frozen = model_options.load(model)
    labelling = label_samples(
        frozen,
        data_options.read(data, frozen),
        out,
        question=question,
        values=o.names(values),
        batch=batch,
        answers=answers or (),
        match_names=match_names,
        device=device,
        batch_size=o.batch_size_of(batch_size),
        random_state=seed,
        verbose=not quiet,
    )
    o.show(labelling, json=json)
