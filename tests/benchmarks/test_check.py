"""The check of levels still gives the table that the page shows."""

import pytest

import check
from committed import DOCS


@pytest.mark.parametrize("row", [check.size_row, check.flips_row, check.rates_row])
def test_chances_of_five_samples_are_those_of_the_table(row):
    line = f"| {' | '.join(row(5))} |"
    assert line in (DOCS / "check_tables.md").read_text(encoding="utf-8").splitlines()
