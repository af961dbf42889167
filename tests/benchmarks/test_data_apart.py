"""Problems kept apart: what a split promises, and sentences of templates."""

import numpy as np
import pytest

from data_apart import ASIDE, CHOOSE, PROBLEMS, split
from data_apart_grammar import sentences


def test_names_are_dealt_in_alphabetical_order():
    assert [name for pair in zip(CHOOSE, ASIDE, strict=True) for name in pair] == sorted(PROBLEMS)


@pytest.mark.parametrize("seed", range(3))
def test_a_split_has_the_shares_the_ratio_and_a_balanced_test_set(seed):
    groups = np.repeat(range(4), (3000, 300, 200, 900))
    pool, test = split(groups, seed, 100, shares=(0.96, 0.9), ratio=2)
    assert np.bincount(groups[test]).tolist() == [100] * 4
    assert not set(pool) & set(test)
    n = np.bincount(groups[pool])
    assert n[0] / (n[0] + n[1]) == pytest.approx(0.96, abs=0.002)
    assert n[3] / (n[2] + n[3]) == pytest.approx(0.9, abs=0.002)
    assert n[0] == 2 * n[3]


def test_sentences_are_those_that_the_template_allows():
    data = {
        "intents": {"on": {"data": [{"sentences": ["(turn;on) [the] <lamp> {place}"]}]}},
        "expansion_rules": {"lamp": "(light|lamp)"},
        "lists": {"place": {"values": ["here", {"in": "there"}]}},
    }
    found = set(sentences(data, "on", "en", n=99, seed=0))
    starts = ("turn on", "on turn")
    wanted = {
        " ".join(f"{start} {the} {lamp} {place}".split())
        for start in starts
        for the in ("the", "")
        for lamp in ("light", "lamp")
        for place in ("here", "there")
    }
    assert found == wanted
