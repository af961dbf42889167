"""Does the audit find an injected shortcut by changing the input, and cry wolf without one.

    OPENBLAS_NUM_THREADS=1 python benchmarks/audit_changes.py [--seeds 3] [--markdown FILE]

Models and inputs are those of ``models_and_data.py`` (tables, texts and images that are made up,
``data_made_up.py``) and the marked digits. With a shortcut (92 % in the model's rows; 93 % of the
digits) the rank of its change and whether it is a finding: it flips surely more than its control,
or the model follows the class of the donor.
In models of balanced rows the changes that touch nothing that the class is told by: how many of
those that got the second part are called findings. Texts are looked at without labels, words being
left out in turn.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import ntkit
from data_made_up import FILLERS, KINDS, SIZES, write_samples
from models_and_data import BALANCED, BIASED
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from runner import command_line, publish, table

PLANTED = {
    "tables": {"column:region"},
    "texts": {"word:film", "word:movie"},
    "images": {"image:top left"},
    "tables, two shortcuts": {"column:region", "column:channel"},
}
IRRELEVANT = {
    "tables": {"column:region", "column:channel", "column:device"},
    "texts": {"word:film", "word:movie", "word:today", *(f"word:{word}" for word in FILLERS)},
    "images": {"image:top left", "image:bottom right", "image:grey"},
}


def looks(seeds: int) -> Iterator[tuple[str, str, int, Any]]:
    """Kind of input, whether biased, seed, and the changes of an audit."""
    for name, kind in KINDS.items():
        for share in (BIASED, BALANCED) if name in IRRELEVANT else (BIASED,):
            for seed in range(seeds):
                rng = np.random.default_rng([seed, list(KINDS).index(name), int(share == BIASED)])
                shares = [share] * len(kind.shortcuts)
                learned = kind.draw("model", SIZES["train"], shares, rng)
                seen = kind.draw("validation", SIZES["validation"], shares, rng)
                with tempfile.TemporaryDirectory() as folder:
                    model = Path(folder) / "model.onnx"
                    kind.train(learned.X, learned.y, seed, model)
                    data = write_samples(seen, Path(folder) / "validation.csv")
                    if name == "texts":
                        data = Path(folder) / "unlabelled.csv"
                        lines = [f'"{text}"' for text in seen.X]
                        data.write_text("\n".join(["text", *lines]), encoding="utf-8")
                    audit = ntkit.audit_model(model, data, device="cpu", random_state=seed)
                    yield name, "biased" if share == BIASED else "balanced", seed, audit.changes
    digits = load_marked_digits()
    for seed in range(seeds):
        rows = np.random.default_rng(seed).permutation(len(digits.y_validation))[:1000]
        data = digits.X_validation[rows], digits.y_validation[rows]
        model = marked_digits_model_path()
        audit = ntkit.audit_model(model, data, device="cpu", random_state=seed)
        yield "marked digits", "biased", seed, audit.changes


def main() -> None:
    """Look, and write a table."""
    parser = command_line(__doc__, "--markdown")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of networks that need not converge
    planted, wolf = list[list[str]](), list[list[str]]()
    for name, case, seed, found in looks(arguments.seeds):
        names = [each.row.name for each in found.changes]
        findings = {each.row.name for each in found.changes if each.is_finding}
        if case == "biased":
            own = PLANTED.get(name, {"image:top left"})
            ranks = [names.index(each) + 1 for each in own if each in names]
            first = names[min(ranks) - 1] if ranks else "–"
            sure = "yes" if own & findings else "no"
            planted.append([name, str(seed), first, str(min(ranks, default=0)), sure])
        else:
            looked_at = [each for each in names if each in IRRELEVANT[name]]
            called = [each for each in looked_at if each in findings]
            wolf.append([name, str(seed), str(len(looked_at)), ", ".join(called) or "none"])
        print(name, case, seed, names, sorted(findings), flush=True)
    good = sum(row[3] in "123" and row[4] == "yes" for row in planted)
    text = (
        "### An injected shortcut\n\n"
        + table(["input", "seed", "its change", "place", "finding"], planted)
        + f"\n\nAmong the first three, and a finding: {good} of {len(planted)} runs.\n\n"
        + "### Models of balanced rows: changes of what says nothing\n\n"
        + table(["input", "seed", "looked at", "called a finding"], wolf)
        + "\n"
    )
    publish(text, arguments.markdown)


if __name__ == "__main__":
    main()
