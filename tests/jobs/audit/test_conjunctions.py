"""A conjunction from the audit to its answer, its groups and other samples."""

import json

import numpy as np
import pytest

import ntkit
from ntkit.attributes.answers import write_answers
from ntkit.exceptions import InputError
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.jobs.audit import Audit, read_answers
from ntkit.jobs.audit.files import write_audit
from ntkit.samples.samples import Samples

NAME = "column:music=rock and roll and column:hour=night"


def table_of(seed, n=5000):
    rng = np.random.default_rng(seed)
    music, hour = rng.integers(0, 3, n), rng.integers(0, 3, n)
    table = {
        "music": np.array(["rock and roll", "jazz", "none"])[music],
        "hour": np.array(["night", "day", "dawn"])[hour],
        "device": np.array(["mobile", "desktop"])[rng.integers(0, 2, n)],
    }
    y, both = rng.integers(0, 2, n), (music == 0) & (hour == 0)
    wrong = rng.random(n) < np.where(both & (y == 0), 0.4, 0.05)
    return table, y, np.where(wrong, 1 - y, y), both


@pytest.fixture(scope="module")
def found() -> Audit:
    table, y, pred, _ = table_of(0)
    return ntkit.audit(y, pred, table=table)


def test_a_person_reads_it_and_answers_it(found, tmp_path):
    (one,) = found.findings
    assert one.name == NAME
    assert "1 (predicted)" in found.summary()
    assert "conjunctions" in found.summary(verbose=True)
    write_audit(found, tmp_path / "audit")
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert (
        "Is the value &#34;rock and roll&#34; of &#34;music&#34; together with the value "
        "&#34;night&#34; of &#34;hour&#34; a shortcut that the model should ignore?" in page
    )
    facts = json.loads((tmp_path / "audit" / "audit.json").read_text(encoding="utf-8"))
    assert facts["findings"][0]["conditions"] == list(one.conditions)
    assert facts["conjunctions_looked_at"] == found.found.n_conjunctions


def test_its_groups_and_answers_are_those_of_other_samples(found, tmp_path):
    write_answers(tmp_path / "answers.json", found.answers(NAME))
    (answer,) = read_answers(tmp_path / "answers.json").spurious
    table, y, _, both = table_of(1, 300)
    reader = AttributeReader([Samples(np.zeros((300, 1), np.float32), y)], metadata=table)
    with pytest.raises(InputError, match="column:music=rock and roll"):
        reader.attribute(answer.values)
    there = NAME.replace("column:", "metadata:")
    attribute = reader.attribute(((there,),))
    assert (attribute.labels == np.where(both, there, f"not ({there})")).all()
    assert set(found.groups(NAME)) == {
        f"{c} × {n}" for c in (0, 1) for n in (NAME, f"not ({NAME})")
    }
    assert (found.values(NAME) == table_of(0)[3]).all()
    assert (
        reader.values("metadata:music=rock and roll").sum()
        == (table["music"] == "rock and roll").sum()
    )
    with pytest.raises(InputError, match="did you mean 'metadata:hour=night'"):
        reader.values("metadata:music=jazz and metadata:hour=nigt")
