"""NeuronTune's tables of the documentation, from the rows file of :mod:`rows`.

python benchmarks/neurontune_tables.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from committed import rows_under
from results_csv import with_tables
from rows import FOLDER, Fit, average, by_set, mean_of, read, shown_gain, worst
from runner import table
from sentences import bullets, interval

MARKER = "benchmarks/neurontune_tables.py"
BIRDS, TUNED = "Waterbirds, official", "Waterbirds, fine-tuned, official"
BIASED = (
    *(BIRDS, "Waterbirds", "TuxScenes", "Rotten Tomatoes", "SpamAssassin", "Adult"),
    *("Adult, 95 %", "Sneaker/boot", "T-shirt/dress", "Pullover/coat", "Rotten Tomatoes, L6"),
    *("SpamAssassin, L6", "Rotten Tomatoes, LSA", "SpamAssassin, LSA"),
)
HARMLESS = ("iris", "wine", "breast", "digits", "Gauss")
NAMES = {
    "ERM, tuned": "ERM",
    "class-balanced, tuned": "class-balanced retraining",
    "sgd, mask": "NeuronTune, `as_described()`",
    "sgd, mask, by SFit": 'NeuronTune, `as_described(selection="sfit")`',
    "sgd, random": "random mask, SGD",
    "sgd, no mask": "no mask, SGD",
    "optimum, mask": 'NeuronTune, `as_described(solver="optimum")`',
    "optimum, random": "random mask, optimum",
    "optimum, no mask": "no mask, optimum",
    "optimum, mask at 0.5, 10 errors": "`NeuronTuneClassifier(max_cost=None)`",
    "the default": "`NeuronTuneClassifier()`",
    "old default": "the default before, with weights of errors",
    "auto": "`AutoDebiasClassifier()`",
}
"""Methods of the page, in its order."""


def main() -> None:
    """Write the tables."""
    for page, parts in page_tables(read()).items():
        file = FOLDER / page
        file.write_text(with_tables(file.read_text(encoding="utf-8"), parts, MARKER), "utf-8")


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation."""
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def of_sets(rows: Sequence[Fit], kind: str = "biased") -> list[Fit]:
    """Rows of a kind of set on embeddings as they are: biased, harmless or kept aside."""
    some = [row for row in rows if (row["part"], row["embeddings"]) == ("sets", "raw")]
    return [row for row in some if kind_of(row["data"]) == kind]


def kind_of(name: str) -> str:
    """Whether a set is one of those with a shortcut, has none, or was kept aside."""
    if name in BIASED:
        return "biased"
    return "harmless" if name.startswith(HARMLESS) else "aside"


def means(rows: Sequence[Fit], method: str, of: Callable[[Fit], float]) -> dict[str, float]:
    """Mean over seeds and draws for each set."""
    return {name: mean_of(seeds, of) for name, seeds in by_set(rows, method).items()}


def neurons(rows: Sequence[Fit]) -> str:
    """Found neurons compared with random ones and none, for each way to retrain."""
    lines = []
    titles = {"sgd": "SGD", "optimum": "optimum, own penalty"}
    others = {"random": "random neurons", "no mask": "no mask"}
    for kind, where in (("biased", "14 sets"), ("aside", "7 sets kept aside")):
        some = of_sets(rows, kind)
        for solver, other in product(titles, others):
            if means(some, f"{solver}, mask", worst):
                names = f"{solver}, mask", f"{solver}, {other}"
                levels = [f"{np.mean([*means(some, n, worst).values()]):.1f}" for n in names]
                cells = [*levels, *shown_gain(some, *names)]
                lines.append([titles[solver], others[other], where, *cells])
    head = ["retraining", "found neurons minus", "data", "found neurons, %", "other, %"]
    return table([*head, "difference, points", "sets with a gain"], lines)


def what_neurons_gain(rows: Sequence[Fit]) -> str:
    """What the table of neurons leaves open: SGD, ERM and the choice of the epoch."""
    biased, aside = (of_sets(rows, kind) for kind in ("biased", "aside"))
    mask, erm = "sgd, mask", "ERM, tuned"
    share = means(biased, mask, lambda row: 100 * row["n_suppressed"] / row["n_neurons"])
    return bullets(
        [
            f"**SGD** without a mask against the optimum without one, 14 sets: "
            f"{interval(biased, 'sgd, no mask', 'optimum, no mask')}. So part of the gain repairs "
            f"SGD.",
            f"**Against ERM,** NeuronTune as described has {interval(biased, mask, erm)} on the 14 "
            f"sets, and {interval(aside, mask, erm)} on those kept aside.",
            f"**Size:** on the 14 sets it suppresses {np.mean([*share.values()]):.0f} % of the "
            f"neurons, {share[BIRDS]:.0f} % on {BIRDS}.",
            f"**SFit** against our choice of the epoch, 14 sets: "
            f"{interval(biased, 'sgd, mask, by SFit', mask)}.",
        ]
    )


def methods(rows: Sequence[Fit]) -> str:
    """Worst group and mean of the groups with a shortcut, and worst class without one."""
    of_kind, sizes = dict[str, list[Fit]](), list[int]()
    for kind in ("biased", "aside", "harmless"):
        some = of_sets(rows, kind)
        each = [{row["data"] for row in some if row["method"] == name} for name in NAMES]
        shared = set.intersection(*filter(None, each))  # the sets of every method that was run
        of_kind[kind] = [row for row in some if row["data"] in shared]
        sizes.append(len(shared))
    of_kind["birds"] = [row for row in of_kind["biased"] if row["data"] == BIRDS]
    lines = []
    for method, title in NAMES.items():
        cells = []
        for some in of_kind.values():
            found = [means(some, method, of) for of in (worst, average)]
            shown = [f"{np.mean([*each.values()]):.1f}" for each in found if each]
            cells.append(" / ".join(shown) or "–")
        lines.append([title, *cells])
    biased, aside, harmless = sizes
    head = ["method", f"{biased} sets", f"{aside} kept aside", f"{harmless} without a shortcut"]
    return table([*head, "Waterbirds, official"], lines)


def settings(rows: Sequence[Fit]) -> str:
    """SGD on the official Waterbirds: two heads that err, batches and rates."""
    some = [row for row in rows if row["part"] == "settings"]
    ends = dict.fromkeys(row["method"].partition(", ")[2] for row in some)
    lines = []
    for end in ends:
        values = {
            name: [worst(row) for row in some if row["method"] == f"{name}, {end}"]
            for name in ("mask", "no mask", "random")
        }
        cells = [mean_and_deviation(v) for v in values.values()]
        lines.append([end.replace("head ", ""), *cells])
    return table(["head that errs, batch, rate", "found neurons", "no mask", "random"], lines)


STEPS = {
    "biased validation set, SGD": ("sets", "Waterbirds", "sgd, mask"),
    "biased validation set, optimum": ("sets", "Waterbirds", "optimum, mask"),
    "official validation split, optimum": ("sets", BIRDS, "optimum, mask"),
    "official validation split, SGD": ("sets", BIRDS, "sgd, mask"),
    "the same, epoch by SFit": ("sets", BIRDS, "sgd, mask, by SFit"),
    "the same, half of the validation split retrains": ("half", BIRDS, "sgd, mask"),
}

TUNED_STEPS = {
    "fine-tuned network, official, SGD": ("fine-tuned", TUNED, "sgd, mask"),
    "fine-tuned network, official, optimum": ("fine-tuned", TUNED, "optimum, mask"),
    "fine-tuned network, half retrains, SGD": ("fine-tuned", TUNED, "half, sgd, mask"),
}
"""One network, and seeds of the solver."""


def bill(rows: Sequence[Fit]) -> str:
    """Each difference between our first number and the described method on Waterbirds."""
    lines = []
    for title, step in (STEPS | TUNED_STEPS).items():
        mask, *others = (f"{value:.1f}" for value in of_step(rows, *step))
        # SFit was run with found neurons alone.
        lines.append([title, mask, *(["–", "–"] if "SFit" in title else others)])
    return table(["setting", "found neurons", "no mask", "random"], lines)


def of_step(rows: Sequence[Fit], part: str, data: str, method: str) -> list[float]:
    """Worst groups of a method, of no mask and of random ones."""
    solver = method.partition(", mask")[0]
    found = []
    for name in (method, f"{solver}, no mask", f"{solver}, random"):
        key = {"part": part, "data": data, "method": name, "embeddings": "raw"}
        values = [worst(row) for row in rows if all(row[k] == v for k, v in key.items())]
        found.append(float(np.mean(values)))
    return found


def what_steps_show(rows: Sequence[Fit]) -> str:
    """How the steps interact, what the validation rows do, and the fine-tuned networks."""
    sgd, optimum, official, official_sgd, _, half = (of_step(rows, *s) for s in STEPS.values())
    held = [row for row in rows if row["method"] == "0 | class-balanced, validation rows"]
    whole = np.mean([worst(row) for row in held if row["data"] == BIRDS])
    own = "ERM, the network's own head"
    tuned_sgd, _, tuned_half = (of_step(rows, *step) for step in TUNED_STEPS.values())
    heading = "### Half of the validation split finds neurons, half chooses"
    tuned = {line[0]: line[1] for line in rows_under("waterbirds_finetuned", heading)}
    tuned = {name: cell.partition(" ")[0] for name, cell in tuned.items()}
    return bullets(
        [
            f"**The steps interact:** SGD costs {optimum[0] - sgd[0]:.1f} points with the biased "
            f"set, and gains {official_sgd[0] - official[0]:.1f} with the official one.",
            f"**When half of the validation split retrains,** the neurons lose "
            f"{half[1] - half[0]:.1f} points to no mask and {half[2] - half[0]:.1f} to random "
            f"ones. The validation rows help, not the mask. Class-balanced retraining on the whole "
            f"split has {whole:.1f}.",
            f"**On our [fine-tuned networks](tables/waterbirds_finetuned_tables.md),** with the "
            f"optimum, NeuronTune has {tuned['NeuronTune on training']}. ERM has "
            f"{tuned[own]}, random masks "
            f"{tuned['random mask on training']}. Retrained on half of the validation split, it "
            f"has {tuned['NeuronTune on the other half']}, and random masks "
            f"{tuned['random mask on the other half']}.",
            f"**With SGD on one fine-tuned network,** the neurons gain "
            f"{tuned_sgd[0] - tuned_sgd[1]:.1f} points over no mask. When half of the validation "
            f"split retrains, they lose {tuned_half[1] - tuned_half[0]:.1f}.",
        ]
    )


def page_tables(rows: Sequence[Fit]) -> dict[str, dict[str, str]]:
    """The tables of each page, by the name in the marker."""
    return {
        "published.md": {
            "neurons": neurons(rows),
            "what the neurons gain": what_neurons_gain(rows),
            "bill": bill(rows),
            "what the steps show": what_steps_show(rows),
        },
        "tables/neurontune_tables.md": {"methods": methods(rows), "settings": settings(rows)},
    }


if __name__ == "__main__":
    main()
