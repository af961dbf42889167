"""Answers on single samples, groups that are known of some: matched, inferred, balanced over."""

import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ntkit import DebiasSettings, FrozenModel, OnnxEmbedder, debias, predict
from ntkit.attributes import Attribute
from ntkit.datasets import marked_digits_model_path
from ntkit.estimators import DFRClassifier, retrain_head
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.jobs.debias import _comparison
from ntkit.jobs.debias._accuracy_cost import accuracy_cost_of
from ntkit.jobs.debias._candidates import asked_for
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._named_attributes import PartlyKnown, partly_known
from ntkit.jobs.debias._plan import Plan
from ntkit.jobs.debias._pool import Pool
from ntkit.jobs.label import label_samples
from ntkit.metrics import worst_group_accuracy
from ntkit.study import Rows
from tests.cases import read_csv, settings, write_csv, write_rows
from tests.jobs.label.models import rows, write_model

X, Y, MARK = rows()
HELD = rows(1)
N = 2 * len(Y)
PARTIAL = np.where(np.arange(N) < 60, np.r_[MARK, HELD[2]], -1).astype(object)
BOTH = np.concatenate([X, HELD[0]])
NOISE = np.random.default_rng(0).normal(size=BOTH.shape)
DIGITS = marked_digits_model_path()


def completed(values, y, feature_set, *, crossed=True):
    given = PartlyKnown(Attribute.from_labels("mark", values), crossed)
    pool = Pool(*(Rows.of(np.zeros((len(labels), 1)), labels) for labels in y))
    return given.completed(pool, {"feature_set": feature_set}, 0)


def compared(known, sets=None, head=None):
    """A comparison with the fitted and rated candidate of these groups."""
    sets = sets or (Rows.of(X, Y), Rows.of(HELD[0], HELD[1]))
    made = Comparison(Pool(*sets), None, head=head, plan=Plan(known=known))
    settings, name = asked_for(None, partly_known=True)
    estimator, rows = settings[name]
    clf, _ = made.fit(estimator, rows)
    made.row(name, clf, rows)
    return made, name, clf


def fitted(values, feature_set=BOTH, *, crossed=True):
    return compared(completed(values, (Y, HELD[1]), feature_set, crossed=crossed))


@pytest.mark.more
@pytest.mark.parametrize(
    ("feature_set", "values", "crossed"),
    [
        (BOTH, PARTIAL, True),
        (NOISE, PARTIAL, True),
        (BOTH, np.r_[2 * Y + MARK, 2 * HELD[1] + HELD[2]].astype(object), False),
    ],
    ids=["inferred", "of noise nothing is inferred", "all are known"],
)
def test_the_candidate_is_dfr_on_what_is_known(feature_set, values, crossed):
    made, name, clf = fitted(values, feature_set, crossed=crossed)
    assert name == "group-balanced"
    Z, y = np.concatenate([made.train.X, made.validation.X]), np.concatenate([Y, HELD[1]])
    own = DFRClassifier(variant="weighted", random_state=0)
    given = {"attribute": values, "feature_sets": feature_set} if crossed else {"groups": values}
    silent = nullcontext() if feature_set is BOTH else pytest.warns(UserWarning, match="predicts")
    with silent:
        own.fit(Z, y, **given)
    np.testing.assert_allclose(clf.coef_, own.coef_, rtol=1e-6)
    np.testing.assert_allclose(clf.intercept_, own.intercept_, rtol=1e-6)
    assert ("which are all" in made.plan.known.source_note()) is not crossed
    # No group of a validation set judges of which nothing is known.
    judged = feature_set is BOTH
    assert (made.groups_of(name)[0] is not None) == judged
    assert {cost.by_groups for cost in made.costs_of(name)} == {judged}


@pytest.mark.more
@pytest.mark.parametrize("unknown", [1, 150])
@pytest.mark.parametrize("crossed", [True, False])
def test_what_a_person_knows_is_not_moved(unknown, crossed):
    """Groups, their counts and those that judge are the same as if all were known."""
    rng = np.random.default_rng(0)
    y, truth = np.r_[Y, HELD[1]], np.r_[MARK, HELD[2]]
    said = np.where(rng.random(N) < 0.1, 1 - truth, truth)  # right for the person, not by columns
    said = said if crossed else 2 * y + said
    values, known = said.astype(object), np.ones(N, dtype=bool)
    known[rng.permutation(N)[:unknown]] = False
    partly, full = (
        completed(np.where(some, values, None), (Y, HELD[1]), BOTH, crossed=crossed)
        for some in (known, np.ones(N, dtype=bool))
    )
    assert partly.is_read
    assert partly.inference is not None
    assert np.array_equal(partly.attribute.labels[known], said[known])
    assert np.array_equal(partly.groups.labels[known], full.groups.labels[known])
    held = known[len(Y) :]
    assert np.array_equal(partly.judging().labels[held], full.judging().labels[held])
    both = Rows.of(X, Y).and_then(Rows.of(*HELD[:2]))
    clf = partly.fit(DFRClassifier(variant="weighted"), both, np.arange(len(both)))
    groups, counts = np.unique(full.groups.labels[known], return_counts=True)
    assert partly.n_known == dict(zip(groups.tolist(), counts.tolist(), strict=True))
    assert (clf.group_counts_ >= counts).all()
    assert sum(clf.group_counts_ - counts) == unknown
    of_groups = partly.judging().rows(np.ones(len(held), dtype=bool))
    assert {row.name: row.n_known for row in of_groups} == Counter(
        full.judging().labels[held].tolist()
    )


# -- matching ----------------------------------------------------------------------------------

NAMES = ([f"a/{i}.png" for i in range(12)], [f"b/{i + 20}.png" for i in range(8)])


def pool(names=(None, None)):
    """Twelve training samples and eight validation samples."""
    ids = [None if own is None else np.array(own) for own in names]
    return AttributeReader(
        [Samples(X[:12], Y[:12], ids=ids[0]), Samples(X[100:108], Y[:8], ids=ids[1])]
    )


def values_of(pool, **given):
    return partly_known(pool, key=None, **given).attribute.labels.tolist()


def placed(**at):
    values = [None] * 20
    for row, value in at.items():
        values[int(row[1:])] = value
    return values


def labelled(folder, said, samples, question="Is it?"):
    """The folder of `ntkit label`, in which a person said this of these samples, by number."""
    model = write_model(folder.parent / "model.onnx")
    label_samples(model, samples, folder, question=question, device="cpu")
    write_csv(folder / "labels.csv", {"id": said, question: said.values()})
    label_samples(model, samples, folder, device="cpu")
    return folder / "answers.json"


def changed(path, change):
    content = json.loads(path.read_text())
    for entry in content["answers"]:
        change(entry)
    path.write_text(json.dumps(content))


def test_tables_are_matched_by_name(tmp_path):
    lines = [("a/3.png", "yes"), ("b/21.png", "NO"), ("c/none.png", "yes")]
    more = [("a/0.png", "?"), ("a/1.png", ""), ("a/4.png", "YES")]
    expected = placed(_3="yes", _4="yes", _13="NO")  # case alone makes no other value
    for key in ("file_name", "id"):
        for short in (False, True):
            named = [(n.rpartition("/")[2] if short else n, v) for n, v in lines]
            path = write_rows(tmp_path / "labels.csv", [[key, "Is it?"], *named, *more])
            for option in ("answers", "attribute", "groups"):
                assert values_of(pool(NAMES), **{option: path}) == expected
    known = partly_known(pool(NAMES), answers=path, key=None)
    assert known.attribute.name == "'Is it?'"
    assert known.left == (
        f"ntkit left out 1 of 4 labels of {path}, which belongs to none of the "
        "training and validation samples: 'none.png'. "
        f"{path}: these cells mean that the label is unknown: 1 '?'. "
        f"{path}: 'yes' (2), 'YES' (1) are written in several ways and count as one label; rename "
        "one if they are two."
    )
    write_rows(path, [["file_name", "Is it?"], *lines])
    assert "several ways" not in partly_known(pool(NAMES), answers=path, key=None).left
    write_rows(path, [["file_name", "g"], ("a/1.png", "1"), ("b/20.png", "1.0"), ("a/2.png", "0")])
    assert values_of(pool(NAMES), groups=path) == placed(_1="1", _2="0", _12="1")


@pytest.mark.parametrize("cell", ["-1", "-1.0", " ?", "NA", "NaN", "n/a", "<NA>", "Unknown"])
def test_cells_that_mean_unknown_are_told(tmp_path, cell):
    """As pandas, R and people write them; an empty cell needs no words."""
    column = ["1.0", cell, "0.0", "", *[cell] * 15, "1.0"]
    path = write_csv(tmp_path / "g.csv", {"group": column})
    known = partly_known(pool(), groups=path, key=None)
    assert known.attribute.labels.tolist() == placed(_0="1.0", _2="0.0", _19="1.0")
    assert known.left.endswith(f"these cells mean that the label is unknown: 16 {cell.strip()!r}.")
    frame = pd.DataFrame({"group": [1.0, None, 0, *[pd.NA] * 16, 1]})
    assert values_of(pool(), groups=frame) == placed(_0="1", _2="0", _19="1")


@pytest.mark.parametrize("named", ["attribute", "groups"])
def test_groups_known_of_all_samples_are_weighed_as_the_set_that_judges_has_them(tmp_path, named):
    """Another share of the classes among training samples says nothing of validation samples."""
    model = write_model(tmp_path / "model.onnx")
    some = np.r_[np.flatnonzero(Y == 1), np.flatnonzero(Y == 0)[:20]]
    validation, values = HELD[:2], np.r_[MARK[some], HELD[2]]
    train = X[some], Y[some]
    result = debias(model, train, validation, **{named: values}, device="cpu")
    groups = result.outcome.groups[0]
    right = predict(model, validation[0], device="cpu").labels == validation[1]
    y, mark = validation[1], HELD[2]
    before = sum(
        (y == label).mean() * (mark == value).mean() * right[(y == label) & (mark == value)].mean()
        for label in (0, 1)
        for value in (0, 1)
    )
    assert groups.first.before == pytest.approx(before)
    assert groups.first.n == sum(row.n for row in groups.cells) == len(y)


@pytest.mark.more
@pytest.mark.parametrize("unknown", [None, float("nan"), "?", "-1.0", "NA", "none"])
def test_groups_of_a_set_that_are_unknown_are_told_and_in_no_group(tmp_path, unknown):
    """Else they would be the worst group; "none" is a name like any other."""
    test = rows(2)
    groups = (2 * test[1] + test[2]).astype(str if isinstance(unknown, str) else object)
    groups = groups.astype(object)
    groups[:40] = unknown
    model = write_model(tmp_path / "model.onnx")
    sets = {"train": (X, Y), "validation": HELD[:2], "test": (*test[:2], groups)}
    attribute = np.r_[MARK, HELD[2]]
    result = debias(model, **sets, attribute=attribute, device="cpu", out=tmp_path / "out")
    known = unknown != "none"
    assert ("The test set: 40 of 240 samples have an unknown group." in result.notes) == known
    note = f"The test set: these texts mean that the group is unknown: 40 {unknown!r}."
    assert (note in result.notes) == (known and isinstance(unknown, str))
    head = FrozenModel.load(tmp_path / "out" / "debiased.onnx").head
    right = head.predict(test[0]) == test[1]
    names = {*groups[40:], *([] if known else ["none"])}
    worst = min(right[groups == name].mean() for name in names)
    assert result.chosen.worst_group == pytest.approx(worst)


@pytest.mark.more
def test_the_mean_of_labelled_groups_says_of_which_samples_and_a_run_notes_other_labels(tmp_path):
    """The first number tells all samples of the set, so they are two numbers."""
    model, out = write_model(tmp_path / "model.onnx"), tmp_path / "out"
    attribute = np.r_[MARK, HELD[2]].astype(object)
    options = {
        "train": (X, Y),
        "validation": HELD[:2],
        "settings": DebiasSettings(otherwise="new head"),
        "device": "cpu",
    }

    def run(attribute, **more):
        result = debias(model, **(options | {"attribute": attribute} | more))
        return result, str(result).splitlines()[2]

    whole, line = run(attribute, out=out)
    assert f": mean of the groups of {len(HELD[1])} labelled samples " in line
    partial = np.where(np.arange(N) % 3 < 2, attribute, None)
    result, line = run(partial)
    cost = result.accuracy_cost
    assert cost.n_inferred
    of = f"of {cost.n_known} labelled and {cost.n_inferred} inferred samples "
    assert f": mean of the groups {of}" in line
    note = f"The labels of your attribute differ from those of the run in {out}, so the head"
    for labels, n in ((attribute, 0), (np.where(np.arange(N) < 9, None, attribute), 1)):
        later, _ = run(labels, settings=replace(options["settings"], resume=out, interpolation=0.5))
        assert sum(each.startswith(note) for each in later.cautions) == n
    again = {"settings": replace(options["settings"], resume=out), "spurious": "input #1 high"}
    by_name = debias(model, **(options | again))
    assert not any("labels of" in each for each in (*whole.cautions, *by_name.cautions))


def test_a_run_goes_on_with_its_own_model_and_says_when_a_set_is_another(tmp_path):
    """The results of two runs that read other samples, labels or groups are not compared."""
    model, other, out = (
        write_model(tmp_path / "model.onnx"),
        tmp_path / "other.onnx",
        tmp_path / "o",
    )
    FrozenModel.load(model).with_provenance({"ntkit.method": "by hand"}).save(other)
    sets = {"train": (X, Y), "validation": HELD[:2], "spurious": "input #1 high", "device": "cpu"}
    first = debias(model, **sets, out=out, settings=DebiasSettings(otherwise="new head"))
    again = DebiasSettings(otherwise="new head", resume=out, interpolation=0.5)
    with pytest.raises(InputError, match=f"{other.name} is not the model of .*SHA-256 differs"):
        debias(other, **sets, settings=again)

    def noted(**changed):
        cautions = debias(model, **(sets | changed), settings=again).cautions
        return [n for n in ("train", "validation") if any(note.format(n) in c for c in cautions)]

    note = f"The {{}} set is not that of the run in {out}: "
    assert not any("that of the run" in each for each in first.cautions)
    assert noted() == []
    swapped = Y.copy()
    swapped[[Y.argmin(), Y.argmax()]] = Y.max(), Y.min()
    assert noted(train=(X, swapped)) == ["train"]
    assert noted(validation=(HELD[0][1:], HELD[1][1:])) == ["validation"]


def test_none_is_a_value(tmp_path):
    column = ["none", "cap", "None", "none", *[""] * 15, "cap"]
    path = write_csv(tmp_path / "g.csv", {"hat": column})
    expected = placed(_0="none", _1="cap", _2="none", _3="none", _19="cap")
    assert values_of(pool(), attribute=path) == expected


def test_tables_and_arrays_have_a_row_for_each(tmp_path):
    column = ["1", "-1", "0", "", *["?"] * 15, "1"]
    path = write_csv(tmp_path / "g.csv", {"group": column})
    expected = placed(_0="1", _2="0", _19="1")
    assert values_of(pool(), groups=path) == expected
    path.write_text("\n".join(["group", *column]) + "\n")  # an empty cell is an empty line
    assert values_of(pool(), groups=path) == expected
    assert values_of(pool(), groups={"group": [1.0, -1, 0, *[np.nan] * 16, 1]}) == expected
    assert values_of(pool(), groups=[1, -1, 0, *[-1] * 16, 1]) == expected
    assert values_of(pool(), attribute=[1, None, 0, *[None] * 16, 1]) == expected
    of_numpy = np.array(["1", np.nan, "0", "", *["?"] * 8, *["-1"] * 7, "1"])
    assert values_of(pool(), attribute=of_numpy) == expected


def test_labels_name_samples_of_the_set_that_has_names(tmp_path):
    path = write_csv(tmp_path / "labels.csv", {"id": NAMES[0][:3:2], "x": "10"})
    assert values_of(pool((NAMES[0], None)), attribute=path) == placed(_0="1", _2="0")


def test_answers_are_found_by_content_under_any_name(tmp_path):
    """Rows of arrays have no names, and files of two folders may have the same."""
    said = {1: "yes", 3: "no", 5: "?"}
    answers = labelled(tmp_path / "o", said, Samples(X[100:108], Y[:8]))
    expected = placed(_13="yes", _15="no")
    same = ([f"{i}.png" for i in range(12)], [f"{i}.png" for i in range(8)])
    for names in ((None, None), NAMES, same):
        assert values_of(pool(names), answers=answers) == expected

    def saved_again(entry):
        entry["content"] = entry["content"][::-1]
        entry["name"] = f"b/{int(entry['name']) + 20}.png"

    changed(answers, saved_again)
    with pytest.raises(InputError, match=r"None of 3 digests in .* --match-names"):
        values_of(pool(NAMES), answers=answers)
    by_name = partly_known(pool(NAMES), answers=answers, key=None, match_names=True)
    assert by_name.attribute.labels.tolist() == expected
    told = f"{answers}: none of 3 digests belongs to one of these samples; matched by name."
    assert by_name.left == told


def test_what_was_left_out_while_labelling_is_found_by_content(tmp_path):
    """A former training sample may be a validation sample now."""
    answers = labelled(tmp_path / "o", {3: "yes", 4: "no", 5: "no"}, (X[:60], Y[:60]))
    label_samples(tmp_path / "model.onnx", (X[4:60], Y[4:60]), tmp_path / "o",
                  question="Is it?", device="cpu")  # fmt: skip
    moved = AttributeReader([Samples(X[4:40], Y[4:40]), Samples(X[:4], Y[:4])])
    found = values_of(moved, answers=answers)
    assert found == ["no", "no", *[None] * 34, *[None] * 3, "yes"]


def test_answers_on_more_samples_are_told_and_all_unsure_ones_too(tmp_path):
    """Of the twelve that were labelled eight are in this job."""
    said = {i: "yes" if i % 3 else "no" for i in range(12)}
    answers = labelled(tmp_path / "o", said, (X[:12], Y[:12]))
    fewer = AttributeReader([Samples(X[:8], Y[:8]), Samples(X[100:108], Y[:8])])
    found = partly_known(fewer, answers=answers, key=None)
    assert found.left.startswith("ntkit left out 4 of 12 labels of")
    assert "'10', '11'" in found.left
    changed(answers, lambda entry: entry.update(answer=None))
    with pytest.raises(InputError, match=r"names 8 of the training .* none has a label"):
        partly_known(fewer, answers=answers, key=None)


@pytest.mark.parametrize("option", ["attribute", "groups", "answers"])
def test_one_content_is_not_of_two_values(tmp_path, option):
    """Two files of the same bytes, of one class; of two classes the groups differ rightly."""
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    images[13] = images[2]
    y = np.concatenate([Y[:12], Y[12:20] if option == "groups" else 1 - Y[12:20]])
    y[13] = Y[2]
    sets = [
        Samples(images[part], y[part], ids=np.array(names))
        for part, names in zip((slice(12), slice(12, None)), NAMES, strict=True)
    ]

    def values(value):
        lines = [("a/2.png", "yes"), ("b/21.png", value), ("a/4.png", "no")]
        path = write_rows(tmp_path / "labels.csv", [["id", "x"], *lines])
        return values_of(AttributeReader(sets), **{option: path})

    with pytest.raises(InputError, match=r"'yes' for 'a/2.png' \(training\) and 'no' for 'b/21"):
        values("no")
    assert values("yes")[13] == "yes"
    if option == "groups":
        sets[1].y[1] = 1 - Y[2]
        assert values("no")[13] == "no"


@pytest.mark.parametrize(
    ("names", "header", "lines", "message"),
    [
        (NAMES, ["id", "x"], [("zzz", "yes")], "has no label of any of the training and"),
        (NAMES, ["id", "x"], [("a/3.png", "?")], "names 1 of the training .* none has a label"),
        (NAMES, ["id", "x"], [(n, n) for n in NAMES[0][:11]], "11 different values in 11"),
        (NAMES, ["id", "x"], [("a/3.png", "1"), ("a/3.png", "0")], "label '0' here and '1' above"),
        (NAMES, ["id", "ntkit_content", "x"], [("a/3.png", "4c2e", "1")], "'4c2e' in .* is not a"),
        (NAMES, ["id", "x", "y"], [("a/3.png", "1", "2")], "no column 'attribute'.* it has 'x'"),
        (NAMES, ["id"], [("a/3.png",)], "no column. Rename"),
        (NAMES, ["x"], [("1",), ("0",)], "2 rows for 20 training"),
        ((None, None), ["id", "x"], [("3", "yes")], "these samples have no names"),
        ((NAMES[0], NAMES[0][:8]), ["id", "x"], [("a/3.png", "1")], "2 samples have this name"),
    ],
)
def test_what_cannot_be_matched_is_named(tmp_path, names, header, lines, message):
    path = write_rows(tmp_path / "labels.csv", [header, *lines])
    with pytest.raises(InputError, match=message) as error:
        partly_known(pool(names), attribute=path, key=None)
    assert "\n" not in str(error.value)


CLASS_ITSELF = [*Y[:9].tolist(), *[-1] * 11]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attribute": [1] * 20, "groups": [1] * 20}, "takes only one of attribute"),
        ({"attribute": [1, 0]}, "holds 2 values, but there are 20"),
        ({"groups": [-1] * 20}, "groups has no known value"),
        ({"attribute": CLASS_ITSELF}, "groups cannot be distinguished from classes"),
        ({"groups": CLASS_ITSELF}, "groups cannot be distinguished from classes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        partly_known(pool(), key=None, **given)
    partly_known(pool(), key=None, attribute=[1 - Y[0], *CLASS_ITSELF[1:]])


def test_if_nothing_is_known_of_a_class_only_the_classes_are_balanced():
    values = np.full(N, None, dtype=object)
    values[[0, 2, 4]] = "yes", "yes", "no"
    known = completed(values, (Y, HELD[1]), BOTH)
    assert "balances only the classes" in known.source_note()
    assert compared(known)[2].groups_.tolist() == [0, 1]


@pytest.mark.more
@pytest.mark.parametrize("some", [slice(None), slice(0, None, 3)], ids=["all", "some"])
@pytest.mark.parametrize("form", ["array", "table"])
def test_groups_of_several_classes_are_balanced_within_the_classes(form, some, tmp_path):
    """A group of one class each stays as it is, also with a wrong label."""
    model = write_model(tmp_path / "model.onnx")
    sets = {"train": (X, Y), "validation": HELD[:2]}
    marks, classes = np.append(MARK, HELD[2]), np.append(Y, HELD[1])
    within = 2 * classes + marks
    wrong = within.copy()
    wrong[np.flatnonzero(within == within.max())[0]] = 0

    def repaired(name, values):
        given = np.full(N, -1)
        given[some] = values[some]
        if form == "table" and name == "groups":
            given = write_csv(tmp_path / "groups.csv", {"group": given})
        more = {
            "settings": DebiasSettings(trust_inputs=True, otherwise="new head"),
            "device": "cpu",
        }
        return debias(model, **sets, **{name: given}, **more)

    said = "has several classes, so ntkit balances class × group."
    by_mark, uncrossed = repaired("attribute", marks), repaired("groups", marks)
    assert "over class × your groups" in uncrossed.summary()
    assert said in " ".join(uncrossed.as_dict()["notes"])
    assert by_mark.chosen.name == uncrossed.chosen.name == "group-balanced"
    np.testing.assert_allclose(by_mark.head.coef, uncrossed.head.coef, rtol=1e-6)
    for groups in (within, wrong):
        assert said not in " ".join(repaired("groups", groups).notes)


# -- the whole way -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory, digits):
    """Images of both sets, and which of them have the mark, by file."""
    path, marked = tmp_path_factory.mktemp("images"), {}
    for part, n in (("train", 700), ("validation", 700)):
        parts = (digits[f"{what}_{part}"][:n] for what in ("X", "y", "groups"))
        for i, (image, label, group) in enumerate(zip(*parts, strict=True)):
            file = path / part / f"{label}" / f"{part}-{i:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 255).round().astype(np.uint8)).save(file)
            marked[f"{label}/{file.name}"] = "yes" if group % 2 else "no"
    return path, marked


def worst(digits, path):
    model = FrozenModel.load(path)
    Z = OnnxEmbedder(model, device="cpu").transform(digits.X_test)
    return worst_group_accuracy(digits.y_test, model.head.predict(Z), groups=digits.groups_test)


def job(folders, out):
    sets = [word for n in ("train", "validation") for word in (f"--{n}", folders[0] / n)]
    return ["debias", DIGITS, *sets, "--device", "cpu", "--quiet", "-o", out]


@pytest.mark.more
def test_from_questions_to_a_repaired_model(run, folders, digits, tmp_path):
    """ntkit label, a person, ntkit debias: the file that is written is better on other samples."""
    images, marked = folders
    out, question = tmp_path / "mark", "Is there a bright mark in the corner?"
    ask = ["label", DIGITS, images / "train", "-o", out, "--quiet", "--device", "cpu"]
    ask += ["--batch", "96"]
    code, printed, err = run(*ask, "--question", question)
    assert (code, "Label 96 samples" in printed) == (0, True), err
    asked = [row["id"] for row in read_csv(out / "questions-1.csv")]
    write_csv(out / "labels.csv", {"id": asked, question: [marked[n] for n in asked]})
    code, printed, err = run(*ask, "--json")
    told = json.loads(printed)
    assert (code, told["n_answers"], told["feature_set"] is None) == (0, 96, False), err

    repaired = tmp_path / "repaired"
    code, printed, err = run(
        *job(folders, repaired), "--verbose", "--answers", out / "answers.json"
    )
    assert code == 0, err
    headline, head, *_ = printed.splitlines()
    where = "Probably better. Training and validation set, cross-fitted: Mean of the groups "
    assert headline.startswith(where)
    assert head.startswith("group-balanced: ")
    assert f"{question!r} (inferred from 96 labels): known for 96 training" in printed
    assert "Suppressing" not in printed  # a score that knows no labels advises nothing
    record = json.loads((repaired / "result.json").read_text())
    assert record["verdict"] is None
    cost = record["accuracy_cost"]
    assert (cost["n_known"], cost["n_inferred"]) == (0, 700)  # no validation sample has a label
    n, name = cost["worst_named"]["count"], cost["worst_named"]["name"]
    sentence = f"of the {n} of {name} ({n} of them inferred)"
    report, card = ((repaired / n).read_text() for n in ("report.html", "README.md"))
    assert all(sentence in text for text in (printed, record["named_outcome"], report, card))
    assert worst(digits, repaired / "debiased.onnx") > worst(digits, DIGITS) + 0.15


@pytest.mark.more
def test_groups_that_exist_for_some_samples(run, folders, digits, tmp_path):
    """Labels of every fourth validation image, named by file."""
    lines = [(n, f"{n[0]}, {m}") for n, m in folders[1].items() if "validation" in n][::4]
    path = write_rows(tmp_path / "partial.csv", [["file_name", "who"], *lines])
    command = [*job(folders, tmp_path / "out"), "--groups", path]
    code, _, err = run(*command, *settings(group_column="what"))
    assert (code, "has no column 'what'" in err) == (2, True)
    assert not (tmp_path / "out").exists()
    code, printed, err = run(*command, *settings(group_column="who"), "--json", "--even-if-worse")
    assert code == 0, err
    found = json.loads(printed)
    assert found["balanced_over"] == "your groups (inferred from 175 samples)"
    assert found["chosen"] == "group-balanced"
    assert "0 training and 175 validation samples" in " ".join(found["notes"])
    assert (found["accuracy_cost"]["n_known"], found["accuracy_cost"]["n_inferred"]) == (175, 525)
    assert found["outcome"]["where"] == "validation set"  # no training sample has a label
    assert worst(digits, tmp_path / "out" / "debiased.onnx") > worst(digits, DIGITS) + 0.15


@pytest.mark.parametrize(("n_known", "n_inferred"), [(440, 0), (30, 0), (0, 20)])
def test_groups_say_how_many_of_their_samples_are_inferred(n_known, n_inferred):
    y, values = np.repeat([0, 1], 220), np.tile(np.repeat([0, 1], [20, 200]), 2)
    known = np.arange(440) < n_known
    groups = Attribute("a", values, ("no", "yes"), known=known).crossed(y, fewest=5)
    wrong = np.where(np.arange(440) % 220 < 20, 1 - y, y)
    cost = accuracy_cost_of(1.0, y, np.eye(2)[wrong], y, np.array([0, 1]), None, groups)
    assert (cost.n_known, cost.n_inferred) == (n_known, 440 - n_known)
    assert cost.worst_named_before.n_inferred == n_inferred
    assert ("of them inferred" in str(cost.worst_named_before)) == (n_inferred > 0)


def test_rows_of_memory_maps_can_be_labelled(tmp_path):
    """Rows of stores too large for memory stay in their files, one for each set."""
    mapped = []
    for name, array in (("train", X), ("validation", HELD[0])):
        np.save(tmp_path / f"{name}.npy", array)
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    known = completed(PARTIAL, (Y, HELD[1]), BOTH)
    heads = [
        known.fit(
            DFRClassifier(variant="weighted", random_state=0),
            Rows.of(a, Y).and_then(Rows.of(b, HELD[1])),
            np.arange(N),
        ).coef_
        for a, b in (mapped, (X, HELD[0]))
    ]
    assert np.allclose(*heads, atol=1e-3)


@pytest.mark.more
def test_labels_of_training_samples_alone_judge_large_stores_too(tmp_path, monkeypatch, digits):
    """The average is of validation samples, of which none has a label, the groups of the others."""
    monkeypatch.setattr(_comparison, "LARGE", 0)
    embedder, d = OnnxEmbedder(FrozenModel.load(DIGITS), device="cpu"), digits
    parts = [(d.X_train[:900], d.y_train[:900]), (d.X_validation[:600], d.y_validation[:600])]
    labels = np.full(1500, None, dtype=object)
    labels[:150] = np.where(d.groups_train[:150] % 2, "yes", "no")
    found = []
    for mapped in (False, True):
        stores = []
        for n, (X_part, y) in enumerate(parts):
            np.save(file := tmp_path / f"{n}.npy", embedder.transform(X_part))
            Z = np.load(file, mmap_mode="r" if mapped else None)
            stores.append(Samples(Z, y, embedded=True))
        found.append(debias(DIGITS, *stores, attribute=labels, device="cpu").outcome)
    for outcome in found:
        where = "training and validation set"
        assert (outcome.where, outcome.word) == (where, "probably better")
        assert outcome.average.n == 600
    assert found[1].groups[0].mean.value == pytest.approx(found[0].groups[0].mean.value, abs=0.05)


# -- do no harm --------------------------------------------------------------------------------


def test_a_group_that_rests_on_one_answer_judges_nothing():
    """The class once more, but for two answers: balanced over that, errors would be the groups."""
    said = np.where(np.arange(N) < 60, np.r_[Y, Y], -1).astype(object)
    said[:2] = 1 - Y[:2]
    made, name, _ = fitted(said)
    assert made.plan.known.is_read
    assert made.groups_of(name) == (None, None, None)
    few = "These groups have too few labels to judge a head: 0 × 1 (1), 1 × 0 (1)."
    assert few in made.plan.known.source_note()
    assert not any(cost.by_groups for cost in made.costs_of(name))
    more = np.where(np.arange(N) < 200, np.r_[MARK, HELD[2]], -1).astype(object)
    assert "too few" not in completed(more, (Y, HELD[1]), BOTH).source_note()


@pytest.mark.more
def test_labels_whose_groups_nobody_can_judge_keep_the_original(tmp_path):
    """Few labels tell no difference."""
    said = np.where(np.arange(N) < 60, np.r_[Y, Y], -1)
    said[:2] = 1 - Y[:2]
    model, options = write_model(tmp_path / "model.onnx"), {"device": "cpu"}
    result = debias(model, (X, Y), HELD[:2], attribute=said, **options)
    assert result.state == "kept"
    assert "makes no difference that can be told: " in result.headline()
    (groups,) = result.outcome.groups
    assert (groups.source, groups.counts) == ("labelled", "labels")
    assert sum(row.n for row in groups.rows) == 60
    assert "labels" in result._repr_html_()
    assert "<th>samples</th>" not in result._repr_html_()
    forced = debias(
        model,
        (X, Y),
        HELD[:2],
        attribute=said,
        settings=DebiasSettings(otherwise="new head"),
        **options,
    )
    assert forced.state == "written"


@pytest.mark.more
def test_answers_on_errors_that_nothing_reads_buy_no_bad_head():
    """Of the samples asked about the model errs on half, so any other head looks better on them."""
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 2, (2, 800))
    Z, noise = rng.normal(size=(800, 30)), rng.normal(size=(800, 3))
    Z[:, 0] += 2 * y
    original = retrain_head(Z[:400], y[:400], class_weight=None, C=0.01)
    wrong = original.predict(Z) != y
    values = np.full(800, -1, dtype=object)
    for some in (np.flatnonzero(wrong)[::2], np.flatnonzero(~wrong)[::10]):
        values[some] = a[some]
    known = completed(values, (y[:400], y[400:]), noise)
    sets = Rows.of(Z[:400], y[:400]), Rows.of(Z[400:], y[400:])
    made, name, _ = compared(known, sets, original)
    assert not known.is_read
    assert made.groups_of(name)[0] is not None
    costs = made.costs_of(name)
    assert all(cost.cost_high < 0.05 for cost in costs if cost.helps(0.05))


@pytest.mark.more
def test_opposite_labels_have_another_hash(tmp_path):
    model, hashes, numbers = write_model(tmp_path / "model.onnx"), set(), np.arange(N)
    for turned in (0, 1):
        labels = np.where(numbers % 7 == 0, (numbers // 14 + turned) % 2, -1)
        options = {"settings": DebiasSettings(otherwise="new head"), "device": "cpu"}
        result = debias(model, (X, Y), HELD[:2], attribute=labels, **options)
        hashes.add(result.model.metadata["ntkit.answers_sha256"])
    assert len(hashes) == 2
