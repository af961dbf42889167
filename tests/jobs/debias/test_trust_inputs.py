"""A model that is no better than guessing stops a job: its inputs are likely not its own."""

import numpy as np
import pytest
from PIL import Image

from ntkit import audit_model, debias
from ntkit.cli import main
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing
from ntkit.jobs.audit import like_a_guess

HINT = "preprocessing may differ from the model's.*--mean and --std.*ntkit parity.*--trust-inputs"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    data, place = load_marked_digits(), tmp_path_factory.mktemp("images")
    for part in ("train", "validation"):
        X, y = getattr(data, f"X_{part}")[:600], getattr(data, f"y_{part}")[:600]
        for i, (image, label) in enumerate(zip(X, y, strict=True)):
            file = place / part / str(label) / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((255 * image[0]).round().astype(np.uint8)).save(file)
    return place


def steps(mean, std):
    return ImagePreprocessing((20, 20), channels=1, mean=(mean,), std=(std,))


@pytest.mark.parametrize(
    ("mean", "std", "problem"),
    [
        (2, 1, "right on none of the .* of class 1"),
        (0.5, 0.5, "mean class accuracy on the validation set is .*; guessing has"),
    ],
)
def test_wrong_preprocessing_stops_it(folders, mean, std, problem):
    model, wrong = marked_digits_model_path(), {"preprocessing": steps(mean, std), "device": "cpu"}
    sets = folders / "train", folders / "validation"
    with pytest.raises(InputError, match=f"{problem}.*{HINT}"):
        debias(model, *sets, method="neurontune", **wrong)
    with pytest.raises(InputError, match=f"{problem}.*{HINT}"):
        audit_model(model, sets[1], **wrong)
    trusted = audit_model(model, sets[1], **wrong, trust_inputs=True)
    assert any("guessing" in note for note in trusted.notes)


def test_the_command_goes_on_if_told_to(folders, tmp_path, capsys):
    job = ["debias", str(marked_digits_model_path()), "-o", str(tmp_path / "out"), "--mean", "2"]
    job += ["--train", str(folders / "train"), "--validation", str(folders / "validation")]
    job += ["--device", "cpu", "--method", "neurontune", "--quiet"]
    with pytest.raises(SystemExit) as stopped:
        main(job)
    assert stopped.value.code == 2
    assert "right on none" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main([*job, "--trust-inputs"])
    assert done.value.code in (0, 1)
    assert "right on none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("n_of_class", "n_right", "stops"),
    [
        ((300, 300), (150, 150), False),  # a shortcut alone decides; in both classes, on one side
        ((300, 300), (300, 6), True),  # nearly always the same class
        ((300, 3), (290, 0), False),  # too few to tell
        ((300, 20), (290, 0), True),
    ],
)
def test_a_biased_model_and_a_tiny_class_go_on(n_of_class, n_right, stops):
    y = np.repeat([0, 1], n_of_class)
    right = np.concatenate([np.arange(n) < k for n, k in zip(n_of_class, n_right, strict=True)])
    pred = np.where(right, y, 1 - y)
    good = np.tile([0, 1], 300)
    assert (like_a_guess(y, pred, 2, (good, good)) is not None) == stops
    assert (like_a_guess(y, pred, 2) is not None) == stops


def test_quiet_hides_no_assumption_and_no_overlap(folders, tmp_path, capsys):
    job = ["debias", str(marked_digits_model_path()), "--train", str(folders / "train")]
    job += ["--validation", str(folders / "train"), "--method", "class-balanced", "--device", "cpu"]
    for i, more in enumerate(([], ["--json"])):
        with pytest.raises(SystemExit):
            main([*job, "-o", str(tmp_path / str(i)), "--quiet", *more])
        out, err = capsys.readouterr()
        told = err if more else out
        table = (tmp_path / "0" / "table.md").read_text("utf-8")
        assert "Images: resized to 20 x 20" in (told if more else table)
        assert "600 of 600 validation samples (100 %) are also in the training set" in told
