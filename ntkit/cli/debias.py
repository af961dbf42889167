"""ntkit debias: find shortcuts and repair a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import typer

from ntkit.cli import _options as o


@dataclass(frozen=True)
class Options:
    """All options of ``ntkit debias``."""

    model: Path | None = o.argument("ONNX classifier, or its folder.", "MODEL", default=None)
    train: Path | None = o.option("Training samples, to retrain the head.", "DATA")
    validation: Path | None = o.option("Samples the network was not trained on.", "DATA")
    test: Path | None = o.option("Samples for the table of results only.", "DATA")
    out: Path | None = o.output("Output folder.", metavar="FOLDER", default=None)
    run: Path | None = o.option(
        "Continue the run in this folder, with its embeddings.", "FOLDER", "--from"
    )
    spurious: list[str] | None = o.option(
        "Attribute that must not matter: word:film, column:age>=40; repeatable.", "NAME"
    )
    invariant: list[str] | None = o.option(
        "Change that must not matter: image:border, markup; repeatable.", "CHANGE"
    )
    answers: list[Path] | None = o.option(
        "answers.json, or labels of single samples; repeatable.", "FILE"
    )
    method: str | None = o.option("Order a method: auto, neurontune, afr, …, or a score.", "NAME")
    max_cost: float = o.option(
        "Largest loss: on average, or of the groups' mean.", "SHARE", default=0.05, min=0, max=1
    )
    groups: Path | None = o.of_data("Table of known groups of some samples, to balance.", "TABLE")
    metadata: o.Metadata = None
    id_column: o.IdColumn = None
    match_names: o.MatchNames = False
    recorded: Path | None = o.of_data(
        "A service's outputs (.npz); refuses embeddings that differ.", "OUTPUTS"
    )
    trust_inputs: o.TrustInputs = False
    validation_balanced: bool | None = o.of_method(
        "The shortcut is rarer in validation; default: tested."
    )
    even_if_worse: bool = o.switch(
        "--even-if-worse", "Write the new head even if it is not better.", o.METHOD
    )
    new_head: bool = o.switch("--new-head", "Fit a new last layer for other classes.", o.METHOD)
    deploy: Path | None = o.of_output("Write a folder for the service as well.", "FOLDER")
    keep_original: bool = o.switch(
        "--keep-original", "Without a new model, write the unchanged original.", o.OUTPUT
    )
    no_input: bool = o.switch("--no-input", "Ask no question in the terminal.", o.OUTPUT)
    neurontune: o.NeuronTuneOptions = field(default_factory=o.NeuronTuneOptions)
    C: o.InversePenalty = None
    model_options: o.ModelOptions = field(default_factory=o.ModelOptions)
    data_options: o.DataOptions = field(default_factory=o.DataOptions)
    device: o.Device = "auto"
    batch_size: o.BatchSize = None
    seed: o.Seed = 0
    force: o.Force = False
    quiet: o.Quiet = False
    verbose: bool = o.switch("--verbose", "Print all candidates, groups and notes.")
    json: o.Json = False


@o.with_options
def command(options: Options, *, context: typer.Context) -> None:
    """Find shortcuts and retrain the last layer.

    ntkit audits the model, asks which findings are shortcuts, and retrains the last layer.

    Example: ntkit debias classifier.onnx --train images/train --validation images/val -o debiased/

    Without an answer ntkit writes no new model. It writes a page with the findings, and asks about
    the strongest in the terminal. The answer y means that the model must ignore it.

    You can also answer on the page, name a shortcut with --spurious, or label single samples with
    ntkit label. You can name a change that must not matter with --invariant, or choose a method
    yourself with --method.

    Example: ntkit debias --from debiased/ --answers answers.json

    ntkit writes a new head only if it is better on validation samples that the head has not seen.
    The head must not cost more than --max-cost: a share of average accuracy, or after an answer of
    the mean over groups. --verbose names all groups that lose accuracy.

    DATA is an image folder with one subfolder per class. DATA can also be an .npz with X and y,
    X.npy next to y.npy, a table (.csv, .tsv, .jsonl, .parquet) of texts or numbers, or an embedding
    store. Groups come from metadata.csv with file_name and group, from an array groups, or from a
    column. ntkit uses them only to report accuracy.

    Attributes: word:film, column:age>=40, metadata:site=B, word:film|word:movie. Changes:
    image:border, word:film|word:movie, column:sex, markup, folder:PATH. A change works even
    if no sample breaks the shortcut.

    --answers takes answers.json of a page, several for several people. It also takes labels of
    single samples: answers.json of ntkit label, or a table. ntkit infers missing labels, and
    missing groups of --groups. Tables name samples by file_name, id or --id-column. Without names a
    table has a row for each training sample, then each validation sample.

    --recorded takes the file that ntkit parity takes. --deploy writes the model, its tokenizer or
    preprocessor, the class order, an example program, checksums and a card.

    Any of --threshold, --standardize, --max-suppressed, --aggregation, --statistic and
    --error-weight orders NeuronTune with these parameters.

    Exit codes: 0 decided, 1 the ordered head is not better, 2 an error, 3 questions are open.
    """
    from ntkit.cli._debias_run import run_debias

    run_debias(options, o.typed_options(context))
