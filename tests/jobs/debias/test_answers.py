"""Answers on single samples, groups that are known of some: matched, inferred, balanced over."""

import csv
import json
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from ntkit import FrozenModel, OnnxEmbedder, debias
from ntkit.attributes import Attribute
from ntkit.cli import main
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.estimators import AutoDebiasClassifier, DFRClassifier, retrain_head
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, Samples, read_samples
from ntkit.jobs.audit import AttributeReader
from ntkit.jobs.debias._accuracy_cost import accuracy_cost_of
from ntkit.jobs.debias._candidates import asked_for
from ntkit.jobs.debias._comparison import Comparison, LabelledEmbeddings
from ntkit.jobs.debias._named_attributes import PartlyKnown, partly_known
from ntkit.jobs.label import label_samples
from ntkit.metrics import worst_group_accuracy
from tests.jobs.label.models import rows, write_model

X, Y, MARK = rows()
HELD = rows(1)
PARTIAL = np.where(np.arange(len(Y)) < 60, MARK, -1)


BOTH = np.concatenate([X, HELD[0]])
NOISE = np.random.default_rng(0).normal(size=BOTH.shape)


def completed(values, y, feature_set, *, crossed=True):
    given = PartlyKnown(Attribute.from_labels("mark", values), crossed)
    return given.completed(y, {"feature_set": feature_set}, 0)


def comparison(values, feature_set=BOTH, *, crossed=True):
    """A comparison of candidates, which standardises embeddings; and its settings."""
    known = completed(values, (Y, HELD[1]), feature_set, crossed=crossed)
    made = Comparison(
        LabelledEmbeddings(X, Y), LabelledEmbeddings(HELD[0], HELD[1]), None, head=None, known=known
    )
    return made, asked_for(AutoDebiasClassifier(), None, partly_known=True)


@pytest.mark.parametrize(("feature_set", "name"), [(BOTH, "feature_set"), (NOISE, None)])
def test_the_candidate_is_dfr_on_partial_attributes(feature_set, name):
    """Of noise nothing is inferred: the known samples alone are fitted."""
    values = np.concatenate([PARTIAL, np.full(len(Y), -1)]).astype(object)
    made, (settings, chosen) = comparison(values, feature_set=feature_set)
    assert (chosen, made.known.inference.feature_set_) == ("group-balanced", name)
    clf, _ = made.fit(settings[chosen])
    Z, y = np.concatenate([made.train.Z, made.validation.Z]), np.concatenate([Y, HELD[1]])
    own = DFRClassifier(variant="weighted", C=None, random_state=0)
    with (
        nullcontext()
        if name
        else pytest.warns(UserWarning, match="No feature set predicts the attribute")
    ):
        own.fit(Z, y, attribute=values, feature_sets=feature_set)
    np.testing.assert_allclose(clf.coef_, own.coef_, rtol=1e-6)
    np.testing.assert_allclose(clf.intercept_, own.intercept_, rtol=1e-6)


def test_groups_that_are_all_known_are_dfrs():
    groups = np.concatenate([2 * Y + MARK, 2 * HELD[1] + HELD[2]])
    made, (settings, name) = comparison(groups.astype(object), crossed=False)
    clf, _ = made.fit(settings[name])
    own = DFRClassifier(variant="weighted", C=None, random_state=0)
    own.fit(
        np.concatenate([made.train.Z, made.validation.Z]),
        np.concatenate([Y, HELD[1]]),
        groups=groups,
    )
    np.testing.assert_allclose(clf.coef_, own.coef_, rtol=1e-6)
    assert "which are all" in made.known.source_note()


def test_a_head_is_judged_by_halves_that_it_has_not_seen():
    values = np.concatenate([PARTIAL, np.full(len(Y), -1)]).astype(object)
    made, (settings, name) = comparison(values)
    clf, _ = made.fit(settings[name])
    made.row(name, settings[name], clf)
    seen = [half for half, _ in made.halves]
    for head, half in zip(made._half_heads[name], seen, strict=True):
        alone = made.known.fit(
            DFRClassifier(variant="weighted", C=None, random_state=0), made._study_with(half), half
        )
        assert np.array_equal(head.coef, alone.coef_)
        assert not np.array_equal(head.coef, clf.coef_)


# -- matching ----------------------------------------------------------------------------------


def pool(names=None, tables=None):
    """Twelve training samples and eight validation samples."""
    sizes = (12, 8)
    parts = []
    for i, n in enumerate(sizes):
        ids = None if names is None else np.array(names[i])
        own = X[100 * i : 100 * i + n]
        parts.append(Samples(own, Y[:n], ids=ids))
    return AttributeReader(parts)


NAMES = ([f"a/{i}.png" for i in range(12)], [f"b/{i + 20}.png" for i in range(8)])


def write(path, header, lines):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *lines])
    return path


def values_of(pool, **given):
    return partly_known(pool, key=None, **given).attribute.labels.tolist()


@pytest.mark.parametrize("key", ["file_name", "id"])
@pytest.mark.parametrize("short", [False, True])
def test_tables_are_matched_by_name(tmp_path, key, short):
    names = ["a/3.png", "b/21.png", "c/none.png"]
    names = [name.rpartition("/")[2] for name in names] if short else names
    lines = [*zip(names, ["yes", "NO", "yes"], strict=True), ("a/0.png", "?"), ("a/1.png", "")]
    path = write(tmp_path / "labels.csv", [key, "Is it?"], lines)
    expected = [None] * 20
    expected[3], expected[13] = "yes", "NO"
    assert values_of(pool(NAMES), answers=path) == expected
    assert values_of(pool(NAMES), attribute=path) == expected
    assert values_of(pool(NAMES), groups=path) == expected
    assert partly_known(pool(NAMES), answers=path, key=None).attribute.name == "'Is it?'"


def test_tables_and_arrays_have_a_row_for_each(tmp_path):
    column = ["1", "-1", "0", "", *["?"] * 15, "1"]
    path = write(tmp_path / "g.csv", ["group"], [(cell,) for cell in column])
    expected = ["1", None, "0", *[None] * 16, "1"]
    assert values_of(pool(), groups=path) == expected
    path.write_text("\n".join(["group", *column]) + "\n")  # an empty cell is an empty line
    assert values_of(pool(), groups=path) == expected
    assert values_of(pool(), groups={"group": [1.0, -1, 0, *[np.nan] * 16, 1]}) == expected
    assert values_of(pool(), groups=[1, -1, 0, *[-1] * 16, 1]) == expected
    assert values_of(pool(), attribute=[1, None, 0, *[None] * 16, 1]) == expected


def test_answers_are_found_by_content_under_any_name(tmp_path):
    """Rows of arrays have no names, and files of two folders may have the same."""
    model = write_model(tmp_path / "model.onnx")
    held = Samples(X[100:108], Y[:8])
    label_samples(model, held, tmp_path / "o", question="Is it?", device="cpu")
    write(tmp_path / "o" / "labels.csv", ["id", "Is it?"], [("1", "yes"), ("3", "no"), ("5", "?")])
    label_samples(model, held, tmp_path / "o", device="cpu")
    answers = tmp_path / "o" / "answers.json"
    expected = [None] * 20
    expected[13], expected[15] = "yes", "no"
    same = ([f"{i}.png" for i in range(12)], [f"{i}.png" for i in range(8)])
    for names in (None, NAMES, same):
        assert values_of(pool(names), answers=answers) == expected
    content = json.loads(answers.read_text())
    for entry in content["answers"]:
        entry["content"] = entry["content"][::-1]  # of the same images, saved again
        entry["name"] = f"b/{int(entry['name']) + 20}.png"
    answers.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"None of 3 digests in .* --match-names"):
        values_of(pool(NAMES), answers=answers)
    assert values_of(pool(NAMES), answers=answers, match_names=True) == expected
    told = partly_known(pool(NAMES), answers=answers, key=None, match_names=True).left
    assert told == f"{answers}: none of 3 digests belongs to one of these samples; matched by name."


def test_answers_of_other_samples_are_refused(tmp_path):
    """Of the same names, as rows of two tables have."""
    model, out = write_model(tmp_path / "model.onnx"), tmp_path / "o"
    label_samples(model, (X[40:60], Y[40:60]), out, question="Is it?", device="cpu")
    said = ["no" if i % 3 else "yes" for i in range(9)]
    write(out / "labels.csv", ["id", "Is it?"], [(str(i), value) for i, value in enumerate(said)])
    label_samples(model, (X[40:60], Y[40:60]), out, device="cpu")
    numbered = ([str(i) for i in range(12)], [f"{i}" for i in range(12, 20)])
    with pytest.raises(InputError, match="None of 9 digests"):
        values_of(pool(numbered), answers=out / "answers.json")
    content = json.loads((out / "answers.json").read_text())
    for entry in content["answers"]:
        del entry["content"]  # written by hand: by name
    (out / "answers.json").write_text(json.dumps(content))
    assert values_of(pool(numbered), answers=out / "answers.json") == [*said, *[None] * 11]


def test_what_was_left_out_while_labelling_is_found_by_content(tmp_path):
    """A former training sample may be a validation sample now."""
    model, out = write_model(tmp_path / "model.onnx"), tmp_path / "o"
    ask = {"question": "Is it?", "device": "cpu"}
    label_samples(model, (X[:60], Y[:60]), out, **ask)
    write(out / "labels.csv", ["id", "Is it?"], [("3", "yes"), ("4", "no"), ("5", "no")])
    label_samples(model, (X[:60], Y[:60]), out, **ask)
    label_samples(model, (X[4:60], Y[4:60]), out, **ask)
    moved = AttributeReader([Samples(X[4:40], Y[4:40]), Samples(X[:4], Y[:4])])
    found = values_of(moved, answers=out / "answers.json")
    assert found == ["no", "no", *[None] * 34, *[None] * 3, "yes"]


def test_the_table_of_a_page_is_matched_by_content(tmp_path):
    model, out = write_model(tmp_path / "model.onnx"), tmp_path / "o"
    asking = label_samples(model, (X[:12], Y[:12]), out, question="Is it?", device="cpu")
    with (out / "questions-1.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    lines = [[*line[:-1], "yes" if int(line[0]) % 3 else "no"] for line in lines]
    path = write(tmp_path / "labels.csv", header, lines)
    assert len(asking.asked) == 12
    ids = np.array([str(i) for i in range(20)])  # of rows, as the table has them
    sets = [Samples(X[11::-1], Y[11::-1], ids=ids[:12]), Samples(X[100:108], Y[:8], ids=ids[12:])]
    backwards = AttributeReader(sets)
    expected = ["yes" if i % 3 else "no" for i in range(12)]
    assert values_of(backwards, answers=path)[:12] == expected[::-1]


@pytest.mark.parametrize("option", ["attribute", "groups", "answers"])
def test_one_content_is_not_of_two_values(tmp_path, option):
    """Two files of the same bytes, of one class; of two classes the groups differ rightly."""
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    images[13] = images[2]
    sets = [
        Samples(images[:12], Y[:12], ids=np.array(NAMES[0])),
        Samples(
            images[12:], Y[12:20] if option == "groups" else 1 - Y[12:20], ids=np.array(NAMES[1])
        ),
    ]
    sets[1].y[1] = Y[2]
    lines = [("a/2.png", "yes"), ("b/21.png", "no"), ("a/4.png", "no")]
    path = write(tmp_path / "labels.csv", ["id", "x"], lines)
    with pytest.raises(
        InputError, match=r"'yes' for 'a/2.png' \(training\) and 'no' for 'b/21.png'"
    ):
        values_of(AttributeReader(sets), **{option: path})
    lines[1] = ("b/21.png", "yes")
    assert (
        values_of(AttributeReader(sets), **{option: write(path, ["id", "x"], lines)})[13] == "yes"
    )
    if option == "groups":
        lines[1] = ("b/21.png", "no")
        sets[1].y[1] = 1 - Y[2]
        assert values_of(AttributeReader(sets), groups=write(path, ["id", "x"], lines))[13] == "no"


@pytest.mark.parametrize(
    ("names", "header", "lines", "message"),
    [
        (NAMES, ["id", "x"], [("zzz", "yes")], "has no label of any training or validation"),
        (NAMES, ["id", "x"], [("a/3.png", "?")], "names 1 of the training .* none has a label"),
        (NAMES, ["id", "x"], [(n, n) for n in NAMES[0][:11]], "11 different values in 11"),
        (
            NAMES,
            ["id", "x"],
            [("a/3.png", "1"), ("a/3.png", "0")],
            "'a/3.png' has the label '0' here and '1' above",
        ),
        (
            NAMES,
            ["id", "x", "y"],
            [("a/3.png", "1", "2")],
            "no column 'attribute'. Besides .* it has 'x'",
        ),
        (NAMES, ["id"], [("a/3.png",)], "no column. Rename"),
        (NAMES, ["x"], [("1",), ("0",)], "2 rows for 20 training"),
        (None, ["id", "x"], [("3", "yes")], "these samples have no names"),
        ((NAMES[0], NAMES[0][:8]), ["id", "x"], [("a/3.png", "1")], "2 samples have this name"),
    ],
)
def test_what_cannot_be_matched_is_named(tmp_path, names, header, lines, message):
    path = write(tmp_path / "labels.csv", header, lines)
    with pytest.raises(InputError, match=message) as error:
        partly_known(pool(names), attribute=path, key=None)
    assert "\n" not in str(error.value)


def test_values_that_differ_in_case_alone_are_one(tmp_path):
    lines = [("a/3.png", "Yes"), ("a/4.png", "yes"), ("a/5.png", "no"), ("a/6.png", "YES")]
    found = values_of(pool(NAMES), answers=write(tmp_path / "a.csv", ["id", "x"], lines))
    assert found[3:7] == ["Yes", "Yes", "no", "Yes"]


def test_what_goes_with_no_sample_is_told(tmp_path):
    lines = [("a/3.png", "yes"), ("a/4.png", "no"), ("a/5.png", "no"), ("cat", "no"), ("dog", "?")]
    path = write(tmp_path / "a.csv", ["id", "x"], lines)
    told = partly_known(pool(NAMES), answers=path, key=None).left
    assert (
        told == f"ntkit left out 1 of 4 labels of {path}, which belongs to no training or "
        "validation sample: 'cat'."
    )
    path = write(tmp_path / "b.csv", ["id", "x"], lines[:3])
    assert partly_known(pool(NAMES), answers=path, key=None).left == ""


def test_answers_of_other_samples_are_told_and_all_unsure_ones_too(tmp_path):
    """Of the twelve that were labelled eight are in this job."""
    model, out = write_model(tmp_path / "model.onnx"), tmp_path / "o"
    label_samples(model, (X[:12], Y[:12]), out, question="Is it?", device="cpu")
    said = [(str(i), "yes" if i % 3 else "no") for i in range(12)]
    write(out / "labels.csv", ["id", "Is it?"], said)
    label_samples(model, (X[:12], Y[:12]), out, device="cpu")
    fewer = AttributeReader([Samples(X[:8], Y[:8]), Samples(X[100:108], Y[:8])])
    found = partly_known(fewer, answers=out / "answers.json", key=None)
    assert found.left.startswith("ntkit left out 4 of 12 labels of")
    assert "'10', '11'" in found.left
    write(out / "labels.csv", ["id", "Is it?"], [(name, "?") for name, _ in said])
    content = json.loads((out / "answers.json").read_text())
    for entry in content["answers"]:
        entry["answer"] = None
    (out / "answers.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"names 8 of the training .* none has a label"):
        partly_known(fewer, answers=out / "answers.json", key=None)


def test_one_at_a_time_and_of_the_right_length():
    for given, message in (
        ({"attribute": [1] * 20, "groups": [1] * 20}, "takes only one of attribute"),
        ({"attribute": [1, 0]}, "holds 2 values, but there are 20"),
        ({"groups": [-1] * 20}, "groups has no known value"),
    ):
        with pytest.raises(InputError, match=message):
            partly_known(pool(), key=None, **given)


def test_a_class_of_which_nothing_is_known_is_named():
    values = np.full(len(Y) + len(HELD[1]), None, dtype=object)
    values[[0, 2, 4]] = "yes", "yes", "no"
    noise = np.random.default_rng(0).normal(size=(len(values), 3))
    with pytest.raises(InputError, match="No sample of class 1 has a label"):
        completed(values, (Y, HELD[1]), noise)


# -- the whole way -----------------------------------------------------------------------------


def run(capsys, *arguments):
    code = 0
    try:
        main([*map(str, arguments)])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(scope="module")
def folders(tmp_path_factory, digits):
    """Images of both sets, and which of them have the mark, by file."""
    path = tmp_path_factory.mktemp("images")
    marked = {}
    for part, n in (("train", 900), ("validation", 700)):
        X, y = getattr(digits, f"X_{part}")[:n], getattr(digits, f"y_{part}")[:n]
        groups = getattr(digits, f"groups_{part}")
        for i, (image, label) in enumerate(zip(X, y, strict=True)):
            file = path / part / f"{label}" / f"{part}-{i:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 255).round().astype(np.uint8)).save(file)
            marked[f"{label}/{file.name}"] = "yes" if groups[i] % 2 else "no"
    return path, marked


def worst(digits, path):
    model = FrozenModel.load(path)
    Z = OnnxEmbedder(model, device="cpu").transform(digits.X_test)
    return worst_group_accuracy(digits.y_test, model.head.predict(Z), groups=digits.groups_test)


def job(folders, out):
    images, model = folders[0], marked_digits_model_path()
    sets = ["--train", images / "train", "--validation", images / "validation"]
    return ["debias", model, *sets, "--device", "cpu", "--quiet", "-o", out]


def test_from_questions_to_a_repaired_model(capsys, folders, digits, tmp_path):
    """ntkit label, a person, ntkit debias: the file that is written is better on other samples."""
    images, marked = folders
    model, out = marked_digits_model_path(), tmp_path / "mark"
    question = "Is there a bright mark in the corner?"
    ask = ["label", model, images / "train", "-o", out, "--quiet", "--device", "cpu"]
    code, printed, err = run(capsys, *ask, "--question", question)
    assert (code, "Label 48 samples" in printed) == (0, True), err
    with (out / "questions-1.csv").open(newline="") as file:
        asked = [row["id"] for row in csv.DictReader(file)]
    page = write(out / "labels.csv", ["id", question], [(n, marked[n]) for n in asked])
    code, printed, err = run(capsys, *ask, "--json")
    told = json.loads(printed)
    assert (code, told["n_answers"], told["feature_set"] is None) == (0, 48, False), err

    command = [*job(folders, tmp_path / "repaired"), "--verbose"]
    code, printed, err = run(capsys, *command, "--answers", out / "answers.json")
    assert code == 0, err
    headline, head, *_ = printed.splitlines()
    assert "Validation set, worst group: " in headline
    assert head.startswith("group-balanced: ")
    assert f"{question!r} (inferred from 48 labels): known for 48 training" in printed
    assert "Accuracy of the worst group among the 48 labelled samples" in printed
    record = json.loads((tmp_path / "repaired" / "result.json").read_text())
    report, card = ((tmp_path / "repaired" / n).read_text() for n in ("report.html", "README.md"))
    accuracy_cost = record["accuracy_cost"]
    assert (accuracy_cost["n_known"], accuracy_cost["n_inferred"]) == (
        0,
        700,
    )  # no validation sample has a label
    n, name = accuracy_cost["worst_named"]["count"], accuracy_cost["worst_named"]["name"]
    sentence = f"of the {n} of {name} ({n} of them inferred)"
    assert all(sentence in text for text in (printed, record["named_outcome"], report, card))
    assert worst(digits, tmp_path / "repaired" / "debiased.onnx") > worst(digits, model) + 0.15

    steps = ImagePreprocessing.for_model(FrozenModel.load(model))
    sets = [read_samples(images / part, preprocessing=steps) for part in ("train", "validation")]
    by_content = partly_known(AttributeReader(sets), answers=out / "answers.json", key=None)
    by_name = partly_known(AttributeReader(sets), answers=page, key=None)
    one, other = by_name.attribute, by_content.attribute
    assert one.labels.tolist() == other.labels.tolist()
    assert (by_name.crossed, one.name) == (by_content.crossed, other.name)


def test_groups_that_exist_for_some_samples(capsys, folders, digits, tmp_path):
    """Labels of every fourth validation image, named by file."""
    lines = [(n, f"{n[0]}, {m}") for n, m in folders[1].items() if "validation" in n][::4]
    path = write(tmp_path / "partial.csv", ["file_name", "who"], lines)
    command = [*job(folders, tmp_path / "out"), "--groups", path]
    code, _, err = run(capsys, *command, "--group-column", "what")
    assert (code, "has no column 'what'" in err) == (2, True)
    assert not (tmp_path / "out").exists()
    code, printed, err = run(capsys, *command, "--group-column", "who", "--json")
    assert code == 0, err
    found = json.loads(printed)
    assert found["balanced_over"] == "your groups (inferred from 175 samples)"
    assert found["chosen"] == "group-balanced"
    notes = " ".join(found["notes"])
    assert "0 training and 175 validation samples" in notes
    assert "flatter" not in notes  # of those that are known, no head has seen any
    assert (found["accuracy_cost"]["n_known"], found["accuracy_cost"]["n_inferred"]) == (175, 525)
    before = worst(digits, marked_digits_model_path())
    assert worst(digits, tmp_path / "out" / "debiased.onnx") > before + 0.15


@pytest.mark.parametrize(
    ("n_known", "said"),
    [
        (None, "the groups that you named"),
        (440, "the groups that you labelled"),
        (30, "the groups, known for 30 validation samples and inferred for 410"),
        (0, "the groups, inferred for all 440 validation samples"),
    ],
)
def test_what_is_said_of_the_groups_is_where_they_are_from(n_known, said):
    y, values = np.repeat([0, 1], 220), np.tile(np.repeat([0, 1], [20, 200]), 2)
    known = None if n_known is None else np.arange(440) < n_known
    groups = Attribute("a", values, ("no", "yes"), known=known).crossed(y, fewest=5)
    wrong = np.where(np.arange(440) % 220 < 20, 1 - y, y)
    accuracy_cost = accuracy_cost_of(1.0, y, np.eye(2)[wrong], y, np.array([0, 1]), None, groups)
    assert accuracy_cost.which_groups == said
    inferred = {None: 0, 440: 0, 30: 0, 0: 20}[n_known]  # of the first 20
    assert accuracy_cost.worst_named_before.n_inferred == inferred
    assert ("of them inferred" in str(accuracy_cost.worst_named_before)) == (inferred > 0)


# -- do no harm --------------------------------------------------------------------------------


def test_what_goes_with_the_class_alone_is_no_attribute():
    """Balanced over it, a head would learn nothing, and might be written for its luck."""
    values = [*Y[:9].tolist(), *[-1] * 11]
    for what in ("attribute", "groups"):
        with pytest.raises(InputError, match="groups cannot be distinguished from classes"):
            partly_known(pool(), key=None, **{what: values})
        partly_known(pool(), key=None, **{what: [1 - Y[0], *values[1:]]})


def test_a_group_that_rests_on_one_answer_judges_nothing():
    """The class once more, but for two answers: balanced over that, errors would be the groups."""
    said = np.where(np.arange(2 * len(Y)) < 60, np.r_[Y, Y], -1).astype(object)
    said[:2] = 1 - Y[:2]
    made, (settings, name) = comparison(said)
    assert made.known.is_read
    clf, _ = made.fit(settings[name])
    made.row(name, settings[name], clf)
    assert made.groups_of(clf) is None
    assert (
        "These groups have too few labels to judge a head: 0 × 1 (1), 1 × 0 (1)."
        in made.known.source_note()
    )
    assert not made.decided(name, clf, max_cost=0.05, learnable=False).accuracy_cost.by_groups
    more = np.where(np.arange(2 * len(Y)) < 200, np.r_[MARK, HELD[2]], -1)
    enough, _ = comparison(more.astype(object))
    assert "too few" not in enough.known.source_note()


def test_three_answers_are_enough_to_fail_on_nothing():
    values = np.full(2 * len(Y), None, dtype=object)
    values[[0, 2, 1]] = "yes", "no", "yes"
    right = np.ones(len(values), dtype=bool)
    known = comparison(values)[0].known
    assert "No group has 5 labelled samples" in known.worst_known(right, right)


def test_where_nothing_is_known_of_the_validation_set_no_groups_of_it_judge():
    values = np.concatenate([PARTIAL, np.full(len(Y), -1)]).astype(object)
    for feature_set, judged in ((BOTH, True), (NOISE, False)):
        made, (settings, name) = comparison(values, feature_set=feature_set)
        clf, _ = made.fit(settings[name])
        made.row(name, settings[name], clf)
        assert (made.groups_of(clf) is not None) == judged
        assert {accuracy_cost.by_groups for accuracy_cost in made.accuracy_costs(name, clf)} == {
            judged
        }


def test_answers_on_errors_that_nothing_reads_buy_no_bad_head():
    """Of the samples asked about the model errs on half, so any other head looks better on them."""
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 2, (2, 800))
    Z, noise = rng.normal(size=(800, 30)), rng.normal(size=(800, 3))
    Z[:, 0] += 2 * y
    train, held = LabelledEmbeddings(Z[:400], y[:400]), LabelledEmbeddings(Z[400:], y[400:])
    original = retrain_head(Z[:400], y[:400], class_weight=None, C=0.01)
    wrong = original.predict(Z) != y
    asked = [np.flatnonzero(wrong)[::2], np.flatnonzero(~wrong)[::10]]
    values = np.full(800, -1, dtype=object)
    for some in asked:
        values[some] = a[some]
    known = completed(values, (train.y, held.y), noise)
    made = Comparison(train, held, None, head=original, known=known)
    settings, name = asked_for(AutoDebiasClassifier(), None, partly_known=True)
    clf, _ = made.fit(settings[name])
    made.row(name, settings[name], clf)
    decision = made.decided(name, clf, max_cost=0.05, learnable=False)
    assert not known.is_read
    assert made.groups_of(clf) is not None
    assert decision.accuracy_cost.cost_high < 0.05 or not decision.helped


def test_after_labels_nothing_is_advised_by_a_score_that_knows_none():
    d, rng = load_marked_digits(), np.random.default_rng(0)
    mark = np.concatenate([d.groups_train, d.groups_validation]) % 2
    labels, some = np.full(len(mark), None, dtype=object), rng.choice(len(mark), 96, replace=False)
    labels[some] = np.where(mark[some] == 1, "yes", "no")
    sets = (d.X_train, d.y_train), (d.X_validation, d.y_validation)
    model, options = marked_digits_model_path(), {"device": "cpu", "n_random": 1}
    labelled = debias(model, *sets, attribute=labels, **options)
    assert labelled.balanced_over
    assert "Suppressing" not in labelled.summary(verbose=True)
    assert labelled.as_dict()["verdict"] is None
    unlabelled = debias(model, *sets, method="auto", **options)
    assert unlabelled.verdict() in unlabelled.summary(verbose=True)
    assert unlabelled.verdict()
