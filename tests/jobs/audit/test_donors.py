"""What an audit says on copies with a part of another sample, the donor, is so; else not said."""

import json

import numpy as np
import pytest

import ntkit
from ntkit.jobs.audit.files import write_audit
from tests.jobs.audit.test_changes import image_model

SIDE = 12
PART = {"top left": (slice(0, 4), slice(0, 4)), "bottom right": (slice(8, 12), slice(8, 12))}
PART |= {"centre": (slice(4, 8), slice(4, 8))}


def weights(**parts):
    """Weights of pixels: of some parts, nothing else."""
    of = np.zeros((1, SIDE, SIDE))
    for name, weight in parts.items():
        of[(0, *PART[name.replace("_", " ")])] = weight
    return of


def images(n=400, seed=0, **parts):
    """Images of noise, and in some parts what an array of 0 and 1 says, dark or bright."""
    X = 0.5 + 0.1 * np.random.default_rng(seed).standard_normal((n, 1, SIDE, SIDE))
    for name, values in parts.items():
        X[(slice(None), 0, *PART[name.replace("_", " ")])] = 0.1 + 0.8 * values[:, None, None]
    return X.clip(0, 1).astype(np.float32)


def random(seed, n=400):
    return np.random.default_rng(seed).permutation(np.arange(n) % 2)


def audited(path, of, X, y=None, **options):
    model = image_model(path / "m.onnx", of)
    data = X if y is None else (X, y)
    options |= {} if y is None else {"feature_sets": ["image"], "trust_inputs": True}
    return ntkit.audit_model(model, data, device="cpu", **options)


def effects(audit):
    """Facts of the audit's JSON on the donors, by the name of the part."""
    facts = json.loads(audit.to_json())
    return {each["name"].removeprefix("image:"): each["of_donor"] for each in facts["changes"]}


def shown(audit, path, which="image:top left"):
    """What is said of a change, with all results in Markdown; the page says the same."""
    (said,) = [
        line.partition(": ")[2].replace("\\", "")
        for line in audit.summary(markdown=True).splitlines()
        if line.startswith(f"* `{which}`")
    ]
    write_audit(audit, path / "out")
    page = (path / "out" / "audit.html").read_text(encoding="utf-8")
    assert said.replace("'", "&#39;") in page
    return said


def test_a_model_that_reads_the_part_alone_always_follows(tmp_path):
    y = random(0)
    audit = audited(tmp_path, weights(top_left=1), images(top_left=y), y)
    facts = effects(audit)["top left"]
    assert facts["told"] == facts["follows"] == 1
    assert 0.4 < facts["shuffled"] < 0.6
    assert facts["of_labels"]
    assert facts["is_significant"]
    assert facts["p_value"] < 0.001
    change = next(each for each in audit.changes.changes if each.row.name == "image:top left")
    assert change.is_finding
    assert audit.changes.changes[0].follows_donor
    said = shown(audit, tmp_path)
    assert said.startswith("Each copy has the top left of another sample, its donor; one copy of ")
    assert "one copy of each donor counts here. From the copies, the donor's class can" in said
    assert "the donor's class can be told in 100 % (95 % interval 9" in said
    n, shuffled = facts["n"], f"{100 * facts['shuffled']:.0f} %"
    copies = f"In 100 % of {n} copies whose donor has another class than the model's answer"
    assert f"{copies}, the model changes to the donor's class (donors shuffled: {shuffled})" in said
    assert "So it follows the donor (p = 0.000" in said
    assert "So it follows the donor" in str(audit)


def test_a_part_that_tells_the_class_but_is_not_used_is_told_and_not_followed(tmp_path):
    y = random(0)
    # The part moves the logits, and never so far that an answer changes.
    of = weights(centre=1, top_left=0.2)
    audit = audited(tmp_path, of, images(top_left=y, centre=y), y)
    facts = effects(audit)["top left"]
    assert facts["told"] == 1
    assert (facts["follows"], facts["shuffled"], facts["p_value"]) == (0, 0, 1)
    said = shown(audit, tmp_path)
    assert "the donor's class can be told in 100 %" in said
    assert "In 0 % of" in said
    assert "So it does not significantly follow the donor (p = 1)." in said
    assert "follow" not in str(audit)
    assert not any(each.is_finding for each in audit.changes.changes if each.of_donor is not None)


def test_a_part_that_is_used_but_tells_nothing_flips_and_is_not_followed(tmp_path):
    y = random(0)
    audit = audited(tmp_path, weights(top_left=1), images(top_left=random(1)), y)
    change = next(each for each in audit.changes.changes if each.row.name == "image:top left")
    assert change.row.value > 0.3
    assert (change.flips_more, change.follows_donor, change.is_finding) == (True, False, False)
    said = shown(audit, tmp_path)
    assert f", which may be guessing (50 %). In {100 * change.of_donor.follows:.0f} % of" in said
    assert "So it does not significantly follow the donor" in said
    assert "the donor's class can be told in 1" not in said


def test_what_follows_the_donor_comes_before_what_flips_more(tmp_path):
    y = random(0)
    of = weights(top_left=1, bottom_right=3)
    other = np.random.default_rng(1).random(400)
    audit = audited(tmp_path, of, images(top_left=y, bottom_right=other), y)
    names = [each.row.name for each in audit.changes.changes]
    mark, other = (
        audit.changes.changes[names.index(f"image:{part}")] for part in ("top left", "bottom right")
    )
    assert other.row.value > mark.row.value
    assert other.flips_more
    assert not other.follows_donor
    assert mark.follows_donor
    assert names.index("image:top left") < names.index("image:bottom right")
    order = [each.follows_donor for each in audit.changes.changes]
    assert order == sorted(order, reverse=True)


def test_parts_with_the_subject_are_tried_and_take_no_place(tmp_path):
    y = random(0)
    audit = audited(tmp_path, weights(centre=1), images(centre=y), y)
    facts = json.loads(audit.to_json())
    marked = {each["name"] for each in facts["changes_tried"] if each["of_subject"]}
    assert marked == {"image:centre", "image:middle centre", "image:high frequencies"}
    assert facts["changes_tried"][0]["name"] in marked  # these flip most
    assert not marked & {each["name"] for each in facts["changes"]}
    assert len(facts["changes"]) == 5
    (note,) = [note for note in audit.notes if "did not test" in note]
    assert all(name in note for name in marked)


def test_without_labels_the_class_of_the_donor_is_the_answer_on_it(tmp_path):
    mark = random(0)
    audit = audited(tmp_path, weights(top_left=1), images(top_left=mark))
    facts = effects(audit)["top left"]
    assert not facts["of_labels"]
    assert facts["told"] == facts["follows"] == 1
    sentence = "Without labels, the donor's class is the model's answer on the donor."
    assert sentence in shown(audit, tmp_path)
    assert sentence in str(audit)
    labelled = audited(tmp_path, weights(top_left=1), images(top_left=mark), mark)
    assert "Without labels" not in labelled.summary(markdown=True)


def test_too_few_donors_of_a_class_tell_nothing(tmp_path):
    y = random(0, 60)
    audit = audited(tmp_path, weights(top_left=1), images(60, top_left=y), y)
    facts = effects(audit)["top left"]
    assert facts["told"] is None
    assert facts["follows"] == 1
    said = shown(audit, tmp_path)
    assert "From the copies" not in said
    assert "In 100 % of" in said


def test_changes_without_a_donor_say_nothing_of_it(tmp_path):
    audit = audited(tmp_path, weights(top_left=1), images(top_left=random(0)), random(0))
    found = effects(audit)
    assert {name for name, of in found.items() if of is None} == found.keys() - {
        "border", *(f"{row} {column}" for row in ("top", "middle", "bottom")
                    for column in ("left", "centre", "right")),
    }  # fmt: skip
    assert None in found.values()


@pytest.mark.more
def test_the_level_of_following(tmp_path):
    # A part decides alone, has nothing to do with the class, and donors recur.
    found = 0
    for seed in range(60):
        X = images(120, seed, top_left=random(seed, 120), bottom_right=random(1000 + seed, 120))
        of, y = weights(top_left=1, bottom_right=1.2), random(2000 + seed, 120)
        audit = audited(tmp_path, of, X, y, random_state=seed)
        found += any(each.follows_donor for each in audit.changes.changes)
    assert found <= 9  # at most 5 % of the runs (binomial, 99.9 %)
