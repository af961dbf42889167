"""An audit stops where classes evidently have another order than the labels, as a repair does."""

import shlex

import numpy as np
import pytest

import ntkit
from ntkit import FrozenModel
from ntkit.exceptions import InputError
from tests.cases import done, refused, write_csv
from tests.cases import ntkit as run
from tests.models import of_columns
from tests.several_labels import LABELS, REPAIRED

NAMES = ["cat", "dog", "horse", "sheep"]
TURNED = ["dog", "horse", "sheep", "cat"]  # the order of the logits
SAYS = "classes seem to be in another order than the labels: accuracy on 400 samples is"
OPTIONS = ("--device", "cpu", "--changes", "0", "--quiet", "--force")
TEXTS = [f"{i}: a {'red' if i % 3 else 'blue'} word" for i in range(400)]


def classifier(path, names):
    """The largest of the first four columns decides; the file may name the classes."""
    return of_columns(path, 4 * np.eye(5, 4), np.zeros(4), names)


def table(path, noise=0.35):
    rng = np.random.default_rng(0)
    at = rng.integers(0, 4, 400)
    X = np.eye(4)[at] + rng.normal(scale=noise, size=(400, 4))
    columns = {f"x{i}": X[:, i] for i in range(4)} | {"x4": rng.random(400)}
    return write_csv(path, columns | {"label": [TURNED[i] for i in at]})


def told(folder):
    """Whether each file of an audit says that the classes have another order."""
    files = [folder / name for name in ("audit.json", "audit.html")]
    return [SAYS in file.read_text("utf-8") for file in files]


@pytest.mark.more
@pytest.mark.parametrize("names", [None, NAMES])
def test_audit_and_debias_stop_alike(tmp_path, names):
    """Whoever named the classes: labels are evidence against names in a file as well."""
    model, data = classifier(tmp_path / "m.onnx", names), table(tmp_path / "t.csv")
    out = ("-o", tmp_path / "out")
    debias = ("debias", model, "--train", data, "--validation", data, "--method", "auto")
    error = refused("audit", model, data, *OPTIONS, *out, says=[SAYS, "--trust-inputs"])
    assert error.startswith(refused(*debias, *out, "--device", "cpu", says="dog,horse,sheep,cat"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=SAYS):
        ntkit.audit_model(model, data, device="cpu", changes=0)
    for more in (("--trust-inputs",), ("--classes", ",".join(NAMES))):
        _, err = done("audit", model, data, *OPTIONS, *out, *more)
        assert SAYS in err
        assert told(tmp_path / "out") == [True, True]
    _, err = done("audit", model, data, *OPTIONS, *out, "--classes", ",".join(TURNED))
    assert SAYS not in err
    assert told(tmp_path / "out") == [False, False]
    for classes, n in ((NAMES, 1), (TURNED, 0)):
        sure = FrozenModel.load(model, classes=classes)
        found = ntkit.audit_model(sure, data, device="cpu", changes=0)
        assert sum(SAYS in note for note in found.notes) == n


def next_words(out):
    """The command that an audit proposes, in words."""
    return shlex.split(out.split("Next: ntkit ")[1].split("\n")[0])


def shortcut(path):
    """Samples of which a quarter, those of site A, are of the classes that NAMES says."""
    rng = np.random.default_rng(0)
    at, own = rng.integers(0, 4, 1200), rng.random(1200) < 0.25
    own &= at < 2
    X = np.eye(4)[at] + rng.normal(scale=0.25, size=(1200, 4))
    columns = {f"x{i}": X[:, i] for i in range(4)} | {"x4": rng.random(1200)}
    labels = [(NAMES if keeps else TURNED)[i] for i, keeps in zip(at, own, strict=True)]
    return write_csv(path, columns | {"label": labels, "site": np.where(own, "A", "B")})


@pytest.mark.more
@pytest.mark.parametrize("more", [("--trust-inputs",), ("--classes", ",".join(NAMES))])
def test_the_next_command_after_a_wrong_order_runs(tmp_path, more):
    """A repair refuses the order that the user insists on, so the line names the other one."""
    model, data = classifier(tmp_path / "m.onnx", NAMES), shortcut(tmp_path / "t.csv")
    columns = ("--columns", "x0,x1,x2,x3,x4")
    out, _ = done("audit", model, data, *OPTIONS, "-o", tmp_path / "a", *columns, *more)
    words = next_words(out)
    assert words[words.index("--classes") + 1] == ",".join(TURNED)
    trusts = "trust_inputs = true" in (tmp_path / "a" / "settings.toml").read_text("utf-8")
    assert trusts == ("--trust-inputs" in more)
    named = {"TRAIN": data, "debiased/": tmp_path / "d"}
    words = [named.get(word, word) for word in words]
    at = words.index("--answers")
    words[at : at + 2] = ["--spurious", "column:site=A"]
    code, _, err = run(*words, "--device", "cpu", "--quiet")
    assert code in (0, 1), err


def test_names_in_the_right_order_are_no_reason_to_stop(tmp_path):
    model, data = classifier(tmp_path / "m.onnx", TURNED), table(tmp_path / "t.csv")
    _, err = done("audit", model, data, *OPTIONS, "-o", tmp_path / "out")
    assert "order than the labels" not in err


def test_a_model_at_chance_is_audited(tmp_path):
    """A model that follows a shortcut alone is at chance where the shortcut is at random."""
    model, data = classifier(tmp_path / "m.onnx", TURNED), table(tmp_path / "t.csv", noise=40)
    out = ("-o", tmp_path / "out")
    says = "mean class accuracy on the validation set is"
    refused("debias", model, data, *out, "--method", "auto", "--device", "cpu", says=says)
    done("audit", model, data, *OPTIONS, *out)


# -- predictions ----------------------------------------------------------------------------------


def labels(accuracy, n=400, n_classes=2):
    """Labels, and predictions of some accuracy; the others are of the next class."""
    y = np.random.default_rng(0).integers(0, n_classes, n)
    return y, np.where(np.arange(n) < accuracy * n, y, (y + 1) % n_classes)


@pytest.mark.parametrize("names", [np.arange(4), np.array(NAMES)])
def test_tables_of_predictions(tmp_path, names):
    y, pred = labels(0.03, n_classes=4)
    for right in (True, False):
        columns = {"text": TEXTS, "label": names[y], "prediction": names[y if right else pred]}
        path = write_csv(tmp_path / "p.csv", columns)
        command = ("audit", "--predictions", path, path, "-o", tmp_path / "out", "--force")
        if right:
            assert SAYS not in done(*command)[1]
            assert told(tmp_path / "out") == [False, False]
            continue
        refused(*command, says=[SAYS, "3 % in", "--classes", "--trust-inputs"])
        for more in (("--trust-inputs",), ("--classes", ",".join(map(str, names)))):
            assert SAYS in done(*command, *more)[1]
            assert told(tmp_path / "out") == [True, True]


def test_columns_of_scores(tmp_path):
    """Scores that count by the order of their columns: either way on is the user's word."""
    y, pred = labels(0.05)
    path = write_csv(tmp_path / "p.csv", {"text": TEXTS, "label": y, "a": 1 - pred, "b": pred})
    command = ("audit", "--predictions", path, path, "-o", tmp_path / "out", "--force")
    wrong, right = ((*command, "--score-columns", names) for names in ("a,b", "b,a"))
    refused(*wrong, says=["another order than the classes", "--classes"])
    for more in (("--trust-inputs",), ("--classes", "0,1")):
        assert SAYS in done(*wrong, *more)[1]
    assert "another order" not in done(*right)[1]


def test_the_function_takes_the_users_word():
    y, pred = labels(0.05)
    for given in ({"pred": pred}, {"scores": np.eye(2)[pred]}):
        with pytest.raises(InputError, match=r"in another order.*trust_inputs=True"):
            ntkit.audit(y, **given, texts=TEXTS)
        for sure in ({"trust_inputs": True}, {"classes": [0, 1]}):
            found = ntkit.audit(y, **given, **sure, texts=TEXTS)
            assert any(SAYS in note for note in found.notes)
            assert found.as_dict()["accuracy"] == pytest.approx(0.05)
    used = np.where(pred == y, 1, 0)  # samples without weight do not count
    assert not ntkit.audit(y, pred, texts=TEXTS, sample_weight=used).notes


@pytest.mark.parametrize(("n", "accuracy"), [(20, 0), (400, 0.35), (400, 0.9)])
def test_few_samples_and_bad_models_of_two_classes_go_on(n, accuracy):
    y, pred = labels(accuracy, n)
    assert not ntkit.audit(y, pred, texts=TEXTS[:n]).notes


# -- several labels -------------------------------------------------------------------------------


def test_each_of_several_labels(five, tmp_path):
    X, Y = five.set("validation")
    names = [*LABELS]
    turned = Y.copy()
    turned[:, 1] = 1 - turned[:, 1]
    says = f"seems to mean the opposite of the label {names[1]!r}: it is right on"
    for label in (None, names[1]):
        options = {"device": "cpu", "changes": 0, "label": label}
        with pytest.raises(InputError, match=f"{says}.*--trust-inputs"):
            ntkit.audit_model(five.model, (X, turned), **options)
        found = ntkit.audit_model(five.model, (X, turned), trust_inputs=True, **options)
        alone = found if label else found[names[1]]
        for each in (found, alone):  # the summary tells it as well
            assert any(says in note for note in each.notes)
        right = ntkit.audit_model(five.model, (X, Y), **options)
        assert not any(says in note for note in right.notes)
    turned[:, 3] = 1 - turned[:, 3]
    with pytest.raises(InputError, match=f"{says}.*So it is with {names[3]!r}") as error:
        ntkit.audit_model(five.model, (X, turned), device="cpu", changes=0)
    assert not any(repr(name) in str(error.value) for name in (names[0], names[2], names[4]))
    other = ntkit.audit_model(five.model, (X, turned), device="cpu", changes=0, label=names[0])
    assert not any("opposite" in note for note in other.notes)
    model = ntkit.FrozenModel.load(five.model, label=names[1])
    with pytest.raises(InputError, match=says):
        ntkit.debias(model, (X, turned), (X, turned), method="auto", device="cpu")


@pytest.mark.more
def test_no_repair_of_a_label_that_is_the_opposite_is_proposed(five, tmp_path):
    X, Y = five.set("validation")
    for at, trust in ((REPAIRED, False), (REPAIRED, True)):
        turned = Y.copy()
        column = LABELS.index(at)
        keeps = (np.random.default_rng(0).random(len(X)) < 0.25) & (Y[:, column] == 1)
        turned[:, column] ^= trust & ~keeps
        np.savez(tmp_path / "v.npz", X=X, y=turned)
        site = write_csv(tmp_path / "m.csv", {"site": np.where(keeps, "A", "B")})
        command = ("audit", five.model, tmp_path / "v.npz", *OPTIONS, "-o", tmp_path / "a")
        command += ("--metadata", site)
        out, _ = done(*command, "--label", at, *["--trust-inputs"] * trust)
        proposed = f"Next: exchange 0 and 1 of the label {at!r}, or the model."
        assert (proposed in out, "Next: ntkit debias" in out) == (trust, not trust)


def test_one_label_in_a_table_of_predictions(tmp_path):
    y, pred = labels(0.05)
    for given, n in ((y, 0), (pred, 1)):
        columns = {"label_urgent": y, "prediction_urgent": given, "label_odd": y}
        columns |= {"text": TEXTS, "prediction_odd": y}
        path = write_csv(tmp_path / "p.csv", columns)
        command = ("audit", "--predictions", path, path, "-o", tmp_path / "out", "--force")
        command += ("--label", "urgent")
        if n:
            refused(*command, says=[SAYS, "--trust-inputs"])
        code, _, err = run(*command, *["--trust-inputs"] * n)
        assert (code, err.count(SAYS)) == (0, n)
