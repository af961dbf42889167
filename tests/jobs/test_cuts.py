"""An attribute that is cut at a quantile stays cut there: in answers, and on any other samples."""

import json
from dataclasses import replace

import numpy as np
import pytest

import ntkit
from ntkit import DebiasSettings, FrozenModel, check, debias
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, read_samples
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.jobs.audit import read_answers
from ntkit.samples.samples import Samples
from tests import models
from tests.cases import write_images

DIGITS = marked_digits_model_path()
CORNER = "image:top right brightness above the median"  # no finding
QUICK = {"device": "cpu", "settings": DebiasSettings(otherwise="new head")}
LOOSE = {"average": 5}


def corner(X):
    """Mean of the third of nine parts: 20 pixels are split into 7, 7 and 6."""
    return X[:, 0, :7, 14:].mean(axis=(1, 2))


def saved(folder, answers, **other):
    path = folder / "answers.json"
    path.write_text(json.dumps(answers.as_dict() | other))
    return path


def sizes(found):
    return {row.name: row.n for row in found.rows}


@pytest.fixture(scope="module")
def data(digits):
    return digits.X_validation[:400], digits.y_validation[:400]


@pytest.fixture(scope="module")
def audited(data):
    return ntkit.audit_model(DIGITS, data, device="cpu", changes=0)


def test_check_cuts_other_images_where_the_audit_did(audited, data, digits, tmp_path):
    cut = np.median(corner(data[0]))
    order = np.argsort(corner(digits.X_test[:300]))
    file = saved(tmp_path, audited.answers(CORNER))
    for rows in (order, order[:100]):  # all, and the darkest
        X, y = digits.X_test[rows], digits.y_test[rows]
        found = check(DIGITS, DIGITS, (X, y), limits=LOOSE, answers=file, slices=[CORNER])
        above = corner(X) > cut
        assert sizes(found)[CORNER] == above.sum() != len(X) / 2
        for label in (0, 1):
            expected = (above & (y == label)).sum()
            assert sizes(found).get(f"{label} × {CORNER}", 0) == expected
        assert not any("is cut by the values" in note for note in found.notes)


def test_answers_without_a_cut_are_read_as_before_and_a_note_says_so(audited, data, tmp_path):
    content = audited.answers(CORNER).as_dict()
    for answer in content["answers"]:
        answer.pop("rules", None)
    (tmp_path / "old.json").write_text(json.dumps(content))
    X, y = (part[np.argsort(corner(data[0]))[:100]] for part in data)
    found = check(
        DIGITS, DIGITS, (X, y), limits=LOOSE, answers=tmp_path / "old.json", slices=[CORNER]
    )
    assert sizes(found)[CORNER] == 50
    assert any("is cut by the values of these 100 samples" in note for note in found.notes)


def test_large_image_files_are_measured_by_check_as_by_the_audit(tmp_path):
    """Sharpness of a whole image is another number than that of a reduced one."""
    rng = np.random.default_rng(0)
    X = rng.random((40, 1, 300, 300)) * np.linspace(0.2, 1, 40)[:, None, None, None]
    write_images(tmp_path / "all", X, np.arange(40) % 2)
    name = "image:sharpness above the median"
    audited = ntkit.audit_model(DIGITS, tmp_path / "all", device="cpu", changes=0)
    file = saved(tmp_path, audited.answers(name))
    everything = check(DIGITS, DIGITS, tmp_path / "all", limits=LOOSE, answers=file, slices=[name])
    assert sizes(everything)[name] == 20
    write_images(tmp_path / "some", X[-12:], np.arange(12) % 2)  # the sharpest
    found = check(DIGITS, DIGITS, tmp_path / "some", limits=LOOSE, answers=file, slices=[name])
    assert sizes(found)[name] == 12


def test_images_are_measured_as_the_model_sees_them(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.random((40, 1, 301, 330)) * np.linspace(0.2, 1, 40)[:, None, None, None]
    y = np.arange(40) % 2
    write_images(tmp_path / "files", X, y)
    model = FrozenModel.load(DIGITS)
    steps = ImagePreprocessing.for_model(model)
    seen = read_samples(tmp_path / "files", preprocessing=steps).X[:]
    of_files = ntkit.audit_model(DIGITS, tmp_path / "files", device="cpu", changes=0)
    name = "image:sharpness high"
    for images in (seen, (seen * 255).round().astype(np.uint8)):
        images = images[:, 0]
        of_arrays = ntkit.audit(np.sort(y), 1 - np.sort(y), images=images, trust_inputs=True)
        rules = [each.rule(name) for each in (of_files, of_arrays)]
        assert {rule.layer for rule in rules} == {"image with a shorter side of 20"}
        assert rules[1].offsets == pytest.approx(rules[0].offsets, rel=0.01)
    # An audit without the model measures the files, so its cut is that of other images.
    pixels = (X[np.argsort(y, kind="stable"), 0] * 255).round().astype(np.uint8)
    large = ntkit.audit(np.sort(y), 1 - np.sort(y), images=pixels, trust_inputs=True)
    assert large.rule(name).layer == "image with a shorter side of 301"
    file = saved(tmp_path, large.answers(name))
    with pytest.raises(
        InputError, match="shorter side of 301, and here image with a shorter side of 20"
    ):
        check(DIGITS, DIGITS, tmp_path / "files", limits=LOOSE, answers=file, slices=[name])


@pytest.mark.more
def test_files_of_answers_with_other_cuts_are_refused(audited, digits, tmp_path):
    X, y = digits.X_test[:300], digits.y_test[:300]
    dark = np.argsort(corner(X))[:200]
    other = ntkit.audit_model(DIGITS, (X[dark], y[dark]), device="cpu", changes=0)
    sets = [(digits.X_train[:200], digits.y_train[:200]), (X, y)]
    answers = [each.answers(CORNER) for each in (audited, other)]
    with pytest.raises(InputError, match=f"cut '{CORNER}' at different values"):
        debias(DIGITS, *sets, answers=answers, **QUICK)
    debias(DIGITS, *sets, answers=[answers[0], saved(tmp_path, answers[0])], **QUICK)


def test_a_conjunction_keeps_the_cut_of_its_part(data, digits, tmp_path):
    site = np.where(np.arange(400) % 3, "A", "B")
    audited = ntkit.audit_model(DIGITS, data, metadata={"site": site}, device="cpu", changes=0)
    name = f"{CORNER} and metadata:site=A"
    file = saved(tmp_path, audited.answers(name))
    X, y = digits.X_test[:200], digits.y_test[:200]
    found = check(
        DIGITS,
        DIGITS,
        (X, y),
        limits=LOOSE,
        answers=file,
        slices=[name],
        metadata={"site": site[:200]},
    )
    both = (corner(X) > np.median(corner(data[0]))) & (site[:200] == "A")
    assert sizes(found)[name] == both.sum()


@pytest.fixture(scope="module")
def repaired(digits, tmp_path_factory):
    out = tmp_path_factory.mktemp("repaired") / "out"
    sets = [(digits.X_train[:300], digits.y_train[:300])]
    sets += [(digits.X_validation[:300], digits.y_validation[:300])]
    debias(DIGITS, *sets, spurious=CORNER, out=out, **QUICK)
    return out / "answers.json", np.median(np.concatenate([corner(X) for X, _ in sets]))


@pytest.mark.more
def test_check_and_another_repair_cut_where_a_repair_did(repaired, digits):
    file, cut = repaired
    X, y = digits.X_test[:300], digits.y_test[:300]
    found = check(DIGITS, DIGITS, (X, y), limits=LOOSE, answers=file)
    for label in (0, 1):
        expected = ((corner(X) > cut) & (y == label)).sum()
        assert sizes(found)[f"{label} × {CORNER}"] == expected
    order = np.argsort(corner(X))[:240]  # dark ones
    dark = X[order], y[order]
    halves = [tuple(part[at::2] for part in dark) for at in (0, 1)]
    result = debias(DIGITS, *halves, answers=file, **QUICK)
    (counted,) = [note for note in result.notes if note.startswith(f"{CORNER}, ")]
    n_above = int((corner(dark[0]) > cut).sum())
    assert f"{n_above} on {CORNER}" in counted
    assert n_above < 120


@pytest.mark.more
def test_a_layer_that_the_user_names_keeps_its_cut_and_its_model(digits, tmp_path):
    name = "layer:relu_3 #42 mean above the median"
    sets = [(X[:200], y[:200]) for X, y in (
        (digits.X_train, digits.y_train), (digits.X_validation, digits.y_validation)
    )]  # fmt: skip
    debias(DIGITS, *sets, spurious=name, out=tmp_path / "out", **QUICK)
    answers = read_answers(tmp_path / "out" / "answers.json")
    assert [*answers.rules] == [name]
    assert answers.model == FrozenModel.load(DIGITS).sha256()
    again = debias(DIGITS, *sets, answers=answers, **QUICK)
    assert any(f"200 on {name}" in note for note in again.notes)
    with pytest.raises(InputError, match="other"):
        debias(DIGITS, *sets, answers=replace(answers, model="0" * 64), **QUICK)


def test_check_reads_rows_of_numbers_where_the_audit_cut_them(tmp_path):
    model = FrozenModel.load(models.save(models.classifier(3), tmp_path / "m.onnx"))
    X = models.inputs(300)
    y = np.arange(300) % 3
    audited = ntkit.audit_model(model, (X, y), device="cpu", changes=0, trust_inputs=True)
    name = "input #1 above the median"
    cut = np.median(X[:, 1])
    file = saved(tmp_path, audited.answers(name))
    rows = np.argsort(X[:, 1])[:200]
    found = check(model, model, (X[rows], y[rows]), limits=LOOSE, answers=file, slices=[name])
    above = X[rows, 1] > cut
    assert sizes(found)[name] == above.sum() == 50
    for label in range(3):
        assert sizes(found)[f"{label} × {name}"] == (above & (y[rows] == label)).sum()


def test_rows_of_numbers_have_names_without_answers_too(tmp_path):
    model = FrozenModel.load(models.save(models.classifier(3), tmp_path / "m.onnx"))
    X, name = models.inputs(100), "input #1 high"
    found = check(model, model, (X, np.arange(100) % 3), limits=LOOSE, slices=[name])
    assert sizes(found)[name] == 25
    with pytest.raises(InputError, match="input #"):
        check(model, model, (X, np.arange(100) % 3), limits=LOOSE, slices=["input #99 high"])


def test_a_rule_holds_for_files_of_other_sizes_that_the_model_sees_alike(tmp_path):
    rng, steps = np.random.default_rng(0), ImagePreprocessing(resize=24, channels=1)
    sets = []
    for side in (48, 96):
        X = rng.random((12, 1, side, side)) * np.linspace(0.2, 1, 12)[:, None, None, None]
        write_images(tmp_path / f"{side}", X, np.arange(12) % 2)
        sets.append(read_samples(tmp_path / f"{side}", preprocessing=steps))
    name = "image:brightness above the median"
    rule = AttributeReader(sets[:1]).rule(name)
    assert rule.layer == "image with a shorter side of 24"
    assert 0 < AttributeReader(sets[1:]).values(name, {name: rule}).sum() < 12


def test_a_rule_of_a_shorter_side_holds_for_arrays_of_this_size(tmp_path):
    rng, steps = np.random.default_rng(0), ImagePreprocessing(resize=24, channels=1)
    X = rng.random((12, 1, 48, 48)) * np.linspace(0.2, 1, 12)[:, None, None, None]
    write_images(tmp_path / "files", X, np.arange(12) % 2)
    files = read_samples(tmp_path / "files", preprocessing=steps)
    arrays = Samples(files.X[:], files.y)
    name = "image:brightness above the median"
    rule = AttributeReader([files]).rule(name)
    assert np.array_equal(
        AttributeReader([arrays]).values(name, {name: rule}),
        AttributeReader([files]).values(name, {name: rule}),
    )


@pytest.mark.parametrize("name", ["image:size high", "image:aspect ratio above the median"])
def test_sizes_are_of_files_alone(tmp_path, name):
    rng, steps = np.random.default_rng(0), ImagePreprocessing(resize=(24, 24), channels=1)
    for i in range(12):  # half of them lie, half of them stand
        sides = (24, 48) if i % 2 else (48, 24)
        write_images(tmp_path, rng.random((1, 1, *sides)), [i], names=range(12))
    files = read_samples(tmp_path, preprocessing=steps)
    rule = AttributeReader([files]).rule(name)
    arrays = Samples(files.X[:], files.y)
    for sets in ([arrays], [files, arrays]):
        for rules in (None, {name: rule}):
            with pytest.raises(InputError, match="of the size of image files"):
                AttributeReader(sets).values(name, rules)
