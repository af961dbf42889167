"""Where there is nothing to find: what ``auto`` and ``--method auto`` make of data without bias.

    OPENBLAS_NUM_THREADS=1 python benchmarks/no_harm.py [--seeds 5] [--data aside] [--markdown FILE]

Iris, wine, breast cancer, digits and Gaussian mixtures, with a share of the labels turned at random
in the training and validation sets, and networks that memorised such sets, with a validation set of
the same distribution. Test labels stay as they are. Three heads are compared on them: the original
one (logistic regression, or the network's own), class-balanced retraining with a tuned penalty, and
what is under test: "auto" as an estimator, and the head that ``ntkit.debias(method="auto")`` leaves
in the model. The loss is that to the better of the first two, by the worst class. The last line
counts how often the head that is left in the model is worse than the original one by both
accuracies.

Constants were chosen with seeds 0 to 14 and 100 to 111 of the default data, and with the latter of
``--data clustered``, in view; ``--data aside`` takes data that nothing was chosen on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
    make_gaussian_quantiles,
    make_hastie_10_2,
    make_moons,
)
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from ntkit.attributes import FeatureSet
from ntkit.attributes.feature_set import array
from ntkit.estimators import AutoDebiasClassifier, retrain_head
from ntkit.head import LinearHead
from ntkit.jobs.debias._candidates import CANDIDATES
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._pool import Pool
from ntkit.study import Rows
from runner import command_line, mean_std, publish, table
from written import written

Array = NDArray[Any]
_ACCURACIES = ("average", "worst")
NOISE = (0.0, 0.005, 0.01, 0.03, 0.05, 0.08, 0.1)


def gaussians(
    n_classes: int, distance: float, width: int, shares: tuple[float, ...] | None = None
) -> Callable[[np.random.Generator], tuple[Array, Array]]:
    """Classes a distance apart, each in a direction of its own."""

    def draw(rng: np.random.Generator) -> tuple[Array, Array]:
        y = rng.choice(n_classes, 4000, p=shares)
        X = rng.normal(size=(4000, width))
        X[:, :n_classes] += distance / np.sqrt(2) * np.eye(n_classes)[y]
        return X, y

    return draw


def with_clusters(rng: np.random.Generator) -> tuple[Array, Array]:
    """Two classes, and a cluster of a fifth of the samples that says nothing about them."""
    y, cluster = rng.integers(0, 2, 4000), rng.random(4000) < 0.2
    X = rng.normal(size=(4000, 16))
    X[:, 0] += 4 * (y - 0.5)
    X[:, 1] += 4 * cluster
    return X, y


def bundled(load: Callable[..., Any]) -> Callable[[np.random.Generator], tuple[Array, Array]]:
    """One of scikit-learn's own data sets."""
    return lambda rng: load(return_X_y=True)


def mixture(n_classes: int, n_informative: int) -> Any:
    """Clusters at the corners of a cube: not linear."""

    def draw(rng: np.random.Generator) -> tuple[Array, Array]:
        return make_classification(
            3000, 30, n_informative=n_informative, n_redundant=5, n_classes=n_classes,
            class_sep=2.0, flip_y=0, random_state=int(rng.integers(1 << 31)),
        )  # fmt: skip

    return draw


def two_digits(rng: np.random.Generator) -> tuple[Array, Array]:
    """Threes against eights."""
    X, y = load_digits(return_X_y=True)
    rows = np.isin(y, (3, 8))
    return X[rows], (y[rows] == 8).astype(int)


def progressed(rng: np.random.Generator) -> tuple[Array, Array]:
    """Diabetes: progression above the median, which ten measurements hardly tell."""
    X, y = load_diabetes(return_X_y=True)
    return X, (y > np.median(y)).astype(int)


def of_sklearn(make: Callable[..., Any], *, width: int = 0, **options: Any) -> Any:
    """A problem of scikit-learn's, and features that say nothing."""

    def draw(rng: np.random.Generator) -> tuple[Array, Array]:
        X, y = make(n_samples=2500, random_state=int(rng.integers(1 << 31)), **options)
        return np.column_stack([X, rng.normal(size=(len(X), width))]), (y > 0) + (y > 1) * 1

    return draw


def even_digits(rng: np.random.Generator) -> tuple[Array, Array]:
    """Even against odd digits: classes of several kinds each."""
    X, y = load_digits(return_X_y=True)
    return X, y % 2


DATA: dict[str, Any] = {
    "iris": bundled(load_iris),
    "wine": bundled(load_wine),
    "breast cancer": bundled(load_breast_cancer),
    "digits": bundled(load_digits),
    "Gaussian, apart": gaussians(2, 5.0, 20),
    "Gaussian, overlapping": gaussians(2, 2.5, 20),
    "Gaussian, four classes": gaussians(4, 5.0, 16),
    "Gaussian, 15 %": gaussians(2, 3.5, 16, (0.85, 0.15)),
    "Gaussian, clusters": with_clusters,
}
CLUSTERED: dict[str, Any] = {
    "even digits": even_digits,
    "cube, two classes": mixture(2, 6),
    "cube, five classes": mixture(5, 10),
    "Gaussian, 200 neurons": gaussians(2, 4.0, 200),
    "Gaussian, ten classes": gaussians(10, 5.0, 40),
    "Gaussian, 4 %": gaussians(2, 4.0, 30, (0.96, 0.04)),
}
ASIDE: dict[str, Any] = {
    "three or eight": two_digits,
    "diabetes": progressed,
    "moons": of_sklearn(make_moons, noise=0.25, width=10),
    "ring": of_sklearn(make_hastie_10_2),
    "shells, three classes": of_sklearn(make_gaussian_quantiles, n_features=6, n_classes=3),
    "Gaussian, three unlike": gaussians(3, 3.5, 25, (0.6, 0.3, 0.1)),
}
SETS = {"default": DATA, "clustered": CLUSTERED, "aside": ASIDE}


def turned(y: Array, share: float, rng: np.random.Generator) -> Array:
    """Labels, a share of them another class."""
    n_classes = int(y.max()) + 1
    other = (y + rng.integers(1, n_classes, len(y))) % n_classes
    return np.where(rng.random(len(y)) < share, other, y)


def hidden(net: MLPClassifier, X: Array) -> Array:
    """Activations of the last hidden layer."""
    for W, b in zip(net.coefs_[:-1], net.intercepts_[:-1], strict=True):
        X = np.maximum(X @ W + b, 0)
    return X


def parts(name: str, noise: float, seed: int) -> tuple[Array, Array, Array, tuple[Array, ...]]:
    """Standardised inputs, classes, labels of which some are turned, and rows of the three sets."""
    rng = np.random.default_rng(seed)
    X, y = (DATA | CLUSTERED | ASIDE)[name](rng)
    mean, std = X.mean(axis=0), X.std(axis=0)
    X = (X - mean) / np.where(std > 0, std, 1)
    rest, test = train_test_split(np.arange(len(y)), test_size=1 / 3, stratify=y, random_state=seed)
    train, held = train_test_split(rest, test_size=1 / 3, stratify=y[rest], random_state=seed)
    return X, y, turned(y, noise, rng), (train, held, test)


def run(name: str, noise: float, seed: int, memorised: bool) -> dict[str, Any]:
    """Fit all heads once; accuracies on clean test labels in percent."""
    X, y, labels, sets = parts(name, noise, seed)
    feature_set = array(X[np.concatenate(sets[:2])], kind="input")
    return compared(X, y, labels, sets, feature_set, seed, C=1.0, n_epochs=300 * memorised)


def compared(
    X: Array,
    y: Array,
    labels: Array,
    sets: tuple[Array, ...],
    feature_set: FeatureSet,
    seed: int,
    *,
    C: float,
    n_epochs: int,
) -> dict[str, Any]:
    """Fit all heads to labels, after so many epochs of a network that learns them by heart."""
    train, held, test = sets
    if n_epochs:
        net = MLPClassifier((128, 64), alpha=1e-6, max_iter=n_epochs, tol=0,
                            n_iter_no_change=n_epochs, random_state=seed)  # fmt: skip
        net.fit(X[train], labels[train])
        X = hidden(net, X)
        head = LinearHead(net.coefs_[-1].T, net.intercepts_[-1], net.classes_)
    else:
        head = retrain_head(X[train], labels[train], class_weight=None, C=C)
    known = [Rows.of(X[rows], labels[rows]) for rows in (train, held)]
    comparison = Comparison(Pool(*known), Rows.of(X[test], y[test]), head=head, seed=seed)
    auto, _ = comparison.fit(*CANDIDATES["auto"])
    kept = written(comparison, "auto", auto, feature_set)
    T, H = comparison.train, comparison.validation
    balanced = AutoDebiasClassifier(recipe="class-balanced", random_state=seed)
    balanced.fit(T.X, T.y, X_val=H.X, y_val=H.y)
    heads = {
        "original": comparison.original,
        "balanced": balanced,
        "auto": auto,
        "written": kept,
    }
    figures = {}
    for which, fitted in heads.items():
        right = fitted.predict(comparison.test.X) == comparison.test.y
        of_class = [right[comparison.test.y == label].mean() for label in np.unique(y)]
        figures[which] = {"average": 100 * right.mean(), "worst": 100 * min(of_class)}
    return {"figures": figures, "recipe": auto.recipe_, "helped": kept is not comparison.original}


def better(run: dict[str, Any]) -> dict[str, float]:
    """Results of the original head or of class-balanced retraining: the better worst class."""
    return max((run["figures"][which] for which in ("original", "balanced")),
               key=lambda figures: figures["worst"])  # fmt: skip


def losses(runs: list[dict[str, Any]], which: str, what: str) -> list[float]:
    """Points below the better of the original head and class-balanced retraining."""
    return [better(run)[what] - run["figures"][which][what] for run in runs]


def main() -> None:
    """Run everything and print the table."""
    parser = command_line(__doc__, "--n-jobs", "--markdown")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=20)
    parser.add_argument("--data", choices=SETS, default="default", help="which sets (see above)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    names = SETS[arguments.data]
    kinds = [(name, noise, False) for name in names for noise in NOISE]
    kinds += [(name, noise, True) for name in names for noise in (0.0, 0.05, 0.1)]
    results = Parallel(n_jobs=arguments.n_jobs, batch_size=1)(
        delayed(run)(name, noise, seed, memorised) for name, noise, memorised in kinds
        for seed in seeds
    )  # fmt: skip
    lines, means = [], {(w, a): [] for w in ("auto", "written") for a in ("average", "worst")}
    for i, (name, noise, memorised) in enumerate(kinds):
        runs = results[i * len(seeds) : (i + 1) * len(seeds)]
        base = [better(run)["worst"] for run in runs]
        row = [f"{name}, {100 * noise:g} %{', memorised' * memorised}", mean_std(base)]
        for key, found in means.items():
            lost = losses(runs, *key)
            found.append(float(np.mean(lost)))
            row.append(f"{np.mean(lost):.1f} (most {max(lost):.1f})")
        others = sum(r["recipe"] != "class-balanced" for r in runs)
        lines.append([*row, f"{others} / {sum(r['helped'] for r in runs)}"])
    for what, of in (("mean", np.mean), ("worst", max)):
        lines.append([f"**{what} of the rows**", "", *(f"{of(v):.1f}" for v in means.values()), ""])
    header = ["data, labels turned", "worst class, the better of two, %"]
    header += ["auto: average lost", "worst class lost", "--method auto: average lost"]
    header += ["worst class lost", f"errors learnable / heads written, of {len(seeds)}"]
    worse = [all(r["figures"]["original"][a] - r["figures"]["written"][a] > 1 for a in _ACCURACIES)
             for r in results]  # fmt: skip
    text = f"{table(header, lines)}\n\nWorse than the original by more than a point in both, the "
    text += f"average and the worst class: {sum(worse)} of {len(worse)} runs.\n"
    publish(text, arguments.markdown)


if __name__ == "__main__":
    main()
