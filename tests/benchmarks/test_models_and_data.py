"""What the benchmark of models and data counts as a loss, and as one that is named."""

import numpy as np
import pytest

from data_made_up import KINDS, Samples
from models_and_data import compared
from models_and_data_tables import lost, lost_to_shortcuts, mark_lost_of_all, n_named

TABLES, TWO = KINDS["tables"], KINDS["tables, two shortcuts"]


def balanced(kind, n=400):
    y = np.arange(n) % 2
    values = [np.arange(n) // 2 ** (1 + j) % 2 for j in range(len(kind.shortcuts))]
    return Samples(np.zeros((n, 1)), np.asarray(kind.classes)[y], np.stack(values, axis=1)), y


def run(name, before, after, summary=""):
    test, _ = balanced(KINDS[name])
    return {
        "input": name,
        "groups": compared(KINDS[name], test, before, after),
        "summary": summary,
    }


@pytest.mark.parametrize("name", KINDS)
def test_shortcuts_agree_with_the_class_as_often_as_asked(name):
    kind = KINDS[name]
    rng = np.random.default_rng(0)
    for share in (0.92, 0.5):
        samples = kind.draw("test", 800, [share] * len(kind.shortcuts), rng)
        agree = samples.shortcuts == (samples.y == kind.classes[1])[:, None]
        assert np.allclose(agree.mean(axis=0), share, atol=0.03 if share != 0.5 else 0)


def test_a_group_that_contradicts_is_lost_to_the_shortcut_and_named():
    test, y = balanced(TABLES)
    before = np.ones(len(y), dtype=bool)
    after = before & ((test.shortcuts[:, 0] == y) | (np.arange(len(y)) % 8 < 4))
    silent = run("tables", before, after)
    assert [(g["class"], g["values"]) for g in lost(silent)] == [("low", [1]), ("high", [0])]
    assert lost_to_shortcuts(silent) == [[0], [0]]
    assert n_named(silent) == 0
    assert (
        n_named(run("tables", before, after, "balanced over column:region\nrelies more on x")) == 0
    )
    assert n_named(run("tables", before, after, "relies more on column:region: class low")) == 2


def test_an_advantage_that_is_taken_away_is_not_lost_to_the_shortcut():
    test, y = balanced(TABLES)
    before = test.shortcuts[:, 0] == y
    after = np.arange(len(y)) % 8 < 4
    repaired = run("tables", before, after)
    assert len(lost(repaired)) == 2
    assert lost_to_shortcuts(repaired) == []


def test_the_other_shortcut_is_the_one_to_name():
    test, y = balanced(TWO)
    before = test.shortcuts[:, 0] == y
    after = test.shortcuts[:, 1] == y
    traded = run("tables, two shortcuts", before, after, "relies more on column:region")
    assert lost_to_shortcuts(traded) == [[1], [1]]
    assert n_named(traded) == 0


def test_chance_is_no_loss():
    _, y = balanced(TABLES)
    before = np.ones(len(y), dtype=bool)
    after = before.copy()
    after[:8:2] = False  # two samples of each group of one class: 2 points, p = .25
    assert lost(run("tables", before, after)) == []


def test_all_runs_together_ask_for_more():
    _, y = balanced(TABLES)
    before = np.ones(len(y), dtype=bool)
    few, many = before.copy(), before.copy()
    few[: 4 * 10 : 4], many[: 4 * 60 : 4] = False, False  # 10 and 60 samples of one group
    some = [run("tables", before, after) | {"written": True} for after in (few, many)]
    assert [len(lost(each)) for each in some] == [1, 1]
    kept = [run("tables", before, before) | {"written": False}] * 5
    assert mark_lost_of_all([*some, *kept]) == 8
    assert [len(lost(each, "lost_of_all")) for each in some] == [1, 1]
    assert mark_lost_of_all([*some, *[some[1]] * 50]) == 208
    assert (
        mark_lost_of_all(
            [some[0], *(run("tables", before, before) | {"written": True} for _ in range(50))]
        )
        == 204
    )
    assert len(lost(some[0], "lost_of_all")) == 0
