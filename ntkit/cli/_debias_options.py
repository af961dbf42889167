"""Options of ntkit debias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ntkit.cli import _options as o


@dataclass(frozen=True)
class Sets:
    """The model, its samples, and the folders of runs."""

    model: Path | None = o.argument("ONNX classifier, or its folder.", "MODEL", default=None)
    data: Path | None = o.argument("Labelled samples, or complaints.", "DATA", default=None)
    keep: Path | None = o.option("Unlabelled traffic; DATA then holds complaints.", "DATA")
    train: Path | None = o.option("Training samples, to retrain the head.", "DATA")
    validation: Path | None = o.option("Samples the network was not trained on.", "DATA")
    test: Path | None = o.option("Samples that decide whether the new head is better.", "DATA")
    out: Path | None = o.output("Output folder.", metavar="FOLDER", default=None)
    run: Path | None = o.option(
        "Continue the run in this folder, with its embeddings.", "FOLDER", "--from"
    )
    deploy: Path | None = o.of_output("Write a folder for the service as well.", "FOLDER")


@dataclass(frozen=True)
class Said:
    """What a person says of the samples."""

    spurious: list[str] | None = o.option(
        "Attribute that must not matter: word:film, column:age>=40; repeatable.", "NAME"
    )
    invariant: list[str] | None = o.option(
        "Change that must not matter: image:border, markup; repeatable.", "CHANGE"
    )
    answers: list[Path] | None = o.option(
        "answers.json, or labels of single samples; repeatable.", "FILE"
    )
    groups: Path | None = o.of_data("Table of known groups of some samples, to balance.", "TABLE")
    metadata: o.Metadata = None
    id_column: o.IdColumn = None
    match_names: o.MatchNames = False
    recorded: Path | None = o.of_data(
        "A service's outputs (.npz); refuses embeddings that differ.", "OUTPUTS"
    )
    trust_inputs: o.TrustInputs = False
    no_input: bool = o.switch("--no-input", "Ask no question in the terminal.", o.OUTPUT)


@dataclass(frozen=True)
class Fit:
    """How a head is fitted and chosen."""

    method: str | None = o.option("Order a method: auto, neurontune, afr, …, or a score.", "NAME")
    max_cost: float | None = o.option(
        "Largest loss (default 0.05), or changed answers (--keep: 0.02).", "SHARE", min=0, max=1
    )
    validation_balanced: bool = o.switch(
        "--validation-balanced", "Validation has little bias: auto uses it alone.", o.METHOD
    )
    interpolation: float | None = o.of_method("Share of the new head to write, up to 1.", "SHARE")
    even_if_worse: bool = o.switch(
        "--even-if-worse", "Write the new head even if it is not better.", o.METHOD
    )
    new_head: bool = o.switch("--new-head", "Fit a new last layer for other classes.", o.METHOD)
    keep_original: bool = o.switch(
        "--keep-original", "Without a new model, write the unchanged original.", o.OUTPUT
    )
    neurontune: o.NeuronTuneOptions = field(default_factory=o.NeuronTuneOptions)
    C: o.InversePenalty = None


@dataclass(frozen=True)
class Options:
    """All options of ``ntkit debias``."""

    sets: Sets
    said: Said
    fit: Fit
    model_options: o.ModelOptions
    data_options: o.DataOptions
    running: o.RunOptions
    verbose: bool = o.switch("--verbose", "Print all candidates, groups and notes.", o.OUTPUT)

    @property
    def values(self) -> dict[str, Any]:
        """The options by name; those on the model and on reading data are one value each."""
        values = {"model_options": self.model_options, "data_options": self.data_options}
        for part in (self.sets, self.said, self.fit, self.running):
            values |= vars(part)
        return values | {"verbose": self.verbose}

    def with_values(self, values: Mapping[str, Any]) -> Options:
        """The options with other values of some."""
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, part in parts.items():
            if name in values:
                parts[name] = values[name]
            elif name in ("sets", "said", "fit", "running"):
                parts[name] = replace(part, **{n: values[n] for n in vars(part) if n in values})
        return Options(**parts)
