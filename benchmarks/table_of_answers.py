"""What wrong answers in a table cost a group-balanced repair, and whether twelve checks notice.

    python benchmarks/table_of_answers.py DATA_DIR

A table holds the spurious attribute of all training and validation samples. Some answers are
turned: any, or only those of one value, as a program makes them that overlooks an object, or only
those that are rare in their class, as a program makes them that answers by the class. The head is
retrained with weights that balance the groups class × answer of the table. A simulated person
checks the table as ``ntkit label --check`` asks, a hundred times for each seed.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import binom

from ntkit.estimators import AutoDebiasClassifier, DFRClassifier
from ntkit.jobs.label._check import CHECKS, next_checks, share_wrong, verdict_on
from ntkit.metrics import accuracy_by, compare
from runner import command_line, publish, table
from splits import Rows, joined, splits_of

NAMES = ("Adult", "Adult, 95 %", "Rotten Tomatoes", "TuxScenes")
N_TUXSCENES = 2  # networks; further seeds turn other answers
TURNED = [("any", share) for share in (0.0, 0.02, 0.05, 0.1, 0.2)]
TURNED += [("of one value", share) for share in (0.02, 0.05, 0.1, 0.2)]
TURNED += [("by the class", share) for share in (0.02, 0.04)]
N_PEOPLE = 100
MISTAKES = 0.05


def run(folder: Path, name: str, seed: int) -> list[dict[str, Any]]:
    """Results of all tables of one seed; the last one is without a table."""
    warnings.simplefilter("ignore")  # of heads whose penalty is weak
    splits = splits_of(name, folder, seed % N_TUXSCENES if name == "TuxScenes" else seed)
    rows = joined(splits.train, splits.validation["i.i.d."])
    true, found = rows.groups % 2, []
    for kind, share in TURNED:
        rng = np.random.default_rng(seed)
        usual = [np.bincount(true[rows.y == label]).argmax() for label in (0, 1)]
        pools = {"any": true >= 0, "of one value": true == 1}
        pool = np.flatnonzero(pools.get(kind, true != np.take(usual, rows.y)))
        wrong = np.zeros(len(true), dtype=bool)
        wrong[rng.choice(pool, min(round(share * len(true)), len(pool)), replace=False)] = True
        groups = 2 * rows.y + np.where(wrong, 1 - true, true)
        clf = DFRClassifier(variant="weighted", C=None, random_state=seed)
        clf.fit(rows.X, rows.y, groups=groups)
        checks = [check(groups, wrong, person) for person in range(N_PEOPLE)]
        by_group = np.array([wrong[groups == g].mean() for g in np.unique(groups)])
        found.append(
            {
                "kind": kind,
                "share": share,
                "alike": by_group.mean(),
                "worst": worst_group(clf, splits.test),
                "random": 1 - (1 - wrong.mean()) ** CHECKS,
                "exact": 1 - np.prod((1 - by_group) ** (CHECKS / len(by_group))),
                **{key: np.mean([one[key] for one in checks]) for key in checks[0]},
            }
        )
    clf = AutoDebiasClassifier(recipe="class-balanced", random_state=seed).fit(rows.X, rows.y)
    return [*found, {"kind": "no table", "share": None, "worst": worst_group(clf, splits.test)}]


def worst_group(clf: Any, test: Rows) -> float:
    """Worst-group accuracy on the test set, in percent."""
    return 100 * min(accuracy_by(test.y, clf.predict(test.X), test.groups).values())


def check(groups: Any, wrong: Any, seed: int) -> dict[str, bool]:
    """What one person notices: with twelve checks, and with as many more where ntkit asks."""
    checked, contents = np.zeros(len(groups), dtype=bool), range(len(groups))
    result = dict[str, bool]()
    truth = {
        "alike": np.mean([wrong[groups == g].mean() for g in np.unique(groups)]),
        "table": wrong.mean(),
    }
    while True:
        checked[next_checks(groups, checked, checked, contents, CHECKS, seed)] = True
        members = [groups == g for g in np.unique(groups)]
        parts = compare([~wrong], [("group", "", checked & inside) for inside in members])
        share, bounds = share_wrong(parts, [1] * len(members))
        verdict = verdict_on(int(checked.sum()), share, can_ask=True)
        if not result:
            low, high = share_wrong(parts, [int(inside.sum()) for inside in members])[1]
            result["in_interval"] = bool(bounds[0] <= truth["alike"] <= bounds[1])
            result["table_in_interval"] = bool(low <= truth["table"] <= high)
            result["first"] = bool(share > 0)
            result["refused_first"] = verdict == "do not use"
        if verdict != "check more":
            return result | {"refused": verdict == "do not use", "checks": int(checked.sum())}


def main() -> None:
    """Run everything and print two tables."""
    parser = command_line(__doc__, "data_dir", "--n-jobs", "--markdown")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    jobs = [(name, seed) for name in NAMES for seed in range(arguments.seeds)]
    done = Parallel(n_jobs=arguments.n_jobs)(delayed(run)(arguments.data_dir, *job) for job in jobs)
    # By data set, then seed, then table.
    runs = [done[i : i + arguments.seeds] for i in range(0, len(done), arguments.seeds)]
    lines, of_all, below = [], [], []
    for name, of_name in zip(NAMES, runs, strict=True):
        right = np.array([one[0]["worst"] for one in of_name])
        without = np.array([one[-1]["worst"] for one in of_name])
        for i, (kind, share) in enumerate(TURNED):
            some = [one[i] for one in of_name]
            worst = np.array([one["worst"] for one in some])
            lost = (right - worst).mean()
            below += [f"{gain:.1f} at {cell(share)}" for gain in worst - without if gain < 0]
            mean = {key: np.mean([one[key] for one in some]) for key in some[0] if key != "kind"}
            mean |= {"lost": lost, "of_gain": lost / (right - without).mean()}
            of_all.append((kind, share, mean))
            lines.append([f"{name}, {cell(share)} {kind}", f"{worst.mean():.1f}", *figures(mean)])
        lines.append([f"{name}, no table", f"{without.mean():.1f}", *["–"] * 9])
    full = table(["data, wrong answers", "worst group", *HEADER], lines)
    short = []
    for kind, share in TURNED:
        some = [mean for k, s, mean in of_all if (k, s) == (kind, share)]
        mean = {key: np.mean([one[key] for one in some]) for key in some[0]}
        short.append([f"{cell(share)} {kind}", *figures(mean)])
    one, two = binom.sf(1, CHECKS, MISTAKES), binom.pmf(1, CHECKS, MISTAKES)
    refused = one + two * binom.sf(1, CHECKS, MISTAKES)  # two of 12, or three of 24
    text = (
        f"## Mean of {len(NAMES)} data sets\n\n{table(['wrong answers', *HEADER], short)}\n\n"
        f"A person who is wrong on {cell(MISTAKES)} of the samples refuses a right table with a "
        f"probability of {cell(refused)}. The table was worse than none in {len(below)} of "
        f"{len(jobs) * (len(TURNED) - 1)} runs, in points: {', '.join(below)}.\n\n"
        f"## By data set\n\n{full}\n"
    )
    publish(text, arguments.markdown)


HEADER = [
    "of the groups, counted alike, %",
    "points lost",
    "of the gain, %",
    "noticed by 12 random checks, %",
    "by ntkit's 12, exact",
    "by ntkit's 12",
    "refused, %",
    "checks",
    "intervals right, %: groups / table",
]


def cell(share: float) -> str:
    """A share in whole percent."""
    return f"{100 * share:.0f} %"


def figures(mean: dict[str, Any]) -> list[str]:
    """Cells of a row, after its name."""
    shares = ("random", "exact", "first", "refused")
    return [
        f"{100 * mean['alike']:.0f}",
        f"{mean['lost']:.1f}",
        f"{100 * mean['of_gain']:.0f}",
        *(f"{100 * mean[key]:.0f}" for key in shares),
        f"{mean['checks']:.1f}",
        f"{100 * mean['in_interval']:.0f} / {100 * mean['table_in_interval']:.0f}",
    ]


if __name__ == "__main__":
    main()
