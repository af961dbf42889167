"""How fast heads are fitted, against scikit-learn and against the published procedures.

    python benchmarks/solver.py [--quick] [--only PART …] [--data FILE] [--json FILE]

Every ratio is of things run in turn in this process (A B A B …): the median over rounds of the
rounds' ratios. Objectives are computed in float64, on the same rows, weights and penalty. Parts:

  heads           fit_linear_head as it is by default against LogisticRegression(lbfgs) at tol 1e-4
                  and 1e-6. "gap" is the objective above the better of the two, as a share of it;
                  "to optimum" is ours above that of a fit in float64 at tol 1e-9.
                  Goals: ratio at most 0.5 on large data and 1.2 on small, our gap at most 1e-6.
                  LogisticRegression gets what our solver gives itself: one thread for SciPy's
                  BLAS. Without it NumPy's threads and SciPy's wait for each other, and on a busy
                  machine small fits take 100 times as long; --as-is times that too.
  procedures      published retraining against one convex fit, after the original head is there:
    AFR           1000 full-batch gradient steps at rate 0.02 (published for CelebA, with gamma
                  1.44 and lambda 0.001) against the optimum of the same objective.
    SGD           50 epochs of 200 class-balanced batches of 32, rate 1e-3, momentum 0.9, decay
                  1e-4 on the weights, against the optimum of the same objective; a lean loop
                  in NumPy, and where torch is installed one in PyTorch.
    DFR           7 L1 fits that choose C and 20 whose mean is taken (liblinear, as published),
                  against DFRClassifier() and DFRClassifier(variant="weighted"). The default is
                  the same procedure with the same L1 penalty; "weighted" is one fit of all rows
                  with an L2 penalty. The two minimise different things, so no objective is
                  shared: shown are the log loss, every group alike, on the rows fitted, and
                  worst-group accuracy on validation rows.
                  Goal: the published procedure takes 10 times as long or more.
  identification  scores, mask and SFit of the retrained head (which is scored anew), as a share of
                  one head fit on as many rows, and of NeuronTuneClassifier.fit with half as many
                  validation rows. Goal: at most 0.15.
  import          `import ntkit`, and `from ntkit import NeuronTuneClassifier`, which loads what
                  the first leaves for later, against `import sklearn.linear_model`, each in a
                  fresh process, without the interpreter's own start. Goal: at most 1.3.

--data names an .npz with Ztr, ytr (original head), Zva, yva, ava (retraining; a is the spurious
attribute), Zte, yte, ate (test). --quick takes small shapes and few rounds: to see that it runs.
Where other work keeps the cores busy, threads of BLAS wait for cores and ratios of small fits mean
little: --threads 1 takes that away from both sides. The load is printed and kept.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import ThreadpoolController, threadpool_limits

from fit import embeddings
from ntkit import LinearHead, NeuronTuneClassifier
from ntkit.estimators import AFRClassifier, DFRClassifier
from ntkit.solver.fit_head import FittedHead, fit_linear_head
from ntkit.spuriousness import non_constant_neurons, sfit, spuriousness_scores, suppressed_neurons
from runner import command_line, save

Array = np.ndarray
Shape = tuple[int, int, int]
LARGE: list[Shape] = [
    (20_000, 768, 2),
    (20_000, 768, 5),
    (100_000, 768, 2),
    (5000, 2048, 2),
    (50_000, 2048, 2),
]
SMALL: list[Shape] = [(1600, 1280, 2), (500, 64, 2)]
DFR_CS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


# -- timing and objectives ------------------------------------------------------------------


def in_turn(
    works: dict[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Run all works in turn, round after round: seconds of each, and what each gave last."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    results = {}
    for _ in range(rounds):
        for name, work in works.items():
            begin = time.perf_counter()
            results[name] = work()
            seconds[name].append(time.perf_counter() - begin)
    return {name: np.array(taken) for name, taken in seconds.items()}, results


def one_scipy_thread() -> Any:
    """A context in which SciPy's BLAS has one thread and NumPy's keeps all."""
    controller = ThreadpoolController()
    paths = [lib.filepath for lib in controller.lib_controllers if "scipy.libs" in lib.filepath]
    return controller.select(filepath=paths).limit(limits=1)


def ratio(seconds: Array, of: Array) -> dict[str, Any]:
    """Median of the rounds' ratios, their quartiles, and the median seconds of both."""
    low, middle, high = np.quantile(seconds / of, [0.25, 0.5, 0.75])
    return {
        "ratio": middle,
        "quartiles": [low, high],
        "seconds": [np.median(seconds), np.median(of)],
    }


def log_loss(head: Any, X: Array, y: Array, weight: Array) -> float:
    """Weighted mean log loss of a head (``coef``, ``intercept``) in float64, block by block."""
    total = 0.0
    for start in range(0, len(X), 4096):
        rows = slice(start, start + 4096)
        logits = X[rows].astype(np.float64) @ head.coef.T.astype(np.float64) + head.intercept
        if logits.shape[1] == 1:
            logits = np.column_stack([np.zeros(len(logits)), logits])
        at_true = logits[np.arange(len(logits)), y[rows]]
        total += float(weight[rows] @ (logsumexp(logits, axis=1) - at_true))
    return total / float(weight.sum())


def objective(head: Any, X: Array, y: Array, weight: Array, C: float) -> float:
    """scikit-learn's penalised objective, divided by C and the sum of the weights."""
    squares = float((head.coef.astype(np.float64) ** 2).sum())
    return log_loss(head, X, y, weight) + squares / (2 * C * weight.sum())


def balanced(y: Array) -> Array:
    """Weights that give every class the same mass and sum to the number of rows."""
    counts = np.bincount(y)
    return np.asarray(len(y) / (len(counts) * counts[y]))


def predicted(head: Any, X: Array) -> Array:
    """Index of the class that a head gives each row."""
    logits = X @ head.coef.T + head.intercept
    return (logits[:, 0] > 0).astype(int) if logits.shape[1] == 1 else logits.argmax(axis=1)


def solution_of(model: Any) -> FittedHead:
    """The head of a fitted estimator."""
    return FittedHead(model.coef_, model.intercept_, model.classes_, int(np.max(model.n_iter_)))


def named(shape: tuple[int, ...]) -> str:
    """A shape for the first column."""
    return " x ".join(map(str, shape))


# -- heads ----------------------------------------------------------------------------------


def compare_heads(shape: Shape, rounds: int, as_is: bool) -> list[dict[str, Any]]:
    """Fit one shape with both libraries; a row for each way of scikit-learn's."""
    X, y = embeddings(*shape)
    weight = balanced(y)

    def sklearn(tol: float) -> FittedHead:
        return solution_of(LogisticRegression(tol=tol, max_iter=20_000).fit(X, y, weight))

    works: dict[str, Callable[[], FittedHead]] = {
        "ours": lambda: fit_linear_head(X, y, weight, classes=np.arange(shape[2])),
        "1e-4": lambda: sklearn(1e-4),
        "1e-6": lambda: sklearn(1e-6),
    }
    with one_scipy_thread():
        seconds, heads = in_turn(works, rounds)
    pairs = {theirs: (seconds["ours"], seconds[theirs]) for theirs in ("1e-4", "1e-6")}
    if as_is:
        again, _ = in_turn({name: works[name] for name in ("ours", "1e-4")}, rounds)
        pairs["1e-4 as is"] = (again["ours"], again["1e-4"])
        heads["1e-4 as is"] = heads["1e-4"]
    values = {name: objective(head, X, y, weight, C=1.0) for name, head in heads.items()}
    tight = fit_linear_head(X.astype(np.float64), y, weight, classes=np.arange(shape[2]), tol=1e-9)
    optimum = min(objective(tight, X, y, weight, C=1.0), *values.values())
    rows = []
    for theirs, timed in pairs.items():
        best = min(values["ours"], values[theirs])
        rows.append(
            {
                "shape": shape,
                "sklearn": theirs,
                **ratio(*timed),
                "our_gap": values["ours"] / best - 1,
                "their_gap": values[theirs] / best - 1,
                "our_gap_to_optimum": values["ours"] / optimum - 1,
                "iterations": [heads["ours"].n_iter, heads[theirs].n_iter],
            }
        )
    return rows


def heads(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Part one: all shapes."""
    print("\nfit_linear_head / LogisticRegression(lbfgs)")
    print(
        f"{'rows x neurons x classes':<26}{'their tol':<11}{'ratio':>6}{'goal':>6}{'our gap':>10}"
        f"{'their gap':>11}{'to optimum':>12}{'iterations':>13}{'seconds':>17}"
    )
    results = []
    for shape in LARGE + SMALL:
        rounds, goal = (arguments.rounds, 0.5) if shape in LARGE else (5 * arguments.rounds, 1.2)
        if arguments.quick:
            shape = (shape[0] // 10, shape[1] // 4, shape[2])
        for row in compare_heads(shape, rounds, arguments.as_is):
            results.append({"goal": goal, **row})
            iterations = "{} / {}".format(*row["iterations"])
            seconds = "{:.3f} / {:.3f}".format(*row["seconds"])
            print(
                f"{named(shape):<26}{row['sklearn']:<11}{row['ratio']:>6.2f}{goal:>6.1f}"
                f"{row['our_gap']:>10.1e}{row['their_gap']:>11.1e}"
                f"{row['our_gap_to_optimum']:>12.1e}{iterations:>13}{seconds:>17}",
                flush=True,
            )
    return results


# -- published procedures -------------------------------------------------------------------


@dataclass
class Case:
    """A data set: rows to retrain on, their groups, an original head, and validation rows."""

    name: str
    X: Array
    y: Array
    group: Array
    original: LinearHead
    X_test: Array
    y_test: Array
    group_test: Array


def case_of(name: str, original: Any, retrain: Any, test: Any) -> Case:
    """Fit the original head on (X, y) and keep the other two (X, y, spurious attribute)."""
    X, y = original
    head = fit_linear_head(X, y, np.ones(len(y)), classes=np.arange(2))
    parts = [(X, y, 2 * y + a) for X, y, a in (retrain, test)]
    return Case(name, *parts[0], LinearHead(head.coef, head.intercept, np.arange(2)), *parts[1])


def synthetic(n: int, width: int) -> Case:
    """Embeddings in which a tenth of the neurons feels a mark, 90 % correlated with the class."""
    X, y = embeddings(3 * n, width, 2)
    mark = np.where(np.random.default_rng(1).random(len(y)) < 0.9, y, 1 - y)
    X[:, : width // 10] += 0.5 * mark[:, None].astype(np.float32)
    parts = [(X[i::3], y[i::3], mark[i::3]) for i in range(3)]
    parts = [(np.ascontiguousarray(X), y, mark) for X, y, mark in parts]
    return case_of(f"{n} x {width} x 2", parts[0][:2], parts[1], parts[2])


def stored(path: Path) -> Case:
    """A data set from a file."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for name in ("ytr", "yva", "ava", "yte", "ate"):
        arrays[name] = arrays[name].astype(np.int64)
    retrain = arrays["Zva"], arrays["yva"], arrays["ava"]
    test = arrays["Zte"], arrays["yte"], arrays["ate"]
    return case_of(f"{path.stem} {named(retrain[0].shape)}", (arrays["Ztr"], arrays["ytr"]),
                   retrain, test)  # fmt: skip


def afr(case: Case, rounds: int) -> list[dict[str, Any]]:
    """The published steps against the optimum."""
    shared = {"gamma": 1.44, "reg_coeff": 1e-3, "head": case.original}
    works: dict[str, Callable[[], Any]] = {
        "published": lambda: AFRClassifier(
            solver="gd", learning_rate=2e-2, n_steps=1000, **shared
        ).fit(case.X, case.y),
        "ours": lambda: AFRClassifier(**shared).fit(case.X, case.y),
    }
    seconds, models = in_turn(works, rounds)
    origin = case.original.with_logits(1)

    def value(model: Any) -> float:
        head = solution_of(model)
        moved = ((head.coef - origin.coef).astype(np.float64) ** 2).sum()
        moved += ((head.intercept - origin.intercept).astype(np.float64) ** 2).sum()
        # Two rows of weights move by opposite amounts: half of the one logit's penalty.
        return log_loss(head, case.X, case.y, models["ours"].weights_) + 1e-3 / 2 * float(moved)

    return [procedure("AFR, 1000 steps", "objective", seconds, models, value)]


def minibatch_sgd(X: Array, y: Array, decay: float) -> FittedHead:
    """The paper's retraining loop in NumPy: float32, one row of weights per class."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(y == k) for k in range(2)]
    bound = 1 / np.sqrt(X.shape[1])
    W = rng.uniform(-bound, bound, (2, X.shape[1])).astype(X.dtype)
    b = np.zeros(2, dtype=X.dtype)
    velocity_W, velocity_b = np.zeros_like(W), np.zeros_like(b)
    one_hot = np.repeat(np.eye(2, dtype=X.dtype), 16, axis=0)
    for _ in range(50 * 200):
        batch = X[np.concatenate([rows[rng.integers(len(rows), size=16)] for rows in members])]
        residual = (softmax(batch @ W.T + b, axis=1) - one_hot) / 32
        velocity_W = 0.9 * velocity_W + residual.T @ batch + decay * W
        velocity_b = 0.9 * velocity_b + residual.sum(axis=0)
        W -= 1e-3 * velocity_W
        b -= 1e-3 * velocity_b
    return FittedHead(np.diff(W, axis=0), np.diff(b), np.arange(2), 50 * 200)


def torch_sgd(X: Array, y: Array, decay: float) -> FittedHead:
    """The same loop in PyTorch, as published code has it."""
    import torch

    rows, labels = torch.from_numpy(X), torch.from_numpy(y.astype(np.int64))
    layer = torch.nn.Linear(X.shape[1], 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3, momentum=0.9, weight_decay=decay)
    members = [torch.from_numpy(np.flatnonzero(y == k)) for k in range(2)]
    for _ in range(50 * 200):
        batch = torch.cat([m[torch.randint(len(m), (16,))] for m in members])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(rows[batch]), labels[batch]).backward()
        optimizer.step()
    W, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return FittedHead(np.diff(W, axis=0), np.diff(b), np.arange(2), 50 * 200)


def sgd(case: Case, rounds: int) -> list[dict[str, Any]]:
    """The paper's minibatches against the optimum of what they descend."""
    decay, weight = 1e-4, balanced(case.y)
    C = 2 / (decay * weight.sum())  # a decay of two rows that are opposite, in the one logit
    loops = {"NumPy": minibatch_sgd}
    if find_spec("torch"):
        loops["PyTorch"] = torch_sgd
    rows = []
    for name, loop in loops.items():
        works = {
            "published": partial(loop, case.X, case.y, decay),
            "ours": lambda: fit_linear_head(case.X, case.y, weight, classes=np.arange(2), C=C),
        }
        seconds, found = in_turn(works, rounds)
        rows.append(
            procedure(f"SGD, 50 x 200 x 32 ({name})", "objective", seconds, found,
                      lambda head: objective(head, case.X, case.y, weight, C))
        )  # fmt: skip
    return rows


def published_dfr(case: Case) -> FittedHead:
    """Seven L1 fits on a half to choose C by the other half, twenty to average."""
    rng = np.random.default_rng(0)

    def draw(rows: Array) -> Array:
        """As many rows of every group as the smallest has."""
        size = np.bincount(case.group[rows]).min()
        return np.concatenate(
            [rng.permutation(rows[case.group[rows] == g])[:size] for g in range(4)]
        )

    def fit(rows: Array, scaler: StandardScaler, C: float) -> Any:
        model = LogisticRegression(C=C, l1_ratio=1.0, solver="liblinear", random_state=0)
        return model.fit(scaler.transform(case.X[rows]), case.y[rows])

    fitting, judging = np.array_split(rng.permutation(len(case.X)), 2)
    drawn = draw(fitting)
    scaler = StandardScaler().fit(case.X[drawn])
    judged = scaler.transform(case.X[judging])
    accuracy = {}
    for C in DFR_CS:
        right = fit(drawn, scaler, C).predict(judged) == case.y[judging]
        accuracy[C] = worst_group(right, case.group[judging])
    C = max(accuracy, key=lambda C: accuracy[C])
    scaler = StandardScaler().fit(case.X)
    models = [fit(draw(np.arange(len(case.X))), scaler, C) for _ in range(20)]
    coef = np.mean([model.coef_ for model in models], axis=0) / scaler.scale_
    intercept = np.mean([model.intercept_ for model in models], axis=0) - coef @ scaler.mean_
    return FittedHead(coef, intercept, np.arange(2), 27)


def worst_group(right: Array, group: Array) -> float:
    """Smallest accuracy of a group."""
    return float((np.bincount(group, weights=right) / np.bincount(group)).min())


def dfr(case: Case, rounds: int) -> list[dict[str, Any]]:
    """The published loop against both variants of the estimator."""

    def estimator(variant: str) -> FittedHead:
        model = DFRClassifier(variant=variant, C=1.0, random_state=0)
        return solution_of(model.fit(case.X, case.y, groups=case.group))

    works: dict[str, Callable[[], Any]] = {
        "published": lambda: published_dfr(case),
        "subsample": lambda: estimator("subsample"),
        "weighted": lambda: estimator("weighted"),
    }
    seconds, found = in_turn(works, rounds)
    weight = balanced(case.group)
    results = []
    for ours, penalty in (("subsample", "L1, default"), ("weighted", "L2, weighted")):
        pair = {"published": found["published"], "ours": found[ours]}
        timed = {"published": seconds["published"], "ours": seconds[ours]}
        row = procedure(f"DFR, 7 + 20 L1 / {penalty}", "group log loss", timed, pair,
                        lambda head: log_loss(head, case.X, case.y, weight))  # fmt: skip
        row["worst_group_accuracy"] = [
            worst_group(predicted(head, case.X_test) == case.y_test, case.group_test)
            for head in pair.values()
        ]
        results.append(row)
    return results


def procedure(
    name: str,
    measure: str,
    seconds: dict[str, Array],
    found: dict[str, Any],
    value: Callable[[Any], float],
) -> dict[str, Any]:
    """A row of the table: how many times as long the published procedure takes, and values."""
    return {
        "procedure": name,
        **ratio(seconds["published"], seconds["ours"]),
        "measure": measure,
        "values": [value(found["published"]), value(found["ours"])],
    }


def procedures(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Part two: all procedures on all data sets."""
    cases = [synthetic(2000, 96) if arguments.quick else synthetic(20_000, 768)]
    if arguments.data:
        cases.append(stored(arguments.data))
    results = []
    for case in cases:
        print(f"\nPublished procedure / ours on {case.name}  (goal: ratio at least 10)")
        print(f"{'procedure':<32}{'ratio':>7}{'seconds':>18}   published, ours")
        for compare in (afr, sgd, dfr):
            for row in compare(case, arguments.rounds):
                results.append({"data": case.name, **row})
                theirs, ours = row["seconds"]
                note = "{}: {:.6f}, {:.6f}".format(row["measure"], *row["values"])
                if "worst_group_accuracy" in row:
                    note += "; worst group: {:.3f}, {:.3f}".format(*row["worst_group_accuracy"])
                print(
                    f"{row['procedure']:<32}{row['ratio']:>7.1f}"
                    f"{f'{theirs:.2f} / {ours:.3f}':>18}   {note}",
                    flush=True,
                )
    print("DFR: L1 and L2 minimise different things; only time, loss and accuracy compare.")
    return results


# -- identification and import --------------------------------------------------------------


def identification(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Part three: scores, mask and SFit as shares of a fit."""
    print("\nScores, mask and SFit / a fit  (goal: at most 0.15)")
    print(f"{'rows x neurons':<20}{'errors':>8}{'of a head':>14}{'of NeuronTuneClassifier':>26}")
    results = []
    for n, width in [(20_000, 768), (50_000, 2048)]:
        if arguments.quick:
            n, width = n // 10, width // 4
        found = identification_shares(n, width, arguments.rounds)
        results.append(found)
        print(
            f"{named((n, width)):<20}{found['errors']:>8}{found['of_a_head']['ratio']:>14.3f}"
            f"{found['of_an_estimator']['ratio']:>26.3f}",
            flush=True,
        )
    return results


def identification_shares(n: int, width: int, rounds: int) -> dict[str, Any]:
    """Identify on all rows with the outcomes of a head, and fit a head on all rows."""
    X, y = embeddings(n, width, 2)
    weight, classes = balanced(y), np.arange(2)

    def fit() -> FittedHead:
        return fit_linear_head(X, y, weight, classes=np.arange(2))

    head = fit()
    wrong = predicted(head, X) != y

    def identify(rows: slice) -> float:
        """Scores and mask, and SFit from scores of a head's new errors."""
        scores = spuriousness_scores(X[rows], y[rows], wrong[rows], classes)
        suppressed_neurons(scores, non_constant=non_constant_neurons(X[rows]))
        return sfit(
            spuriousness_scores(X[rows], y[rows], predicted(head, X[rows]) != y[rows], classes)
        )

    everything, half = slice(None), slice(0, n // 2)
    whole = NeuronTuneClassifier.as_described(solver="optimum", C=1.0)
    seconds, _ = in_turn(
        {
            "all rows": lambda: identify(everything),
            "half": lambda: identify(half),
            "head": fit,
            "estimator": lambda: whole.fit(X, y, X_val=X[half], y_val=y[half]),
        },
        rounds,
    )
    return {
        "shape": (n, width, 2),
        "errors": int(wrong.sum()),
        "of_a_head": ratio(seconds["all rows"], seconds["head"]),
        "of_an_estimator": ratio(seconds["half"], seconds["estimator"]),
    }


def import_seconds(statement: str) -> float:
    """Seconds of an import in a process of its own."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def imports(arguments: argparse.Namespace) -> dict[str, Any]:
    """Part three, second half: the imports in turn."""
    theirs = "import sklearn.linear_model"
    ours = ("import ntkit", "from ntkit import NeuronTuneClassifier")
    works = {code: lambda code=code: import_seconds(code) for code in (theirs, *ours)}
    in_turn(works, 1)  # files into the page cache, byte code written
    rounds = [in_turn(works, 1)[1] for _ in range(3 * arguments.rounds)]
    taken = {code: np.array([seconds[code] for seconds in rounds]) for code in works}
    found = {code: ratio(taken[code], taken[theirs]) for code in ours}
    print(f"\nratio to `{theirs}`  (goal: at most 1.3)")
    for code, row in found.items():
        print(f"{code:<42}{row['ratio']:>6.2f}{'{:.2f} / {:.2f} s'.format(*row['seconds']):>18}")
    return found


def machine(threads: int | None) -> dict[str, Any]:
    """Print and return what the results depend on besides the code."""
    found = {"cores": len(os.sched_getaffinity(0)), "threads": threads, "load": os.getloadavg()[0]}
    print("{cores} cores, BLAS threads {threads}, load {load:.1f} before the start".format(**found))
    return found


PARTS = {
    "heads": heads,
    "procedures": procedures,
    "identification": identification,
    "import": imports,
}


def main() -> None:
    """Run the parts asked for."""
    parser = command_line(__doc__, "--json")
    parser.add_argument("--quick", action="store_true", help="small shapes, two rounds")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="small shapes take five times these")
    parser.add_argument("--as-is", action="store_true", help="also SciPy's BLAS with all threads")
    parser.add_argument("--threads", type=int, help="threads of BLAS, for both sides")
    parser.add_argument("--data", type=Path, help="also run the procedures on this .npz")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = min(arguments.rounds, 2)
    warnings.simplefilter("ignore")  # fits that stop early show in their gap
    results: dict[str, Any] = {"machine": machine(arguments.threads)}
    with threadpool_limits(arguments.threads):
        results |= {name: PARTS[name](arguments) for name in arguments.only}
    save(results, arguments.json)


if __name__ == "__main__":
    main()
