"""Audits of one label of several, and of all labels with one correction."""

import csv
import json
from functools import partial

import numpy as np
import pytest
from scipy.stats import binom

import ntkit
from ntkit.attributes import Block, FeatureSet
from ntkit.attributes.findings import AuditedPredictions, find_findings
from ntkit.cli import main
from ntkit.exceptions import InputError
from ntkit.jobs.audit import LabelAudits
from ntkit.jobs.audit.files import write_audit
from tests import models as zoo
from tests.several_labels import LABELS

NAMES = ("tumour", "cyst", "scar", "drain", "stone")
CORRECTED = {"p_value"}  # of a finding, by one correction for all labels


def audited(model, data, **options):
    return ntkit.audit_model(model, data, device="cpu", changes=0, **options)


def write_model(path):
    """A model of five labels: the first one relies on the sixth column as much as on its own."""
    W = np.eye(6, 5, dtype=np.float32) * 4
    W[5, 0] = 4
    graph = """(float[batch, 6] x) => (float[batch, 5] scores) {
        z = Relu(x)
        logits = Gemm(z, W, b)
        scores = Sigmoid(logits)
    }"""
    built = zoo.parsed(graph, W=W, b=np.array([-4, -2, -2, -2, -2], np.float32))
    return zoo.save(built, path, NAMES)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("labels") / "model.onnx")


def drawn(seed, n=600, injected=True):
    """Inputs, independent labels, and a cue that agrees with the first label, or with none."""
    rng = np.random.default_rng(seed)
    Y = rng.integers(0, 2, (n, 5))
    agrees = rng.random(n) < (0.9 if injected else 0.5)
    cue = np.where(agrees, Y[:, 0], 1 - Y[:, 0])
    X = np.column_stack([Y, cue]) + rng.normal(scale=0.4, size=(n, 6))
    if not injected:
        X[:, 5] = 0.5
    return X.astype(np.float32), Y, cue


def written(path, X, Y, names=NAMES, **more):
    """A table of inputs and labels; unknown labels are empty cells."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*(f"x{i}" for i in range(X.shape[1])), *names, *more])
        for x, y, *rest in zip(X, Y, *more.values(), strict=True):
            rows.writerow([*x, *("" if v != v else int(v) for v in y), *rest])
    return path


def test_one_label_among_all_is_the_label_alone_up_to_the_correction(five):
    data = five.set("validation")
    together = audited(five.model, data)
    assert list(together) == list(LABELS)
    n_tests = dict.fromkeys(together["even"].n_looked_at, 0)
    for audit in together.values():
        for kind, n in audit.n_looked_at.items():
            n_tests[kind] += n
    for name, audit in together.items():
        alone = audited(five.model, data, label=name)
        assert audit.n_looked_at == alone.n_looked_at
        facts, facts_alone = ({**each.as_dict()} for each in (audit, alone))
        for key in ("label", "samples", "positives", "errors", "accuracy", "classes", "layers"):
            assert facts[key] == facts_alone[key], key
        assert audit.found.n_passed <= alone.found.n_passed
        known = {finding.name: finding for finding in alone.findings}
        for finding in audit.findings:
            if finding.name in known:
                one = {**finding.as_dict()}, {**known[finding.name].as_dict()}
                differ = {key for key in one[0] if one[0][key] != one[1][key]}
                assert differ <= CORRECTED | {"same", "opposed", "values"}
                assert one[0]["p_value"] >= one[1]["p_value"]
    # The smallest p-value of a kind is multiplied by the number of its tests, and of the kinds.
    found = [(f, a) for a in together.values() for f in a.findings if f.feature_set == "input"]
    strongest, audit = min(found, key=lambda pair: pair[0].p_value)
    same = next(
        f for f in audited(five.model, data, label=audit.label).findings if f.name == strongest.name
    )
    ratio = n_tests["input"] / audit.n_looked_at["input"]
    assert strongest.p_value / same.p_value == pytest.approx(ratio)


def test_a_shortcut_of_one_label_is_found_there_only(model):
    X, Y, cue = drawn(0)
    audits = audited(model, (X, Y), metadata={"device": cue}, feature_sets=["metadata"])
    assert [name for name, audit in audits.items() if audit.findings] == ["tumour"]
    label, finding = audits.strongest
    assert (label, finding.name.partition("=")[0]) == ("tumour", "metadata:device")
    html, frame = audits._repr_html_(), audits.to_frame()
    assert all(f"<td>{name}</td>" in html for name in (*NAMES, finding.name))
    assert frame["label"].tolist() == ["tumour"] * len(audits["tumour"].findings)
    assert frame.drop(columns="label").equals(audits["tumour"].to_frame())


@pytest.mark.more
def test_all_labels_share_the_chance_of_a_false_finding():
    """Attributes are correlated with each label, but no error depends on any of them."""
    alpha, n, seeds, alarms = 0.1, 400, 200, 0
    for seed in range(seeds):
        rng, problems = np.random.default_rng(seed), []
        for _ in NAMES:
            y, wrong = rng.integers(0, 2, n), rng.random(n) < 0.2
            values = np.where(rng.random((n, 20)) < 0.7, y[:, None], 1 - y[:, None]) == 1
            block = Block(tuple(f"fact:{i}" for i in range(20)), values)
            facts = FeatureSet("fact", True, n, partial(iter, [block]))
            pred = np.where(wrong, 1 - y, y)
            problems.append(([facts], AuditedPredictions(np.arange(2), y, pred, np.ones(n))))
        alarms += any(found.findings for found in find_findings(problems, alpha))
    # With a correction for each label alone, two of five would have a false finding.
    assert alarms <= binom.ppf(0.999, seeds, alpha)


def test_what_cannot_be_audited_is_said_and_has_no_number(model):
    X, Y, _ = drawn(1)
    Y = Y.astype(float)
    Y[6:, 1], Y[:6, 1] = 0, 1  # 1 % have it
    Y[:, 2] = 0
    Y[:, 3] = np.nan
    Y[:, 4] = Y[:, 0]
    audits = audited(model, (X, Y))
    assert list(audits) == ["tumour", "cyst", "stone"]
    assert audits.not_audited == {
        "scar": "none of 600 samples has it",
        "drain": "no sample has a known value",
    }
    rows = {row[0]: row[1:] for row in audits.rows()}
    assert rows["scar"][2:6] == rows["drain"][2:6] == ["–"] * 4
    notes = " ".join(audits.notes)
    rare = "would be right on 98 % or more for this label: 'cyst' (6 of 600 samples have it)."
    assert rare in notes
    assert "Label 'stone' has the values of label 'tumour' in every row" in notes
    assert any(rare in note for note in audits["cyst"].notes)
    for label, says in [("scar", "none of 600"), ("drain", "no sample has a known")]:
        with pytest.raises(InputError, match=says):
            audited(model, (X, Y), label=label)


def test_a_label_that_the_model_never_gives_is_no_zero_of_findings(model):
    X, Y, _ = drawn(2)
    X[:, 2] = 0
    audits = audited(model, (X, Y))
    assert "to none of 600 samples" in audits.not_audited["scar"]
    with pytest.raises(InputError, match=r"'scar' to none of 600 samples; .*--trust-inputs"):
        audited(model, (X, Y), label="scar")
    trusted = audited(model, (X, Y), trust_inputs=True)
    assert any("to none of 600 samples" in note for note in trusted["scar"].notes)


@pytest.mark.parametrize("label", [None, "tumour"])
def test_columns_of_other_labels_are_attributes_and_copies_are_not(model, tmp_path, label):
    X, Y, cue = drawn(3)
    Y[:, 3] = cue  # errors on "tumour" depend on "drain"
    Y[:, 4] = Y[:, 0]
    table = written(tmp_path / "data.csv", X, Y)
    audit = audited(model, table, label=label)
    audit = audit if label else audit["tumour"]
    names = {n for each in audit.feature_sets for b in each.blocks() for n in b.names}
    of_labels = {name.partition("=")[0] for name in names if name.startswith("metadata:")}
    assert of_labels == {"metadata:cyst", "metadata:scar", "metadata:drain"}
    found = {name for f in audit.findings for name in (f.name, *f.same, *f.opposed)}
    assert "metadata:drain=1" in found


def test_each_label_has_the_samples_where_it_is_known(model, tmp_path):
    X, Y, cue = drawn(4)
    Y = Y.astype(float)
    Y[::3, 0] = np.nan
    table, devices = written(tmp_path / "data.csv", X, Y), {"device": np.array(["A", "B"])[cue]}
    together, alone = (
        audited(model, table, metadata=devices, feature_sets=["metadata"], label=label)
        for label in (None, "tumour")
    )
    audit = together["tumour"]
    known = ~np.isnan(Y[:, 0])
    assert (audit.as_dict()["samples"], together["cyst"].as_dict()["samples"]) == (400, 600)
    assert audit.as_dict()["accuracy"] == alone.as_dict()["accuracy"]
    for each in (audit, alone):
        (first, *_) = [f for f in each.findings if f.name.startswith("metadata:device=")]
        assert np.array_equal(each.values(first.name) == 1, cue[known] == first.name.endswith("B"))
        assert each.inputs.metadata["device"].tolist() == devices["device"][known].tolist()


def test_broken_labels_are_refused(model):
    X, Y, _ = drawn(5)
    for data, says in [
        ((X, Y[:, 0]), r"shape \(600,\).*\(N, 5\)"),
        ((X, 2 * Y), "'tumour' contain 2"),
        (X, "there are no labels. Add a column of 0 and 1 .*'tumour'"),
    ]:
        with pytest.raises(InputError, match=says):
            audited(model, data)


@pytest.mark.more
def test_the_command_writes_a_summary_and_a_folder_for_each_label(model, tmp_path, capsys):
    X, Y, _ = drawn(6)
    table, out = written(tmp_path / "data.csv", X, Y), tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        main(["audit", str(model), str(table), "-o", str(out), "--quiet"])
    printed = capsys.readouterr().out
    assert end.value.code in (0, None)
    assert "ntkit audited 5 of 5 labels on 600 samples." in printed
    label = printed.partition("--label ")[2].partition(" ")[0]
    folder = f"{NAMES.index(label)}_{label}"
    assert f"{out / folder / 'audit.html'}" in printed
    summary = json.loads((out / "audit.json").read_text("utf-8"))
    assert [row["label"] for row in summary["labels"]] == list(NAMES)
    for row in summary["labels"]:
        facts = json.loads((out / row["folder"] / "audit.json").read_text("utf-8"))
        assert (facts["label"], facts["accuracy"]) == (row["label"], row["accuracy"])
        assert [f["name"] for f in facts["findings"]] == row["findings"]
        assert f'href="{row["folder"]}/audit.html"' in (out / "audit.html").read_text("utf-8")
    page = (out / "0_tumour" / "audit.html").read_text("utf-8")
    assert "For the label “tumour”, the model is right on" in page
    assert "--label tumour --answers" in page
    assert "Holm's correction for 5 labels" in (out / "0_tumour" / "table.md").read_text("utf-8")


def test_any_name_of_a_label_becomes_a_folder(tmp_path):
    y, film = np.array([0, 1] * 50), np.array([0, 1, 0, 1, 0, 1, 0, 1, 1, 0] * 10)
    names = ["../up", "a/b", "A/B", "con", "audit.html", "☃", "..", "x" * 300]
    audits = {
        name: ntkit.audit(
            *np.array([f"not {name}", name])[np.stack([y, film])], table={"film": film}
        )
        for name in names
    }
    audits = LabelAudits(audits, {}, dict.fromkeys(names, (100, 50)), 0.05)
    write_audit(audits, tmp_path / "out")
    folders = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert len({path.name.casefold() for path in folders}) == len(names)
    assert all((path / "audit.html").is_file() for path in folders)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
