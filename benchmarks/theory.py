"""Theorem 4.2 of NeuronTune on the synthetic model of its theory, neuron by neuron.

    python benchmarks/theory.py [--plot FILE] [--table FILE] [--seeds 10] [--quick]

100 random linear neurons on 5 core and 5 spurious features, 100 000 samples. A linear head b is
trained by least squares on the regression problem; its errors on the two classes give the scores,
for the neurons as they are, after ReLU, as absolute values, and as contributions to the error
(activation times gradient). First table: each against -2 mu gamma' w_spu,i (contributions against
4 mu b_i gamma' w_spu,i), and what the rules suppress at threshold 0. Second table: signed neurons
and class +mu alone, with one or two numbers of the model changed. Mean and standard deviation over
seeds, each of which draws the problem, the samples and the neurons anew.

--plot draws the scores of the first seed: theory.svg, theory.png or what the name says.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression

from ntkit.datasets import make_spurious_classification
from ntkit.spuriousness import spuriousness_scores, suppressed_neurons

CLASSES = np.array([-1, 1])
N_CORE = 5
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "signed": lambda Z: Z,
    "ReLU": lambda Z: np.maximum(Z, 0),
    "absolute value": np.abs,
}
QUANTITIES = [
    "correlation, class +μ",
    "slope, class +μ",
    "correlation, class −μ",
    "slope, class −μ",
    "correlation of the two classes",
    "union suppresses, %",
    "intersection suppresses, %",
]
SHARES = ["errors where broken, %", "errors elsewhere, %", "broken, of the errors, %"]
REGIMES: dict[str, dict[str, float]] = {
    "as above": {},
    "μ = 2": {"mu": 2.0},
    "η_core = 1": {"eta_core": 1.0},
    "p = 0.99, η_core = 0.3": {"correlation": 0.99, "eta_core": 0.3},
    "η_core = 0.4": {"eta_core": 0.4},
    "p = 0.9": {"correlation": 0.9},
    "p = 0.8": {"correlation": 0.8},
    "p = 0.5": {"correlation": 0.5},
    "p = 0.8, η_core = 2": {"correlation": 0.8, "eta_core": 2.0},
    "η_spu = 0.6": {"eta_spurious": 0.6},
    "η_spu = 1": {"eta_spurious": 1.0},
    "μ = 0.5": {"mu": 0.5},
    "μ = 0.3": {"mu": 0.3},
}


@dataclass
class Draw:
    """Activations, the errors of the head, and what the theorem says of each neuron."""

    Z: Any  # (samples, neurons), before any activation function
    y: Any  # (samples,): -1 or 1
    agrees: Any  # (samples,)
    wrong: Any  # (samples,)
    coef: Any  # (neurons,): the head
    spurious: Any  # (neurons,): gamma' w_spu,i
    predicted: Any  # (neurons,): -2 mu gamma' w_spu,i

    def scores(self, activations: Any) -> Any:
        """Spuriousness scores, class -mu first."""
        return spuriousness_scores(activations, self.y, self.wrong, CLASSES)


def regression(
    seed: int,
    n: int,
    *,
    correlation: float = 0.95,
    eta_core: float = 0.6,
    eta_spurious: float = 0.1,
) -> tuple[Any, Any, Any, Any]:
    """Features, target values and the directions beta and gamma of the regression problem."""
    rng = np.random.RandomState(seed)
    beta, gamma = (each / np.linalg.norm(each) for each in rng.standard_normal((2, N_CORE)))
    core = rng.standard_normal((n, N_CORE))
    y = core @ beta + eta_core * rng.standard_normal(n)
    agrees = rng.uniform(size=n) < correlation
    noise = eta_spurious * rng.standard_normal((n, N_CORE))
    return np.hstack([core, np.outer(np.where(agrees, y, -y), gamma) + noise]), y, beta, gamma


def draw(seed: int, n: int, n_neurons: int, *, mu: float = 1.0, **model: float) -> Draw:
    """Draw a problem and random neurons, and train the head by regression."""
    X, y, beta, gamma = regression(seed, n, **model)
    W = np.random.default_rng(seed).standard_normal((n_neurons, X.shape[1]))
    head = LinearRegression().fit(X @ W.T, y)
    X, y, agrees = make_spurious_classification(
        n, mu=mu, beta=beta, gamma=gamma, **model, random_state=seed + 1000
    )
    Z, spurious = X @ W.T, W[:, N_CORE:] @ gamma
    wrong = np.sign(head.predict(Z)) != y
    return Draw(Z, y, agrees, wrong, head.coef_, spurious, -2 * mu * spurious)


def against(predicted: Any, row: Any) -> list[float]:
    """Correlation of the scores with the prediction, slope, and share of the same sign."""
    correlation = np.corrcoef(predicted, row)[0, 1]
    return [correlation, np.polyfit(predicted, row, 1)[0], np.mean((row > 0) == (predicted > 0))]


def by_activation(sample: Draw) -> dict[str, list[float]]:
    """The columns of the first table, for every kind of neuron."""
    found = {name: sample.scores(activate(sample.Z)) for name, activate in ACTIVATIONS.items()}
    pushes = sample.Z * (-2 * sample.y[:, None] * sample.coef)  # towards the other class
    found["contribution"] = sample.scores(pushes)
    rows = {}
    for name, scores in found.items():
        goal = 4 * sample.coef * sample.spurious if name == "contribution" else sample.predicted
        rows[name] = [
            *against(goal, scores[1])[:2],
            *against(goal, scores[0])[:2],
            np.corrcoef(scores)[0, 1],
            suppressed_neurons(scores).mean(),
            suppressed_neurons(scores, aggregation="intersection").mean(),
        ]
    return rows


def by_regime(sample: Draw) -> list[float]:
    """The columns of the second table."""
    wrong, broken = sample.wrong, ~sample.agrees
    shares = [wrong[broken].mean(), wrong[~broken].mean(), broken[wrong].mean()]
    return [*shares, *against(sample.predicted, sample.scores(sample.Z)[1])]


def mean_and_spread(values: Any, percent: bool) -> str:
    """Mean ± standard deviation over the seeds."""
    mean, spread = np.mean(values), np.std(values, ddof=1)
    if percent:
        return f"{100 * mean:.1f} ± {100 * spread:.1f}"
    return f"{round(mean, 2) + 0.0:.2f} ± {spread:.2f}".replace("-", "−")  # no "−0.00"


def cells(found: list[list[float]], percent: set[int]) -> list[str]:
    """Columns of one row of results per seed, each as mean and standard deviation."""
    columns = zip(*found, strict=True)
    return [mean_and_spread(column, i in percent) for i, column in enumerate(columns)]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def picture(sample: Draw, file: Path) -> None:
    """Scores against the prediction, signed neurons on the left and ReLU on the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    settings = {"font.size": 8, "svg.hashsalt": "theory"}
    with plt.rc_context(settings):
        figure, panels = plt.subplots(1, 2, figsize=(4.2, 2.6), sharey=True, layout="constrained")
        edge = 1.08 * np.abs(sample.predicted).max()
        for panel, name in zip(panels, ("signed", "ReLU"), strict=True):
            panel.axhspan(0, edge, color="0.94", linewidth=0)
            for sign in (1, -1):
                panel.plot([-edge, edge], [-sign * edge, sign * edge], color="0.6", linewidth=0.8)
            minus, plus = sample.scores(ACTIVATIONS[name](sample.Z))
            panel.plot(sample.predicted, plus, "o", color="#0072B2", markersize=3, label="class +μ")
            panel.plot(
                sample.predicted, minus, "^", color="#D55E00", markersize=3, label="class −μ"
            )
            panel.text(0.5, 0.97, "flagged", transform=panel.transAxes, ha="center", va="top")
            panel.set(title=name, xlim=(-edge, edge), ylim=(-edge, edge))
            panel.set_xlabel(r"$-2\mu\,\gamma^\top w_{\mathrm{spu},i}$")
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel(r"score $\delta_i^y$")
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
        undated = {"Date": None} if file.suffix == ".svg" else None  # the same file every time
        figure.savefig(file, dpi=200, metadata=undated)
        plt.close(figure)


def main() -> None:
    """Run all seeds, print both tables, and write and draw what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plot", type=Path, help="save the figure here")
    parser.add_argument("--table", type=Path, help="write both tables here, as Markdown")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="10 000 samples, 2 seeds")
    arguments = parser.parse_args()
    n, n_seeds = (10_000, 2) if arguments.quick else (100_000, arguments.seeds)

    activations: dict[str, list[list[float]]] = {}
    regimes: dict[str, list[list[float]]] = {}
    for seed in range(n_seeds):
        sample = draw(seed, n, 100)
        for name, columns in by_activation(sample).items():
            activations.setdefault(name, []).append(columns)
        if seed == 0 and arguments.plot:
            picture(sample, arguments.plot)
        for name, model in REGIMES.items():
            regimes.setdefault(name, []).append(by_regime(draw(seed, n, 100, **model)))
    by_kind = [cells(found, {5, 6}) for found in activations.values()]
    first = table(
        ["", *activations],
        [[name, *row] for name, *row in zip(QUANTITIES, *by_kind, strict=True)],
    )
    second = table(
        ["the model", *SHARES, "correlation", "slope", "same sign, %"],
        [[name, *cells(found, {0, 1, 2, 5})] for name, found in regimes.items()],
    )
    print(f"{first}\n{second}", end="")
    if arguments.table:
        arguments.table.write_text(f"{first}\n{second}", encoding="utf-8")


if __name__ == "__main__":
    main()
