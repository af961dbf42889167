"""Copies, other orders and other spellings change no result; what cannot be told apart is refused.

Each command runs on a clean set of files, and on the same facts written in other ways.
"""

import json
import unicodedata

import numpy as np
import onnx
import pytest

from ntkit import FrozenModel
from tests.cases import ntkit, read_csv, write_csv
from tests.jobs.label.models import rows, write_model

N, COLUMNS = 160, "abcdef"
RECORD = {
    "names": json.dumps(["cat", "dog"]),
    "ntkit.preprocessing": json.dumps({"columns": [*COLUMNS]}),
}
PLAIN = ("--device", "cpu", "--quiet")


class Files:
    """A table of samples, and tables of facts about them that are matched by their names."""

    def __init__(self, folder, seed=0):
        X, y, mark = rows(seed, N, share=0.8)
        self.folder, self.rng = folder, np.random.default_rng(seed)
        names = np.array([f"é{i}" for i in range(N)], dtype=object)
        label = np.array(["cat", "dog"])[y]
        self.data = {"id": names, **dict(zip(COLUMNS, X.T, strict=True)), "label": label}
        texts = [f"number {i} of {N}" for i in range(N)]
        self.texts = {"id": names, "text": np.array(texts, dtype=object), "label": label}
        self.facts = {"id": names, "mark": np.array(["no", "yes"])[mark]}
        guess = np.where(self.rng.random(N) < 0.9, label, np.where(label == "cat", "dog", "cat"))
        self.predictions = {"id": names, "prediction": guess}
        self.answers = {"id": names[:40], "mark": self.facts["mark"][:40]}

    def written(self):
        """The files, and a model with another last layer."""
        folder = self.folder
        folder.mkdir()
        model = write_model(folder / "model.onnx")
        graph = onnx.load(model)
        onnx.helper.set_model_props(graph, RECORD)
        onnx.save(graph, model)
        frozen = FrozenModel.load(model)
        frozen.with_head(frozen.head.scaled(np.array([2, 0.4, 0, 1, 1, 1]))).save(
            folder / "new.onnx"
        )
        for name in ("data", "texts", "facts", "predictions", "answers"):
            write_csv(folder / f"{name}.csv", getattr(self, name))
        return folder

    # -- the same facts, written in another way ----------------------------------------------

    def copied(self, n=50):
        """Samples once more, under other names, with the same facts."""
        chosen = self.rng.choice(N, n)
        self.data = {c: np.append(v, v[chosen]) for c, v in self.data.items()}
        self.data["id"][N:] = names = [f"copy{i}" for i in range(n)]
        for table in (self.texts, self.facts, self.predictions):
            for column, values in table.items():
                table[column] = np.append(values, names if column == "id" else values[chosen])

    def shuffled(self):
        """Tables of facts in another order of their rows."""
        for table in (self.facts, self.predictions, self.answers):
            order = self.rng.permutation(len(table["id"]))
            table.update({column: values[order] for column, values in table.items()})

    def columns_moved(self):
        """Columns of all tables in another order."""
        for name in ("data", "texts", "facts", "predictions", "answers"):
            table = getattr(self, name)
            setattr(self, name, {n: table[n] for n in self.rng.permutation([*table])})

    def spelt(self):
        """Names with accents as other programs write them, and with spaces around them."""
        for table in (self.facts, self.predictions, self.answers):
            names = [unicodedata.normalize("NFD", name) for name in table["id"]]
            table["id"] = np.array([f" {names[0]}", *names[1:]], dtype=object)

    def two_spellings(self):
        """A row for a name, and another one for its other spelling, with the other value."""
        for table in (self.facts, self.predictions, self.answers):
            name = unicodedata.normalize("NFD", table["id"][0])
            values = [v for v in np.unique(table[[*table][1]]) if v != table[[*table][1]][0]]
            table["id"], other = np.append(table["id"], name), [*table][1]
            table[other] = np.append(table[other], values[0])

    def column_renamed(self):
        """A column of numbers under another name than in the model's record."""
        self.data = {("z" if name == "c" else name): v for name, v in self.data.items()}


def rounded(value):
    """A result without times and paths, its numbers to nine digits."""
    if isinstance(value, dict):
        skipped = {"notes", "answers", "title", "path", "verification", "cautions", "model"}
        return {name: rounded(each) for name, each in value.items() if name not in skipped}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 9) if isinstance(value, float) else value


def debiased(folder):
    out = folder / "out"
    command = ["debias", folder / "model.onnx", folder / "data.csv", "-o", out, *PLAIN]
    command += ["--metadata", folder / "facts.csv", "--spurious", "metadata:mark=yes"]
    ran = ntkit(*command)
    return ran, lambda: rounded(json.loads((out / "result.json").read_text("utf-8")))


def checked(folder):
    command = ["check", folder / "model.onnx", folder / "new.onnx", folder / "data.csv", *PLAIN]
    command += ["--max-drop", 5, "--metadata", folder / "facts.csv"]
    command += ["--slice", "metadata:mark", "--json"]
    ran = ntkit(*command)
    return ran, lambda: rounded({**json.loads(ran[1]), "new_errors": ()})


def predictions_checked(folder):
    command = ["check", "--predictions", folder / "predictions.csv", folder / "texts.csv"]
    command += ["--average", 80, "--worst-class", 80, "--json", "--quiet"]
    ran = ntkit(*command)
    return ran, lambda: rounded(json.loads(ran[1]))


def predicted(folder):
    out = folder / "predicted.csv"
    ran = ntkit("predict", folder / "new.onnx", folder / "data.csv", "-o", out, *PLAIN)
    return ran, lambda: {
        row["id"]: row for row in read_csv(out) if not row["id"].startswith("copy")
    }


def audited(folder):
    out = folder / "audit"
    command = ["audit", folder / "model.onnx", folder / "data.csv", "-o", out, *PLAIN]
    ran = ntkit(*command, "--metadata", folder / "facts.csv")
    return ran, lambda: rounded(json.loads((out / "audit.json").read_text("utf-8"))["findings"])


def asked(folder):
    out = folder / "label"
    command = ["label", folder / "model.onnx", folder / "data.csv", "-o", out, *PLAIN]
    command += ["--question", "mark", "--values", "yes,no", "--answers", folder / "answers.csv"]
    ran = ntkit(*command)
    names = [row["id"] for file in sorted(out.glob("questions-*.csv")) for row in read_csv(file)]
    return ran, lambda: names


def table_checked(folder):
    out = folder / "checked"
    command = ["label", folder / "model.onnx", folder / "data.csv", "-o", out, "--quiet"]
    ran = ntkit(*command, "--check", folder / "facts.csv", "--answers", folder / "answers.csv")
    told = [line for line in ran[1].splitlines() if " × " in line or "Wrong" in line]
    return ran, lambda: [line.replace(str(folder), "") for line in told]


COMMANDS = [debiased, checked, predictions_checked, predicted, audited, asked, table_checked]
SAME = ["copied", "shuffled", "columns_moved", "spelt"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The result of each command on the clean files."""
    results = {}
    for command in COMMANDS:
        folder = Files(tmp_path_factory.mktemp("clean") / "files").written()
        (code, _, err), result = command(folder)
        assert code in (0, 1, 3), err
        results[command] = code, result()
    return results


@pytest.mark.more
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
@pytest.mark.parametrize("ways", [[way] for way in SAME] + [SAME], ids="-".join)
def test_the_same_facts_have_the_same_result(command, ways, clean, tmp_path):
    files = Files(tmp_path / "files")
    for way in ways:
        getattr(files, way)()
    (code, _, err), result = command(files.written())
    expected, of_clean = clean[command]
    assert code == expected, err
    assert result() == of_clean


def refusal(ran):
    """The one sentence of a refused command."""
    code, _, err = ran
    assert code == 2, err
    assert err.splitlines()[-1].startswith("Error: ")
    return err.splitlines()[-1]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c is not predicted])
def test_a_name_in_two_spellings_is_a_name_twice(command, tmp_path):
    files = Files(tmp_path / "files")
    files.two_spellings()
    error = refusal(command(files.written())[0])
    assert "twice" in error or "keep one of them" in error


@pytest.mark.parametrize("command", [c for c in COMMANDS if c is not predictions_checked])
def test_a_column_that_the_model_does_not_name_is_refused(command, tmp_path):
    files = Files(tmp_path / "files")
    files.column_renamed()
    assert "'c'" in refusal(command(files.written())[0])


@pytest.mark.more
@pytest.mark.parametrize("command", [debiased, checked, audited])
def test_a_missing_row_of_facts_is_a_row_without_a_value(command, tmp_path):
    results = []
    for i, missing in enumerate((True, False)):
        files = Files(tmp_path / f"files{i}")
        if missing:
            files.facts = {name: values[5:] for name, values in files.facts.items()}
        else:
            files.facts["mark"] = np.where(np.arange(N) < 5, "", files.facts["mark"])
        (code, _, err), result = command(files.written())
        assert code in (0, 1, 3), err
        results.append((code, result()))
    assert results[0] == results[1]


def test_a_missing_prediction_is_refused(tmp_path):
    files = Files(tmp_path / "files")
    files.predictions = {name: values[5:] for name, values in files.predictions.items()}
    assert "has no prediction for 5 of the 160" in refusal(predictions_checked(files.written())[0])


@pytest.mark.more
@pytest.mark.parametrize("seed", range(1, 13))
def test_random_files_have_the_results_of_clean_ones(seed, tmp_path):
    rng = np.random.default_rng(seed)
    ways = [way for way in SAME if rng.random() < 0.6]
    results = []
    for name, chosen in (("clean", []), ("files", ways)):
        files = Files(tmp_path / name, seed)
        for way in chosen:
            getattr(files, way)()
        folder = files.written()
        results.append(
            [(ran[0], ran[0] == 2 or result()) for ran, result in (c(folder) for c in COMMANDS)]
        )
    assert results[0] == results[1], ways


def test_a_test_set_spells_values_like_the_other_sets(tmp_path):
    """Otherwise no group would be one that the shortcut helps."""
    files = Files(tmp_path / "clean")
    folder, mark = files.written(), files.facts["mark"]
    write_csv(folder / "all.csv", {**files.data, "mark": mark})
    other = Files(tmp_path / "test", 1)
    spelt = np.where(other.facts["mark"] == "yes", "Yes", "NO")
    write_csv(folder / "test.csv", {**other.data, "mark": spelt})
    command = ["debias", folder / "model.onnx", folder / "all.csv", "--test", folder / "test.csv"]
    code, _, err = ntkit(*command, "--spurious", "metadata:mark", "-o", folder / "out", *PLAIN)
    assert code == 2
    assert "Write one value in one way in all" in err
    # With values of other words nobody knows which groups it helps, so the test set does not judge.
    write_csv(folder / "test.csv", {**other.data, "mark": np.where(spelt == "NO", "out", "in")})
    code, out, err = ntkit(*command, "--spurious", "metadata:mark", "-o", folder / "out", *PLAIN)
    assert code == 0, err
    why = "no value of metadata:mark in it is one of theirs"
    assert f"The test set does not judge, but validation samples do: {why}." in out + err
    assert "worse" not in out
