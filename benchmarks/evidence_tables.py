"""What the label-free rules make of the results of evidence.py, and all of it as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ntkit.jobs.debias import MAX_COST
from ntkit.jobs.debias._candidates import CANDIDATES, DEFAULT_SCORE
from ntkit.scorers import LABEL_FREE_SCORES
from runner import mean_std, table

Array = NDArray[Any]
ORACLE = "worst-group accuracy †"
ORIGINAL = "original ERM head"
WRITTEN = "--method auto"
OWN = tuple(CANDIDATES)
"""What ``ntkit.debias(method=…)`` chooses from when no other method is named."""


# -- what the rules make of it ----------------------------------------------------------------

RULES = (*LABEL_FREE_SCORES, ORACLE)
FIXED = {"always auto": "auto", "always class-balanced-both": "class-balanced-both"}


def judged(result: dict[str, Any], among: Sequence[str] | None = None) -> dict[str, Any]:
    """Pick, regret and rank correlation of every rule in one run, in points of accuracy."""
    pool = {
        name: row
        for name, row in result["rows"].items()
        if row.get("sound") and (among is None or name in among)
    }
    names, test = list(pool), np.array([100 * row["worst_group"] for row in pool.values()])
    picks, correlation = {}, {}
    for rule in RULES:
        score = np.array([row["scores"][rule] for row in pool.values()])
        picks[rule] = names[int(score.argmax())]  # the first of equals, as in ntkit.debias
        constant = np.ptp(score) == 0 or np.ptp(test) == 0
        correlation[rule] = float("nan") if constant else float(spearmanr(score, test)[0])
    picks |= FIXED
    at = dict(zip(names, test, strict=True))
    best = float(test.max())
    plain = max(at[n] for n in names if not pool[n]["n_suppressed"])
    return {
        "best": best,
        "best_name": names[int(test.argmax())],
        "best_without_masks": plain,
        "picks": picks,
        "correlation": correlation,
        "regret": {rule: best - at[pick] for rule, pick in picks.items()},
        "to_oracle": {rule: at[picks[ORACLE]] - at[pick] for rule, pick in picks.items()},
    }


# -- tables -----------------------------------------------------------------------------------


class Tables:
    """The results by data set and setting as Markdown tables."""

    def __init__(self, results: Sequence[dict[str, Any]]) -> None:
        self.cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for result in results:
            key = (result["data"], result["setting"])
            verdicts = {"judged": judged(result), "judged_own": judged(result, OWN)}
            self.cells.setdefault(key, []).append(result | verdicts)
        self.columns = [f"{data}, {setting}" for data, setting in self.cells]

    def __str__(self) -> str:
        ridge_header = "ridge weight on the mean loss"
        parts = [
            ("Results to reach", self.figures()),
            ("Worst-group accuracy on the test set, %", self.accuracies("worst_group")),
            ("Mean over the groups, %", self.accuracies("average")),
            ("Mean over the groups by their training shares, %", self.accuracies("adjusted")),
            ("Regret of each rule: best candidate on the test set − pick, points", self.regrets()),
            ("Rank correlation of score and test worst-group accuracy", self.correlations()),
            ("Over the data sets and settings", self.summary("judged")),
            (
                "The same, picking among the candidates of `ntkit.debias` only",
                self.summary("judged_own"),
            ),
            (f"What each rule picked, of {self.n_runs()} runs", self.picks()),
            ("What suppression adds, points", self.suppression()),
            ("The same by penalty: worst group, %", self.by_ridge(ridge_header)),
            (
                "Readings of the rule: worst group, %",
                self.sweep("reading", "aggregation, statistic"),
            ),
            (
                "Readings of the rule: neurons suppressed for every class",
                self.sweep("reading", "aggregation, statistic", "n_suppressed"),
            ),
            ("Neurons suppressed", self.suppressed()),
            ("`auto` and class-balanced retraining against the references, points", self.auto()),
            ("What `auto` did", self.recipes()),
            (
                "Accuracy cost: average accuracy lost on the training distribution, points",
                self.accuracy_cost(),
            ),
        ]
        return "\n\n".join(f"## {title}\n\n{table}" for title, table in parts)

    def judged_results(self) -> list[dict[str, Any]]:
        """All results with the verdicts on the rules."""
        return [run for runs in self.cells.values() for run in runs]

    def figures(self) -> str:
        """What was set beforehand, and what this run found."""
        return table(["figure", "goal", *self.columns, "mean", "worst"], list(self._figures()))

    def _figures(self) -> Iterator[list[str]]:
        iid = [setting == "i.i.d." for _, setting in self.cells]
        dfr = np.where(iid, "DFR-both †", "DFR-validation †")
        plain = np.where(iid, "class-balanced-both", "class-balanced-validation")
        neurontune, auto = self._means("neurontune"), self._means("auto")

        def line(
            name: str, goal: str, values: Array, over: Array, largest: bool = True
        ) -> list[str]:
            kept = np.where(over, values, np.nan)
            worst = np.nanmax(kept) if largest else np.nanmin(kept)
            cells = ["" if np.isnan(v) else f"{v:.1f}" for v in kept]
            return [name, goal, *cells, f"{np.nanmean(kept):.1f}", f"{worst:.1f}"]

        everywhere = np.ones(len(iid), dtype=bool)
        erm, mask = self._means(ORIGINAL), self._means("random mask")
        balanced = self._means("class-balanced")
        yield line("neurontune − original ERM head", "", neurontune - erm, everywhere,
                   largest=False)  # fmt: skip
        yield line("neurontune − random mask", "", neurontune - mask, everywhere,
                   largest=False)  # fmt: skip
        strong = {what: self._swept_means("ridge", "1", what) for what in
                  ("neurontune", "class-balanced", "random mask")}  # fmt: skip
        yield line("neurontune − class-balanced, ridge weight 1", "≥ 20 (TuxScenes)",
                   strong["neurontune"] - strong["class-balanced"], everywhere,
                   largest=False)  # fmt: skip
        yield line("neurontune − random mask, ridge weight 1", "≥ 25 (TuxScenes)",
                   strong["neurontune"] - strong["random mask"], everywhere,
                   largest=False)  # fmt: skip
        yield line("neurontune − class-balanced on the same rows", "≥ −2 where degenerate",
                   neurontune - balanced, everywhere, largest=False)  # fmt: skip
        gap = np.array([self._means(d)[i] - auto[i] for i, d in enumerate(dfr)])
        plain_gap = np.array(
            [
                self._means(d)[i] - self._means(p)[i]
                for i, (d, p) in enumerate(zip(dfr, plain, strict=True))
            ]
        )
        yield line("DFR on the same H − auto", "≤ 2 each", gap, ~np.array(iid))
        yield line("DFR on T+H − auto", "mean ≤ 8, worst ≤ 20", gap, np.array(iid))
        yield line("the same gap of class-balanced retraining", "auto: at most half", plain_gap,
                   np.array(iid))  # fmt: skip
        yield line(
            "class-balanced on the same data − auto", "≤ 2 each", gap - plain_gap, everywhere
        )
        tuned = np.array([self._means(f"{p}-tuned-C")[i] for i, p in enumerate(plain)])
        yield line("the same with its C tuned − auto", "≤ 2 each", tuned - auto, everywhere)
        regret = np.array(self._values("regret", DEFAULT_SCORE)).mean(axis=1)
        yield line(f"regret of {DEFAULT_SCORE}", "mean ≤ 10, worst ≤ 18", regret, everywhere)

    def _means(self, name: str) -> Array:
        return np.array([100 * self._mean(c, name, "worst_group") for c in self.cells.values()])

    def by_ridge(self, header: str) -> str:
        """Suppressed, random mask and no mask at several penalties."""
        ridges = next(iter(self.cells.values()))[0]["sweeps"]["ridge"]
        lines = [
            [f"{ridge}: {what}", *self._swept("ridge", ridge, what)]
            for ridge in ridges
            for what in ("class-balanced", "neurontune", "random mask")
        ]
        return table([header, *self.columns], lines)

    def sweep(self, kind: str, header: str, what: str = "worst_group") -> str:
        """One thing about the published method changed at a time."""
        names = next(iter(self.cells.values()))[0]["sweeps"][kind]
        lines = [[name, *self._swept(kind, name, what)] for name in names]
        return table([header, *self.columns], lines)

    def _swept_means(self, kind: str, name: str, what: str) -> Array:
        return np.array(
            [
                100 * np.mean([run["sweeps"][kind][name][what] for run in runs])
                for runs in self.cells.values()
            ]
        )

    def _swept(self, kind: str, name: str, what: str) -> list[str]:
        counted = what.startswith("n_")
        return [
            f"{np.mean(values):.0f}" if counted else mean_std([100 * v for v in values])
            for values in (
                [run["sweeps"][kind][name][what] for run in runs] for runs in self.cells.values()
            )
        ]

    def recipes(self) -> str:
        """Which recipe, how often, and with which penalties."""
        names = sorted({run["rows"]["auto"]["recipe"] for run in self.judged_results()})
        lines = [
            [name, *(self._alphas(runs, name) for runs in self.cells.values())] for name in names
        ]
        return table(["recipe: runs (ridge weights)", *self.columns], lines)

    def _alphas(self, runs: Sequence[dict[str, Any]], recipe: str) -> str:
        rows = [run["rows"]["auto"] for run in runs]
        alphas = sorted(row["alpha"] for row in rows if row["recipe"] == recipe)
        return f"{len(alphas)} ({', '.join(f'{a:g}' for a in alphas)})" if alphas else ""

    def n_runs(self) -> int:
        """Data sets × settings × seeds."""
        return sum(len(runs) for runs in self.cells.values())

    def accuracies(self, figure: str) -> str:
        """All estimators."""
        names = list(next(iter(self.cells.values()))[0]["rows"])
        lines = []
        for name in names:
            values = [
                [100 * run["rows"][name].get(figure, np.nan) for run in runs]
                for runs in self.cells.values()
            ]
            lines.append([name, *map(mean_std, values)])
        if figure != "worst_group":
            return table(["estimator", *self.columns], lines)
        best = [[run["judged"]["best"] for run in runs] for runs in self.cells.values()]
        return table(
            ["estimator", *self.columns], [*lines, ["*best candidate*", *map(mean_std, best)]]
        )

    def regrets(self) -> str:
        """Regret of all rules by data set and setting."""
        return self._by_rule("regret", (*RULES, *FIXED), mean_std)

    def correlations(self) -> str:
        """Spearman's ρ of all rules by data set and setting."""
        return self._by_rule("correlation", RULES, lambda v: mean_std(v, digits=2))

    def summary(self, verdict: str) -> str:
        """Mean and worst results of all rules; "judged_own": among the OWN candidates."""
        lines = []
        for rule in (*RULES, *FIXED):
            regret, rho, to_oracle = (
                np.array(self._values(what, rule, verdict))
                for what in ("regret", "correlation", "to_oracle")
            )
            figures = [
                f"{regret.mean():.1f}",
                f"{regret.mean(axis=1).max():.1f}",
                f"{regret.max():.1f}",
                f"{to_oracle.mean():.1f}",
                f"{np.nanmean(rho):.2f}" if rule in RULES else "",
                f"{np.nanmean(rho, axis=1).min():.2f}" if rule in RULES else "",
            ]
            lines.append([rule, *figures])
        header = [
            *("rule", "mean regret", "worst mean regret of a column", "worst run"),
            *("mean regret against †", "mean ρ", "worst mean ρ of a column"),
        ]
        return table(header, lines)

    def picks(self) -> str:
        """How often each rule picked each estimator."""
        runs = [run["judged"] for cell in self.cells.values() for run in cell]
        counts = {rule: Counter(run["picks"][rule] for run in runs) for rule in RULES}
        counts["best on the test set"] = Counter(run["best_name"] for run in runs)
        order = list(next(iter(self.cells.values()))[0]["rows"])
        names = [n for n in order if any(c[n] for c in counts.values())]
        lines = [[n, *(str(c[n] or "") for c in counts.values())] for n in names]
        return table(["estimator", *counts], lines)

    def suppression(self) -> str:
        """Masked candidates against the same without a mask, and against random masks."""
        pairs = [
            ("neurontune", "random mask"),
            ("neurontune", "class-balanced"),
            ("neurontune-half", "class-balanced"),
        ]
        best = [
            [r["judged"]["best"] - r["judged"]["best_without_masks"] for r in c]
            for c in self.cells.values()
        ]
        return self._differences(
            pairs, ["best candidate − best without a mask", *map(mean_std, best)]
        )

    def suppressed(self) -> str:
        """Mean number of suppressed neurons of the candidates that have a mask."""
        rows = next(iter(self.cells.values()))[0]["rows"]
        lines = [
            [name, *(f"{self._mean(c, name, 'n_suppressed'):.0f}" for c in self.cells.values())]
            for name in rows
            if rows[name].get("scores") and rows[name]["n_suppressed"]
        ]
        live = [f"{self._mean(c, 'neurontune', 'n_non_constant'):.0f}" for c in self.cells.values()]
        return table(["estimator", *self.columns], [*lines, ["*non-constant neurons*", *live]])

    def auto(self) -> str:
        """The recipe and its control against retraining with group labels."""
        return self._differences(
            [
                ("auto", "DFR-validation †"),
                ("auto", "DFR-both †"),
                ("auto", "class-balanced-validation"),
                ("auto", "class-balanced-both"),
                ("class-balanced-both", "DFR-both †"),
            ]
        )

    def accuracy_cost(self) -> str:
        """Average accuracy lost to the original head, groups by their training shares."""
        lines = []
        for name in (
            WRITTEN,
            "auto",
            "class-balanced-both-tuned-C",
            "DFR-validation †",
            "DFR-both †",
        ):
            costs = [
                [100 * (r["rows"][ORIGINAL]["adjusted"] - r["rows"][name]["adjusted"]) for r in c]
                for c in self.cells.values()
            ]
            lines += [[name, *map(mean_std, costs)]]
            lines += [["the largest", *(f"{max(values):.1f}" for values in costs)]]
            if name == WRITTEN:
                within = [sum(cost <= 100 * MAX_COST for cost in values) for values in costs]
                lines += [[f"draws within {100 * MAX_COST:g} %", *map(str, within)]]
        helped = [sum(r["rows"][WRITTEN]["helped"] for r in c) for c in self.cells.values()]
        return table(["head", *self.columns], [*lines, ["*heads written*", *map(str, helped)]])

    def _mean(self, runs: Sequence[dict[str, Any]], name: str, key: str) -> float:
        return float(np.mean([run["rows"][name][key] for run in runs]))

    def _differences(self, pairs: Sequence[tuple[str, str]], *more: list[str]) -> str:
        lines = []
        for one, other in pairs:
            gains = [
                [100 * (r["rows"][one]["worst_group"] - r["rows"][other]["worst_group"]) for r in c]
                for c in self.cells.values()
            ]
            lines.append([f"{one} − {other}", *map(mean_std, gains)])
        return table(["difference", *self.columns], [*lines, *more])

    def _values(self, what: str, rule: str, verdict: str = "judged") -> list[list[float]]:
        return [[run[verdict][what].get(rule, np.nan) for run in c] for c in self.cells.values()]

    def _by_rule(self, what: str, rules: Sequence[str], show: Callable[[Any], str]) -> str:
        return table(
            ["rule", *self.columns], [[r, *map(show, self._values(what, r))] for r in rules]
        )
