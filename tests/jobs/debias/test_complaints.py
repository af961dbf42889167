"""Complaints and traffic: unseen complaints are fixed, other answers stay, or nothing happens."""

import json
import shlex

import numpy as np
import pytest

from ntkit import FrozenModel, OnnxEmbedder, debias
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from tests.cases import done, ntkit, refused

MODEL = marked_digits_model_path()


@pytest.fixture(scope="module")
def asked(digits):
    """Complaints, samples that the model gets right, and more complaints without labels."""
    frozen = FrozenModel.load(MODEL)
    answers = frozen.head.predict(OnnxEmbedder(frozen, device="cpu").transform(digits.X_validation))
    wrong = np.flatnonzero(answers != digits.y_validation)
    right = np.flatnonzero(answers == digits.y_validation)
    sets = [(digits.X_validation[rows], digits.y_validation[rows]) for rows in (wrong[:40], right)]
    return [*sets, digits.X_validation[wrong[40:]]]


@pytest.fixture(scope="module")
def folder(digits, asked, tmp_path_factory):
    """Files of a user: a model, complaints, unrelated samples with wrong labels, and traffic."""
    folder = tmp_path_factory.mktemp("complaints")
    (X, y), (others, labels), _ = asked
    some = np.random.default_rng(0).permutation(len(others))[:30]
    np.savez(folder / "complaints.npz", X=X, y=y)
    np.savez(folder / "unrelated.npz", X=others[some], y=1 - labels[some])
    np.savez(folder / "traffic.npz", X=digits.X_train)
    return folder


def test_unseen_complaints_are_fixed_and_other_answers_stay(digits, folder, monkeypatch):
    monkeypatch.chdir(folder)
    options = ["complaints.npz", "--keep", "traffic.npz", "-o", "out", "--device", "cpu"]
    lines = done("debias", MODEL, *options)[0].splitlines()
    assert lines[0].startswith("Wrote out/debiased.onnx")
    record = json.loads((folder / "out" / "result.json").read_text())
    chosen = record["by_limit"]["0.02"]
    assert (record["state"], record["n_complaints"]) == ("written", 40)
    assert lines[1].startswith(f"Unseen complaints fixed, cross-fitted: {chosen['fixed']} of 40 ")
    assert f"{round(chosen['changed'] * 2700)} of 2700" in lines[4]

    # What it says of unseen complaints and traffic holds for samples that nobody showed it.
    old, new = (FrozenModel.load(path) for path in (MODEL, folder / "out" / "debiased.onnx"))
    Z = OnnxEmbedder(old, device="cpu").transform(
        np.concatenate([digits.X_test, digits.X_validation])
    )
    before, after = old.head.predict(Z), new.head.predict(Z)
    n = len(digits.y_test)
    complaints = before[:n] != digits.y_test
    fixed = (after[:n] == digits.y_test)[complaints].mean()
    assert abs(fixed - chosen["fixed"] / 40) < 0.15
    assert (before[n:] != after[n:]).mean() <= 2 * 0.02

    command = shlex.split(lines[5].removeprefix("Next: ntkit "))
    assert "The two models differ on" in done(*command)[0]


def test_unrelated_errors_are_refused_and_nothing_is_written(folder, monkeypatch):
    monkeypatch.chdir(folder)
    options = ["unrelated.npz", "--keep", "traffic.npz", "-o", "none", "--device", "cpu"]
    code, out, _ = ntkit("debias", MODEL, *options)
    assert code == 1
    assert "found no common direction of these 30 complaints" in out.splitlines()[0]
    assert not (folder / "none").exists()
    done(*shlex.split(out.splitlines()[-1].split("ntkit ")[-1]))


def test_a_cause_without_direction_is_left_out_by_name(digits, asked):
    """Real complaints 1 → 0, next to samples 0 → 1 that are right but for their label."""
    (X, y), (others, labels), _ = asked
    unrelated = others[labels == 0][:20]
    result = debias(
        MODEL,
        (np.concatenate([X[y == 0], unrelated]), np.repeat([0, 1], [(y == 0).sum(), 20])),
        keep=digits.X_train,
        device="cpu",
    )
    used = {cause.name: cause.used for cause in result.repair.causes}
    assert (result.state, used) == ("written", {"1 → 0": True, "0 → 1": False})
    assert "of 20 fixed; left out, because no common direction was found" in result.summary()
    assert f"towards {(y == 0).sum()} complaints" in result.headline()


def test_what_is_no_complaint_and_what_is_no_traffic(digits, asked):
    (X, y), (others, labels), unseen = asked
    both = (np.concatenate([X, others[:3], X[:1]]), np.concatenate([y, labels[:3], y[:1]]))
    traffic = np.concatenate([digits.X_train, X[:7]])
    result = debias(MODEL, both, keep=traffic, device="cpu")
    assert (result.n_traffic, result.repair.folds.n) == (2700, 40)
    notes = " ".join(result.notes)
    assert "3 complaints left out: the model's answer is right." in notes
    assert "1 complaint left out: the same content" in notes
    assert "7 samples of the traffic left out" in notes
    plain = debias(MODEL, (X, y), keep=digits.X_train, device="cpu")
    assert plain.headline() == result.headline()

    # Unseen complaints in the traffic change as surely as those of the user.
    more = debias(MODEL, (X, y), keep=np.concatenate([digits.X_train, unseen]), device="cpu")
    assert more.repair.choice.n_alike > plain.repair.choice.n_alike
    assert f"{more.repair.choice.n_alike} of them change as surely" in more.summary()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n": 4}, "4 complaints that the model gets wrong: at least 5"),
        ({"validation": (np.zeros((2, 1, 20, 20)), [0, 1])}, "validation cannot be combined"),
        ({"method": "auto"}, "method cannot be combined with keep"),
        ({"max_cost": 0}, "max_cost must be a share above 0"),
        ({"complaints_only": True}, "no samples besides the complaints"),
        ({"n_traffic": 49}, "49 samples besides the complaints, and at least 50 are needed"),
        ({"n_traffic": 49, "max_cost": 0.01}, "at least 100 are needed"),
    ],
)
def test_refused(digits, asked, options, says):
    X, y = asked[0]
    n, options = options.pop("n", 40), dict(options)
    traffic = digits.X_train[: options.pop("n_traffic", None)]
    traffic = X if options.pop("complaints_only", False) else traffic
    with pytest.raises(InputError, match=says):
        debias(MODEL, (X[:n], y[:n]), keep=traffic, device="cpu", **options)


def test_the_command_names_what_does_not_go_with_keep(folder):
    files = ["debias", MODEL, folder / "complaints.npz", "--keep", folder / "traffic.npz"]
    refused(*files, "-o", folder / "no", "--spurious", "word:film", says="--spurious cannot be")
    refused(*files, says="a folder")
