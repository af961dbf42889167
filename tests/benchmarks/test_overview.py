"""The overview: nothing is chosen on test, and its tables count what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuned_alike
from ntkit.study import Rows
from overview_tables import ORIGINAL, REFERENCE, by_rule, goals, runs_of, summary

# -- tables -------------------------------------------------------------------------------------


def fit_of(data, seed, method, worst):
    """A fit whose worst group is so good, and whose other groups are always right."""
    return {
        **{"part": "all", "data": data, "seed": seed, "method": method, "draw": 0},
        **{"hits": [worst, 100, 100, 100], "counts": [100] * 4, "shares": [1] * 4},
    }


def run_of(data, seed, **worst):
    figures = {name.replace("_", " "): value for name, value in worst.items()}
    figures |= {ORIGINAL: 40.0, REFERENCE: 80.0}
    return [fit_of(data, seed, name, value) for name, value in figures.items()]


def test_the_reference_is_no_point_below_itself_and_erm_costs_nothing():
    runs = runs_of([fit for seed in range(3) for fit in run_of("Adult", seed)])
    lines = dict(line.strip("| ").split(" | ")[1:3] for line in summary(runs).splitlines()[2:])
    assert lines["DFR, weighted, all rows †"] == "0.0"
    assert lines["ERM"] == "40.0"


@given(st.lists(st.floats(0, 100), min_size=2, max_size=5))
def test_a_goal_is_reached_where_its_figure_says_so(worst):
    fits = [fit for seed in range(len(worst)) for fit in run_of("Adult", seed)]
    fits += [fit_of("Adult", seed, "48 | debias", value) for seed, value in enumerate(worst)]
    (line,) = (x for x in goals(runs_of(fits)).splitlines() if x.startswith("| 48 labels"))
    gap = np.mean([80 - value for value in worst])
    assert line.count("reached") == int(gap <= 4) + int(gap <= 10)
    assert line.count("**missed**") == int(gap > 4) + int(gap > 10)
    assert f"worst seed {80 - min(worst):.1f}" in line


# -- choosing -----------------------------------------------------------------------------------


def validation(n=60, seed=0):
    rng = np.random.default_rng(seed)
    y, a = np.arange(n) % 2, rng.integers(0, 2, n)
    return Rows.of(rng.normal(size=(n, 3)), y, 2 * y + a)


def test_what_chooses_is_not_what_was_given():
    part = validation()
    rows = tuned_alike.rows_of(part)
    task, half = tuned_alike.halved(part, rows, part, seed=3)
    given_rows, chooses = ({tuple(z) for z in x.X.tolist()} for x in (task.validation, half))
    assert not given_rows & chooses
    assert len(given_rows | chooses) == len(part.y)
    assert np.bincount(task.validation.y).tolist() == np.bincount(half.y).tolist()


@pytest.mark.parametrize("rule", tuned_alike.RULES)
def test_test_figures_choose_nothing(rule):
    rng = np.random.default_rng(0)
    tried = [
        {
            "given": i,
            "scores": {r: rng.random(2).tolist() for r in tuned_alike.RULES},
            "test": {"worst": float(i)},
        }
        for i in range(24)
    ]
    best = max(range(24), key=lambda i: tried[i]["scores"][rule])
    assert tuned_alike.chosen({"tried": tried}, rule)["given"] == best
    for each in tried:
        each["test"]["worst"] = -each["test"]["worst"]
    assert tuned_alike.chosen({"tried": tried}, rule)["given"] == best


def test_a_rule_that_chooses_better_shows_a_smaller_gap():
    fits = run_of("Adult", 0)
    for rule, worst in zip(tuned_alike.RULES, (50.0, 60.0, 75.0), strict=True):
        fits.append(fit_of("Adult", 0, f"jtt, by {rule}", worst))
    (line,) = (x for x in by_rule(runs_of(fits)).splitlines() if x.startswith("| JTT"))
    assert line.strip("| ").split(" | ")[1:] == ["30.0", "20.0", "5.0"]


def test_fits_of_a_seed_count_as_their_mean():
    fits = [*run_of("Adult", 0), *run_of("Adult", 1)]
    fits += [fit_of("Adult", 0, "0 | random mask", 20.0)]
    fits += [fit_of("Adult", 0, "0 | random mask", 40.0) | {"draw": 1}]
    fits += [fit_of("Adult", 1, "0 | random mask", 60.0)]
    runs = runs_of(fits)["Adult"]
    assert [run["0 | random mask"]["worst"] for run in runs] == [30.0, 60.0]
    assert runs[0]["0 | random mask"]["average"] == (30 + 300) / 4
