"""Each command as a user types it: exit code, one clear sentence, nothing half-written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.utils import Bunch

from ntkit import FrozenModel, NeuronTuneClassifier, OnnxEmbedder
from ntkit.datasets import load_scanned_digits
from ntkit.metrics import worst_group_accuracy
from ntkit.store import EmbeddingStore
from tests.cases import N_IMAGES, N, done, ntkit, refused
from tests.models import contents

CPU = ("--device", "cpu")


@pytest.mark.more
def test_demo(tmp_path, monkeypatch):
    demo = ("demo", "-o", tmp_path / "demo")
    out, _ = done(*demo)
    story = [
        "is not told so",
        "image:border brightness",
        "> yes",
        "Better. Wrote ",
        "Test set: If image:border brightness high and the class were unrelated",
    ]
    told = [out.index(part) for part in [*story, "original head", "best control: ", "\nPassed: "]]
    assert told == sorted(told)  # look, ask, repair, prove
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (quoted,) = re.findall(r"```text\n(.*?)```", readme, flags=re.DOTALL)
    shown = out.replace(str(tmp_path / "demo"), "ntkit-demo").splitlines()
    assert {*quoted.splitlines()} - {"…"} <= {*shown}
    assert (tmp_path / "demo" / "debiased.onnx").exists()
    refused(*demo, says="--force")
    # The demo replaces the answers that it made, and nobody else's.
    digits = load_scanned_digits()
    few = {k: v[:400] if k[:2] in ("X_", "y_", "gr") else v for k, v in digits.items()}
    few["group_names"] = digits.group_names
    monkeypatch.setattr("ntkit.datasets.load_scanned_digits", lambda: Bunch(**few))
    out, err = done(*demo, "--force", "--json")
    assert json.loads(out)["verification"]["kept"]["nodes"]
    assert "> yes" in err
    answers = tmp_path / "demo" / "answers.json"
    answers.write_text(answers.read_text("utf-8").replace('"spurious"', '"legitimate"'), "utf-8")
    refused(*demo, "--force", says="answers.json")
    assert "legitimate" in answers.read_text("utf-8")


@pytest.mark.more
def test_demo_of_the_paper():
    out, _ = done("demo", "--method", "neurontune")
    assert "> yes" not in out
    assert "The paper's default (neurontune: threshold 0) suppresses 54 of " in out


def test_inspect(user):
    assert "Gemm" in done("inspect", user / "model.onnx")[0]
    facts = json.loads(done("inspect", user / "model.onnx", "--json")[0])
    assert (facts["classes"], facts["outputs_from_logits"]) == ([0, 1], [])
    code, out, err = ntkit("inspect", user / "none.onnx", "--json")
    assert code == 2
    assert json.loads(out)["refused"] in err


@pytest.mark.more
def test_images_and_arrays_give_the_same_model(user, tmp_path):
    for part in ("train", "validation"):  # as the folder holds them: 8 bits, class by class
        with np.load(user / f"{part}.npz") as arrays:
            X, y = arrays["X"][:N_IMAGES], arrays["y"][:N_IMAGES]
        order = np.argsort(y, kind="stable")
        X = (X[order] * 255).round().astype(np.uint8).astype(np.float32) / 255
        np.savez(tmp_path / f"{part}.npz", X=X, y=y[order])
    options = ["--even-if-worse", "--verbose", *CPU]
    settings = tmp_path / "settings.toml"
    settings.write_text("[debias]\nthreshold = 0.5\n", encoding="utf-8")
    options += ["--method", "neurontune", "--settings", settings]
    heads = []
    for kind, data in (("", user), (".npz", tmp_path)):
        sets = ("--train", data / f"train{kind}", "--validation", data / f"validation{kind}")
        target = tmp_path / f"out{kind}"
        test = () if kind else ("--test", user / "test")
        command = ("debias", user / "model.onnx", "-o", target, *sets, *test, *options)
        out, _ = done(*command)
        heads.append(FrozenModel.load(target / "debiased.onnx").head)
        assert ("0 = small, 1 = zlarge" in out, "worst group" in out) == (not kind, not kind)
        result = json.loads((target / "result.json").read_text())
        assert result["chosen"] == "yours"
        assert result["parameters"]["threshold"] == 0.5
    assert np.allclose(heads[0].coef, heads[1].coef, atol=1e-3 * np.abs(heads[0].coef).max())
    assert heads[0].classes.tolist() == ["small", "zlarge"]
    refused(*command, says="--force")


def test_a_store_of_copies(user, tmp_path):
    model, store = user / "model.onnx", tmp_path / "border.store"
    embed = ["embed", model, user / "train", "--change", "image:border", "-o", store]
    out, _ = done(*embed, "--seed", "3")
    copies = f"embeddings of 64 neurons of copies by image:border (of {N_IMAGES} samples)"
    assert f"{N_IMAGES} {copies}" in out
    part, _ = done(*embed[:-1], tmp_path / "part.store", "--shard", "1/2")
    assert part.startswith(
        f"{tmp_path / 'part.store'}: {N_IMAGES // 2} embeddings of 64 neurons of"
    )
    assert f"of {N_IMAGES} samples" not in part  # a part has no copies of the others
    said = json.loads(done(*embed, "--seed", "3", "--json")[0])
    assert (said["already_complete"], said["change"]) == (True, "image:border")
    steps = EmbeddingStore.open(store).manifest["preprocessing"]
    assert EmbeddingStore.open(store).ids[0].endswith(".png")
    assert {name: steps[name] for name in ("change", "seed", "originals", "named_by")} == {
        "change": "image:border", "seed": 3, "originals": N_IMAGES,
        "named_by": "file_name"}  # fmt: skip
    for other in ([*embed, "--seed", "4"], embed, ["embed", model, user / "train", "-o", store]):
        refused(*other, says="preprocessing")
    validated = ("--validation", store, "-o", tmp_path / "h.onnx")
    refused("fit", user / "train.store", *validated, says="contains copies by 'image:border'")
    # A model that is fitted to copies alone still takes images as it did.
    done("fit", store, "-o", tmp_path / "copies.onnx", "--method", "balanced")
    assert "change" not in str(dict(FrozenModel.load(tmp_path / "copies.onnx").metadata))
    to = ("-o", tmp_path / "s")
    refused("embed", model, user / "train", *to, "--seed", "1", says="name a --change as well")
    refused("embed", model, user / "train.npz", *to, "--change", "word:x", says="changes texts")


def test_step_by_step(user, tmp_path, digits):
    model, store = user / "model.onnx", tmp_path / "train.store"
    embed = ("embed", model, user / "train.npz", "-o", store, *CPU, "--quiet")
    out, _ = done(*embed)
    assert f"{N} embeddings of 64 neurons, computed on cpu" in out
    assert f"already complete, {N} embeddings" in done(*embed)[0]
    assert json.loads(done(*embed, "--json")[0])["already_complete"]
    refused("embed", model, user / "validation.npz", "-o", store, says="another samples")
    head, debiased = tmp_path / "head.onnx", tmp_path / "debiased.onnx"
    fit = ("fit", store, "--validation", user / "validation.store", "--max-cost", "1")
    out, err = done(*fit, "-o", head, "--json")
    assert "Warning" not in err
    fitted = json.loads(out)
    assert fitted["suppressed_neurons"]
    onnx.checker.check_model(str(head), full_check=True)
    data = ("--data", user / "validation.npz")
    assert "node list unchanged" in done("export", model, head, "-o", debiased, *data)[0]
    after = FrozenModel.load(debiased)
    silent = np.flatnonzero((after.head.coef == 0).all(axis=0)).tolist()
    assert set(fitted["suppressed_neurons"]) <= set(silent)
    assert after.metadata["ntkit.method"] == "NeuronTuneClassifier"
    Z = OnnxEmbedder(model, device="cpu").transform(digits.X_test)
    before, now = (
        worst_group_accuracy(digits.y_test, m.head.predict(Z), groups=digits.groups_test)
        for m in (FrozenModel.load(model), after)
    )
    assert now > before + 0.15
    out, _ = done("verify", model, debiased, user / "test.npz")
    assert re.search(r"outputs follow head +100 % \(if not close\)", out)
    assert "node list             unchanged" in out
    done("export", model, head, "-o", tmp_path / "random.onnx")
    refused("verify", model, user / "other.onnx", user / "test.npz", says="does not compute its")


@pytest.mark.more
@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
def test_fit_takes_the_defaults_of_the_estimator_unless_told(tmp_path, rng):
    y = rng.integers(0, 2, 600)
    mark = np.where(rng.random(600) < 0.9, y, 1 - y)  # a spurious mark, 90 % correlated
    X = np.column_stack([2 * y + rng.normal(size=600), 2 * mark + rng.normal(0, 0.1, 600)])
    X = np.hstack([X, rng.normal(size=(600, 4))]).astype(np.float32)
    np.savez(tmp_path / "train.npz", X=X, y=y)
    asked = {
        "": {},
        "--solver sgd --threshold 0": {"threshold": 0.0, "solver": "sgd"},
        "--max-cost 1": {"max_cost": 1.0},
        "--C 0.1 --threshold 1 --aggregation intersection": {
            "threshold": 1.0, "C": 0.1, "aggregation": "intersection",
        },
    }  # fmt: skip
    for options, parameters in asked.items():
        head = tmp_path / f"{options.replace(' ', '')}.onnx"
        done("fit", tmp_path / "train.npz", "-o", head, *options.split())
        clf = NeuronTuneClassifier(random_state=0, **parameters).fit(X, y)
        wanted = clf.head_.with_logits(len(clf.classes_))
        assert np.array_equal(FrozenModel.load(head).head.coef, wanted.coef), options


@pytest.mark.filterwarnings("always::ntkit.exceptions.SuppressionWarning")
def test_fit_says_how_many_neurons_it_suppressed(tmp_path, rng):
    y = rng.integers(0, 2, 600)
    mark = np.where(rng.random(600) < 0.9, y, 1 - y)
    X = np.column_stack([y + rng.normal(size=600), 2 * mark, rng.normal(size=600)])
    np.savez(tmp_path / "train.npz", X=X.astype(np.float32), y=y)
    command = ["fit", tmp_path / "train.npz"]
    out, err = done(*command, "-o", tmp_path / "none.onnx")
    assert "NeuronTuneClassifier, none of 3 neurons suppressed." in out
    assert "Kept all neurons: suppressing the flagged one would cost" in err
    assert "use --max-cost 1 and compare with --method balanced." in err
    command += ["--max-cost", "1"]
    out, _ = done(*command, "-o", tmp_path / "one.onnx")
    assert "NeuronTuneClassifier, 1 of 3 neurons suppressed." in out
    out, err = done(*command, "--threshold", "-9", "-o", tmp_path / "two.onnx")
    assert "2 of 3 neurons suppressed." in out
    assert "raise --threshold or lower --max-suppressed." in err

    np.savez(tmp_path / "easy.npz", X=np.column_stack([9 * y, mark]).astype(np.float32), y=y)
    fit = ("fit", tmp_path / "easy.npz", "-o")
    out, err = done(*fit, tmp_path / "easy.onnx")
    assert "NeuronTuneClassifier, none of 2 neurons suppressed." in out
    assert "Pass more samples with --validation." in err
    out, _ = done(*fit, tmp_path / "b.onnx", "--method", "balanced")
    assert out.strip().endswith("b.onnx: BalancedClassifier.")


SETS = "--train {f}/train.npz --validation {f}/validation.npz -o {t}/o"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("inspect {t}/none.onnx", "is not a file"),
        ("inspect {t}/text.onnx", "not an ONNX model"),
        ("embed {f}/model.onnx {t}/none -o {t}/s", "does not exist"),
        ("embed {f}/model.onnx {f}/train -o {t}/s --resize 7,7", "20 x 20"),
        ("embed {f}/model.onnx {f}/train.npz -o {t}/s --device cuda", "cuda"),
        ("embed {f}/model.onnx {f}/train.npz -o {t}/s --device gpu", "device"),
        ("embed {f}/model.onnx {t}/broken -o {t}/s", "--skip-bad"),
        ("embed {f}/model.onnx {f}/train.npz -o {t}/s --shard half", "--shard is I/N"),
        ("embed {f}/train.npz {f}/model.onnx -o {t}/s", "a model (an ONNX file) comes first"),
        ("embed {f}/model.onnx {f}/train.store -o {t}/s", "is an embedding store"),
        ("verify {f}/model.onnx {f}/model.onnx {f}/train.store", "is an embedding store"),
        ("fit {f}/train -o {t}/h.onnx", "not an embedding store"),
        ("debias {f}/train.npz " + SETS, "a model (an ONNX file) comes first"),
        ("debias {f}/model.onnx " + SETS.replace("train.npz", "model.onnx"), "samples are needed"),
        ("debias {f}/model.onnx " + SETS.replace("train.npz", "bare.npz"), "no array 'y'"),
        ("debias {f}/model.onnx --metadata {t}/sheet.xlsx " + SETS, "sheet.xlsx"),
        ("debias {f}/model.onnx --groups {t}/list.json " + SETS, "list.json"),
        ("debias {f}/model.onnx --groups {t}/nothing " + SETS, "nothing"),
        ("debias {f}/model.onnx --answers {t}/list.json " + SETS, "list.json"),
        ("debias {f}/model.onnx --answers {t}/folder " + SETS, "folder"),
        ("debias {f}/model.onnx --test {t}/folder " + SETS, "folder"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(user, tmp_path, command, says):
    (tmp_path / "text.onnx").write_text("This is not a model.")
    (tmp_path / "sheet.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "nothing").write_bytes(b"")
    for name in ("folder", "broken", "broken/small"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "small" / "a.png").write_bytes(b"no image")
    before = {path.name for path in tmp_path.iterdir()}
    refused(*command.format(t=tmp_path, f=user).split(), says=says)
    assert {path.name for path in tmp_path.iterdir()} - before <= {"s"}
    assert not list(tmp_path.glob("s/embeddings*"))


def test_shards_are_merged_into_the_same_store(user, tmp_path):
    embed = ["embed", user / "model.onnx", user / "bare.npz", "--batch-size", "4"]
    done(*embed, "-o", tmp_path / "whole")
    parts = [tmp_path / f"part{i}" for i in (3, 1, 2)]
    for part in parts:
        done(*embed, "--shard", f"{part.name[-1]}/3", "-o", part)
    out, _ = done("merge", *parts, "-o", tmp_path / "merged")
    assert "embeddings of 64 neurons, from 3 parts" in out
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")
    refused("merge", *parts[:2], "-o", tmp_path / "some", "--json", says="missing")


def test_embed_for_machines(user, tmp_path, monkeypatch):
    monkeypatch.setattr("time.monotonic", iter(range(0, 10**6, 3)).__next__)
    embed = ["embed", user / "model.onnx", user / "train.npz", "--dtype", "float16", "--json"]
    out, _ = done(*embed, "-o", tmp_path / "store", "--batch-size", "100")
    *told, last = map(json.loads, out.splitlines())
    assert [line["finished_rows"] for line in told] == [200, 300, 400, 500, 600]
    assert {line["event"] for line in told} == {"progress"}
    assert (told[0]["rows"], told[-1]["seconds_left"]) == (N, 0)
    facts = {"event": "finished", "rows": N, "neurons": 64, "device": "cpu"}
    assert facts.items() <= last.items()
    assert last["run"]["batch_size"] == 100
    assert np.load(tmp_path / "store" / "embeddings.npy").dtype == np.float16


def test_doctor(user, monkeypatch):
    assert "the installation works" in done("doctor", user / "model.onnx")[0]
    monkeypatch.setattr("ntkit.extraction.doctor._wrong", lambda device: "it is broken")
    code, out, _ = ntkit("doctor", "--json")
    assert (code, json.loads(out)["sound"]) == (1, False)


# -- exit codes: a failure never ends with 1, which tells a script that a model is not better -----


@pytest.mark.parametrize("failure", [KeyError("x"), MemoryError(), AssertionError("so")])
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_what_nobody_expected_ends_with_2(failure, debug, user, monkeypatch):
    def fails(*_, **__):
        raise failure

    monkeypatch.setattr("ntkit.cli.inspect.o.ModelOptions.inspected", fails)
    code, _, err = ntkit("inspect", user / "model.onnx", *debug)
    assert code == 2
    assert f"Unexpected error ({type(failure).__name__}" in err
    assert ("Traceback" in err) == bool(debug)
    assert len(err.splitlines()) == 1 or debug


def test_ctrl_c_while_a_command_is_imported(monkeypatch):
    def pressed(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("ntkit.cli._app.import_module", pressed)
    code, out, err = ntkit("inspect", "m.onnx")
    assert (code, out, err.startswith("Interrupted: no damaged file")) == (130, "", True)


def test_a_typo_is_named():
    embed = ("embed", "m.onnx", "data.npz", "-o", "store", "--batch-size", "many")
    for words, told in ((["embd"], "'embed'"), (embed, "'--batch-size'")):
        code, _, err = ntkit(*words)
        assert (code, told in err) == (2, True)


@pytest.mark.more
def test_a_reader_that_is_gone(user):
    words = [sys.executable, "-m", "ntkit", "inspect", user / "model.onnx"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        complaint = process.stderr.read()
    assert process.returncode == 2
    assert complaint == b""
