"""Each command as a user types it: exit code, one clear sentence, nothing half-written."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from ntkit import FrozenModel, NeuronTuneClassifier, OnnxEmbedder
from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction import EmbeddingStore
from ntkit.metrics import worst_group_accuracy
from tests.texts import WORDS, text_model, word_pieces


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """A user's folder: a model, arrays, and image folders with groups."""
    root = tmp_path_factory.mktemp("user")
    shutil.copy(marked_digits_model_path(), root / "model.onnx")
    for part, n in (("train", 600), ("validation", 600), ("test", 200)):
        rows = np.random.default_rng(0).permutation(len(digits[f"y_{part}"]))[:n]
        X, y, groups = (digits[f"{k}_{part}"][rows] for k in ("X", "y", "groups"))
        np.savez(root / f"{part}.npz", X=X, y=y, groups=groups)
        lines = ["file_name,group"]
        for i, (image, label, group) in enumerate(zip(X, y, groups, strict=True)):
            name = f"{'small' if label == 0 else 'zlarge'}/{i:04d}.png"
            (root / part / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 255).round().astype(np.uint8)).save(root / part / name)
            lines.append(f"{name},{group}")
        (root / part / "metadata.csv").write_text("\n".join(lines))
    return root


def run(capsys, *arguments):
    """Run a command; its exit code, output and error output."""
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_demo(capsys, tmp_path):
    code, out, _ = run(capsys, "demo", "-o", tmp_path / "demo")
    assert code == 0
    story = [
        "ntkit is not told so",
        "image:top left brightness",
        "> yes",
        "Better. Wrote ",
        "Test set, worst",
    ]
    told = [out.index(part) for part in [*story, "original head", "best control: ", "\nPassed: "]]
    assert told == sorted(told)  # look, ask, repair, prove
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (quoted,) = re.findall(r"```text\n(.*?)```", readme, flags=re.DOTALL)
    shown = out.replace(str(tmp_path / "demo"), "ntkit-demo").splitlines()
    assert {*quoted.splitlines()} - {"…"} <= {*shown}
    assert (tmp_path / "demo" / "debiased.onnx").exists()
    code, out, err = run(capsys, "demo", "--json")
    assert code == 0
    assert json.loads(out)["verification"]["same_nodes"]
    assert "> yes" in err
    code, out, _ = run(capsys, "demo", "--method", "neurontune")
    assert code == 0
    assert "> yes" not in out
    assert "The paper's default (neurontune: threshold 0) suppresses 47 of " in out


def test_inspect(capsys, folder):
    code, out, _ = run(capsys, "inspect", folder / "model.onnx")
    assert code == 0
    assert "Gemm" in out
    code, out, _ = run(capsys, "inspect", folder / "model.onnx", "--json")
    assert json.loads(out)["classes"] == [0, 1]
    assert json.loads(out)["outputs_from_logits"] == []
    code, out, err = run(capsys, "inspect", folder / "none.onnx", "--json")
    assert code != 0
    assert json.loads(out)["refused"] in err


def test_debias_image_folders(capsys, folder, tmp_path):
    arguments = [
        *("debias", folder / "model.onnx", "--train", folder / "train"),
        *("--validation", folder / "validation", "--test", folder / "test", "--device", "cpu"),
        *("--even-if-worse", "--verbose"),
    ]
    code, out, err = run(capsys, *arguments, "--method", "auto", "-o", tmp_path / "a")
    assert code == 0, err
    assert "worst group" in out
    assert "0 = small, 1 = zlarge" in out
    after = FrozenModel.load(tmp_path / "a" / "debiased.onnx")
    assert after.head.classes.tolist() == ["small", "zlarge"]
    code, _, err = run(capsys, *arguments, "-o", tmp_path / "a")
    assert code == 2
    assert "--force" in err
    options = ["--threshold", "0.5", "--standardize", "--error-weight", "balanced", "--json"]
    code, out, err = run(capsys, *arguments, "-o", tmp_path / "b", *options)
    assert code == 0, err
    result = json.loads(out)
    assert result["chosen"] == "yours"
    assert result["parameters"]["threshold"] == 0.5
    assert result["parameters"]["error_weight"] == "balanced"


def test_images_and_arrays_give_the_same_model(capsys, folder, tmp_path):
    for part in ("train", "validation"):  # as the folder holds them: 8 bits, class by class
        arrays = np.load(folder / f"{part}.npz")
        order = np.argsort(arrays["y"], kind="stable")
        X = (arrays["X"][order] * 255).round().astype(np.uint8).astype(np.float32) / 255
        np.savez(tmp_path / f"{part}.npz", X=X, y=arrays["y"][order])
    heads = []
    for kind, data in (("", folder), (".npz", tmp_path)):
        target = tmp_path / f"out{kind}"
        code, _, err = run(
            capsys, "debias", folder / "model.onnx", "-o", target, "--method", "neurontune",
            "--train", data / f"train{kind}", "--validation", data / f"validation{kind}",
            "--even-if-worse",
        )  # fmt: skip
        assert code == 0, err
        heads.append(FrozenModel.load(target / "debiased.onnx").head)
    assert np.allclose(heads[0].coef, heads[1].coef, atol=1e-3 * np.abs(heads[0].coef).max())


def test_a_store_of_copies(capsys, folder, tmp_path):
    model, store = folder / "model.onnx", tmp_path / "border.store"
    embed = ["embed", model, folder / "train", "--change", "image:border"]
    code, out, err = run(capsys, *embed, "-o", store, "--seed", "3")
    assert code == 0, err
    assert "600 embeddings of 64 neurons of copies by image:border (of 600 samples)" in out
    code, out, _ = run(capsys, *embed, "-o", store, "--seed", "3", "--json")
    said = json.loads(out)
    assert (said["already_complete"], said["change"]) == (True, "image:border")
    copies = EmbeddingStore.open(store)
    assert copies.ids[0].endswith(".png")
    steps = copies.manifest["preprocessing"]
    assert {name: steps[name] for name in ("change", "seed", "originals", "named_by")} == {
        "change": "image:border", "seed": 3, "originals": 600, "named_by": "file_name"}  # fmt: skip
    for other in (["--seed", "4"], []):
        code, _, err = run(capsys, *embed, "-o", store, *other)
        assert code == 2
        assert "preprocessing" in err
    code, _, err = run(capsys, "embed", model, folder / "train", "-o", store)
    assert code == 2
    assert "preprocessing" in err
    originals = tmp_path / "train.store"
    assert run(capsys, "embed", model, folder / "train", "-o", originals)[0] == 0
    code, _, err = run(capsys, "fit", originals, "--validation", store, "-o", tmp_path / "h.onnx")
    assert code == 2
    assert "contains copies by 'image:border'" in err
    # A model that is fitted to copies alone still takes images as it did.
    head = tmp_path / "copies.onnx"
    assert run(capsys, "fit", store, "-o", head)[0] == 0
    assert "change" not in str(dict(FrozenModel.load(head).metadata))
    code, _, err = run(
        capsys, "embed", model, folder / "train", "-o", tmp_path / "s", "--seed", "1"
    )
    assert code == 2
    assert "name a --change as well" in err
    code, _, err = run(capsys, "embed", model, folder / "train.npz", "-o", tmp_path / "s",
                       "--change", "word:x")  # fmt: skip
    assert code == 2
    assert "changes texts, but" in err


def test_step_by_step(capsys, folder, tmp_path, digits):
    model = folder / "model.onnx"
    for part in ("train", "validation"):
        store = tmp_path / f"{part}.store"
        code, out, err = run(capsys, "embed", model, folder / f"{part}.npz", "-o", store)
        assert code == 0, err
        assert "600 embeddings of 64 neurons, computed on cpu" in out
    again = ("-o", tmp_path / "train.store", "--quiet")
    code, out, _ = run(capsys, "embed", model, folder / "train.npz", *again)
    assert code == 0
    assert "already complete, 600 embeddings" in out
    code, out, _ = run(capsys, "embed", model, folder / "train.npz", *again, "--json")
    assert (code, json.loads(out)["already_complete"]) == (0, True)
    code, _, err = run(capsys, "embed", model, folder / "validation.npz", *again)
    assert code == 2
    assert "another samples" in err
    fit = ["fit", tmp_path / "train.store", "--validation", tmp_path / "validation.store"]
    head = tmp_path / "head.onnx"
    code, out, err = run(capsys, *fit, "-o", head, "--json")
    assert code == 0, err
    assert "Warning" not in err
    fitted = json.loads(out)
    assert fitted["suppressed_neurons"]
    onnx.checker.check_model(str(head), full_check=True)
    code, out, err = run(
        capsys,
        "export",
        model,
        head,
        "-o",
        tmp_path / "debiased.onnx",
        "--data",
        folder / "validation.npz",
    )
    assert code == 0, err
    assert "node list unchanged" in out
    after = FrozenModel.load(tmp_path / "debiased.onnx")
    silent = np.flatnonzero((after.head.coef == 0).all(axis=0)).tolist()
    assert set(fitted["suppressed_neurons"]) <= set(silent)
    assert after.metadata["ntkit.method"] == "NeuronTuneClassifier"
    Z = OnnxEmbedder(model, device="cpu").transform(digits.X_test)
    before, now = (
        worst_group_accuracy(digits.y_test, m.head.predict(Z), groups=digits.groups_test)
        for m in (FrozenModel.load(model), after)
    )
    assert now > before + 0.2
    code, out, err = run(capsys, "verify", model, tmp_path / "debiased.onnx", folder / "test.npz")
    assert code == 0, err
    assert "node list             unchanged" in out
    code, out, err = run(capsys, "export", model, head, "-o", tmp_path / "random.onnx")
    assert code == 0, err


@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
def test_fit_takes_the_defaults_of_the_estimator_unless_told(capsys, tmp_path, rng):
    y = rng.integers(0, 2, 600)
    mark = np.where(rng.random(600) < 0.9, y, 1 - y)  # a spurious mark, 90 % correlated
    X = np.column_stack([2 * y + rng.normal(size=600), 2 * mark + rng.normal(0, 0.1, 600)])
    X = np.hstack([X, rng.normal(size=(600, 4))]).astype(np.float32)
    np.savez(tmp_path / "train.npz", X=X, y=y)
    asked = {
        (): NeuronTuneClassifier(random_state=0),
        ("--error-weight", "auto"): NeuronTuneClassifier(error_weight="auto", random_state=0),
        ("--error-weight", "balanced"): NeuronTuneClassifier(
            error_weight="balanced", random_state=0
        ),
        ("--C", "0.1", "--no-standardize", "--threshold", "1", "--error-weight", "2"): (
            NeuronTuneClassifier(1.0, C=0.1, standardize=False, error_weight=2.0, random_state=0)
        ),
        ("--max-cost", "0"): NeuronTuneClassifier(max_cost=0.0, random_state=0),
        ("--max-cost", "1"): NeuronTuneClassifier(max_cost=1.0, random_state=0),
    }
    for i, (options, clf) in enumerate(asked.items()):
        head = tmp_path / f"{i}.onnx"
        code, _, err = run(capsys, "fit", tmp_path / "train.npz", "-o", head, *options)
        assert code == 0, err
        wanted = clf.fit(X, y).head_.with_logits(len(clf.fit(X, y).head_.classes))
        assert np.array_equal(FrozenModel.load(head).head.coef, wanted.coef), options
    none, any_mask = (asked["--max-cost", cost] for cost in ("0", "1"))
    assert any_mask.suppressed_.sum() > none.suppressed_.sum()


@pytest.mark.filterwarnings("always::ntkit.exceptions.SuppressionWarning")
def test_fit_says_if_no_mask_was_applied(capsys, tmp_path, rng):
    y = rng.integers(0, 2, 600)
    mark = np.where(rng.random(600) < 0.9, y, 1 - y)
    X = np.column_stack([y + rng.normal(size=600), 2 * mark, rng.normal(size=600)])
    np.savez(tmp_path / "train.npz", X=X.astype(np.float32), y=y)
    command = ["fit", tmp_path / "train.npz", "--error-weight", "1"]
    code, out, err = run(capsys, *command, "-o", tmp_path / "none.onnx")
    assert code == 0
    assert "class-balanced head; the mask was not applied." in out
    assert "Kept all neurons: suppressing the flagged one would cost" in err
    assert "use --max-cost 1 and compare with --method balanced." in err
    code, out, _ = run(capsys, *command, "--max-cost", "1", "-o", tmp_path / "one.onnx")
    assert (code, "1 of 3 neurons suppressed." in out) == (0, True)

    np.savez(tmp_path / "easy.npz", X=np.column_stack([9 * y, mark]).astype(np.float32), y=y)
    code, out, err = run(capsys, "fit", tmp_path / "easy.npz", "-o", tmp_path / "easy.onnx")
    assert "class-balanced head; no neuron was suppressed." in out
    assert "Pass more samples with --validation." in err
    code, out, _ = run(
        capsys, "fit", tmp_path / "easy.npz", "--method", "balanced", "-o", tmp_path / "b.onnx"
    )
    assert out.strip().endswith("b.onnx: BalancedClassifier.")


def test_the_words_of_fit_are_those_of_warnings():
    """Each phrase that ``ntkit fit`` replaces is one of a warning."""
    from ntkit.cli.fit import _WORDS
    from ntkit.estimators import _mask

    source = re.sub(r'"\s*f?"', "", Path(_mask.__file__).read_text(encoding="utf-8"))
    assert [words for words in _WORDS if words not in source] == []


def test_verify_fails_for_another_body(capsys, folder, tmp_path):
    model = onnx.load(folder / "model.onnx")
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    weight = next(i for i in model.graph.initializer if i.name == conv.input[1])
    changed = onnx.numpy_helper.to_array(weight) * np.float32(1.5)
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    onnx.save(model, tmp_path / "other.onnx")
    code, _, err = run(
        capsys, "verify", folder / "model.onnx", tmp_path / "other.onnx", folder / "test.npz"
    )
    assert code == 2
    assert "does not compute its head" in err


def test_csv_tables(capsys, tmp_path):
    """A tabular model: the numeric columns are its input."""
    rng = np.random.default_rng(0)
    hidden, head = rng.normal(size=(3, 8)), rng.normal(size=(8, 2))
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> mlp (float[N, 3] x) => (float[N, 2] logits)'
        "{ h = MatMul(x, W) z = Relu(h) logits = MatMul(z, V) }"
    )
    for name, array in (("W", hidden), ("V", head)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(model, tmp_path / "mlp.onnx")
    for part in ("train", "validation"):
        X = rng.normal(size=(300, 3))
        y = np.where(np.maximum(X @ hidden, 0) @ head[:, 1] + rng.normal(size=300) > 0, 1, 0)
        lines = [
            "age,score,income,label,group",
            *(f"{a},{b},{c},{k},g{k}" for (a, b, c), k in zip(X, y, strict=True)),
        ]
        (tmp_path / f"{part}.csv").write_text("\n".join(lines))
    code, out, err = run(
        capsys, "debias", tmp_path / "mlp.onnx", "-o", tmp_path / "out",
        "--train", tmp_path / "train.csv", "--validation", tmp_path / "validation.csv",
        "--method", "auto", "--even-if-worse", "--verbose",
    )  # fmt: skip
    assert code == 0, err
    assert "node list changed" in out  # a bare MatMul gets a bias


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "{t}/none.onnx"], "is not a file"),
        (["inspect", "{t}/text.onnx"], "not an ONNX model"),
        (["embed", "{f}/model.onnx", "{t}/none", "-o", "{t}/s"], "does not exist"),
        (["embed", "{f}/model.onnx", "{f}/train", "-o", "{t}/s", "--resize", "7,7"], "20 x 20"),
        (["embed", "{f}/model.onnx", "{f}/train.npz", "-o", "{t}/s", "--device", "cuda"], "cuda"),
        (["embed", "{f}/model.onnx", "{f}/train.npz", "-o", "{t}/s", "--device", "gpu"], "device"),
        (["embed", "{f}/model.onnx", "{t}/broken", "-o", "{t}/s"], "--skip-bad"),
        (["fit", "{f}/train", "-o", "{t}/h.onnx"], "not an embedding store"),
        (["debias", "{f}/model.onnx", "--train", "{f}/train.npz", "--validation", "{f}/train.npz",
          "-o", "{t}/o", "--error-weight", "heavy"], "not a number"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_2(capsys, folder, tmp_path, arguments, message):
    (tmp_path / "text.onnx").write_text("This is not a model.")
    broken = tmp_path / "broken" / "small"
    broken.mkdir(parents=True)
    (broken / "a.png").write_bytes(b"no image")
    before = sorted(p.name for p in tmp_path.iterdir())
    filled = [a.format(t=tmp_path, f=folder) for a in arguments]
    code, _, err = run(capsys, *filled)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if not line.startswith("Images: ")]) == 1
    after = sorted(p.name for p in tmp_path.iterdir())
    assert after in (before, sorted([*before, "s"]))
    assert not list(tmp_path.glob("s/embeddings*"))


def test_skip_bad(capsys, folder, tmp_path):
    shutil.copytree(folder / "test", tmp_path / "images")
    (tmp_path / "images" / "small" / "zzz.png").write_bytes(b"no image")
    code, _, err = run(
        capsys,
        "embed",
        folder / "model.onnx",
        tmp_path / "images",
        "-o",
        tmp_path / "s",
        "--skip-bad",
    )
    assert code == 0, err
    assert "zzz.png" in err


def test_shards_are_merged_into_the_same_store(capsys, folder, tmp_path, zoo):
    embed = ["embed", folder / "model.onnx", folder / "train.npz", "--batch-size", "50"]
    assert run(capsys, *embed, "-o", tmp_path / "whole")[0] == 0
    for i in (1, 2, 3):
        code, _, err = run(capsys, *embed, "--shard", f"{i}/3", "-o", tmp_path / f"part{i}")
        assert code == 0, err
    parts = [tmp_path / f"part{i}" for i in (3, 1, 2)]
    code, out, err = run(capsys, "merge", *parts, "-o", tmp_path / "merged")
    assert code == 0, err
    assert "600 embeddings of 64 neurons, from 3 parts" in out
    assert zoo.contents(tmp_path / "merged") == zoo.contents(tmp_path / "whole")
    code, _, err = run(capsys, "merge", *parts[:2], "-o", tmp_path / "some", "--json")
    assert code == 2
    assert "missing" in err
    code, _, err = run(capsys, *embed, "--shard", "half", "-o", tmp_path / "half")
    assert code == 2
    assert "--shard is I/N" in err


def test_embed_for_machines(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("time.monotonic", iter(range(0, 10**6, 3)).__next__)
    embed = ["embed", folder / "model.onnx", folder / "train.npz", "--dtype", "float16", "--json"]
    code, out, err = run(capsys, *embed, "-o", tmp_path / "store", "--batch-size", "100")
    assert code == 0, err
    *told, last = map(json.loads, out.splitlines())
    assert [line["finished_rows"] for line in told] == [200, 300, 400, 500, 600]
    assert {line["event"] for line in told} == {"progress"}
    assert told[0]["rows"] == 600
    assert told[-1]["seconds_left"] == 0
    assert last["event"] == "finished"
    assert (last["rows"], last["neurons"], last["device"]) == (600, 64, "cpu")
    assert last["run"]["batch_size"] == 100
    assert np.load(tmp_path / "store" / "embeddings.npy").dtype == np.float16
    code, out, _ = run(capsys, *embed, "-o", tmp_path / "auto", "--batch-size", "auto", "--quiet")
    assert code == 0
    assert json.loads(out)["run"]["batch_size"] >= 8
    code, _, err = run(capsys, *embed, "-o", tmp_path / "s", "--batch-size", "many")
    assert code == 2
    assert "--batch-size is auto or a number" in err


def test_texts_through_an_encoder_without_a_head(capsys, tmp_path):
    text_model(tmp_path)
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    rng = np.random.default_rng(0)
    for part in ("train", "validation"):
        liked = rng.random(200) < 0.5
        texts = [" ".join(rng.choice(WORDS[:8] if y else WORDS[5:13], 6)) for y in liked]
        rows = [f"{text},{'good' if y else 'bad'}" for text, y in zip(texts, liked, strict=True)]
        (tmp_path / f"{part}.csv").write_text("\n".join(["review,verdict", *rows]))
    model = ["--embedding", "hidden", "--pooling", "mean"]
    data = ["--text-column", "review", "--label-column", "verdict", "--max-length", "5"]
    code, out, _ = run(capsys, "inspect", tmp_path / "model.onnx", *model)
    assert code == 0
    assert "ntkit.pooled.mean.hidden (batch, 6) float32" in out
    files = ["--train", tmp_path / "train.csv", "--validation", tmp_path / "validation.csv"]
    debias = ["debias", tmp_path / "model.onnx", *model, *data, *files, "--device", "cpu"]
    code, _, err = run(capsys, *debias, "--new-head", "-o", tmp_path / "out")
    assert code == 0, err
    assert FrozenModel.load(tmp_path / "out" / "debiased.onnx").head.classes.tolist() == [
        "bad",
        "good",
    ]
    embed = ["embed", tmp_path / "model.onnx", tmp_path / "train.csv", *model, *data]
    code, _, err = run(capsys, *embed, "-o", tmp_path / "store")
    assert code == 0, err
    made = json.loads((tmp_path / "store" / "manifest.json").read_text())["preprocessing"]
    assert made["max_length"] == 5
    fit = ["fit", tmp_path / "store", "--method", "balanced", "-o", tmp_path / "head.onnx"]
    assert run(capsys, *fit)[0] == 0
    export = ["export", tmp_path / "model.onnx", tmp_path / "head.onnx", *model]
    given = ["--data", tmp_path / "validation.csv", *data]
    code, out, err = run(capsys, *export, *given, "-o", tmp_path / "debiased.onnx")
    assert code == 0, err
    assert "verified on 200 samples" in out
    (tmp_path / "tokenizer.json").unlink()
    code, _, err = run(capsys, *embed, "-o", tmp_path / "other")
    assert code == 2
    assert "--tokenizer" in err


def test_doctor(capsys, folder, monkeypatch):
    code, out, err = run(capsys, "doctor", folder / "model.onnx")
    assert code == 0, err
    assert "the installation works" in out
    code, out, _ = run(capsys, "doctor", "--json")
    assert json.loads(out)["sound"]
    monkeypatch.setattr("ntkit.extraction._doctor._wrong", lambda device: "it is broken")
    code, out, _ = run(capsys, "doctor")
    assert code == 1
    assert "repair" in out


def test_debug_shows_the_traceback(capsys):
    code, _, err = run(capsys, "inspect", "none.onnx", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert "not a file" in err.splitlines()[-1]


def test_report_on_two_models(capsys, folder, tmp_path):
    model = FrozenModel.load(folder / "model.onnx")
    gains = np.ones(model.head.n_neurons)
    gains[[3, 8]] = 0
    debiased = tmp_path / "debiased.onnx"
    model.with_head(model.head.scaled(gains)).save(debiased)
    page = tmp_path / "report.html"
    arguments = ["check", folder / "model.onnx", debiased, folder / "test.npz", "--quiet"]
    plain = run(capsys, *arguments)
    code, out, err = run(capsys, *arguments, "--report", page)
    assert (code, out) == (plain[0], f"{plain[1]}\nReport: {page}\n")
    assert "data:image/webp" in page.read_text(encoding="utf-8")
    code, _, err = run(capsys, *arguments, "--report", page)
    assert code == 2
    assert "--force" in err
    code, out, _ = run(capsys, *arguments, "--report", page, "--force", "--json")
    assert code == plain[0]
    assert json.loads(out)["report"] == str(page)
    assert "report" not in json.loads(run(capsys, *arguments, "--json")[1])


def test_a_report_needs_two_models_that_differ_in_their_head(capsys, folder, tmp_path):
    """One sentence says so before any work."""
    other = onnx.load(folder / "model.onnx")
    conv = next(n for n in other.graph.node if n.op_type == "Conv")
    weight = next(i for i in other.graph.initializer if i.name == conv.input[1])
    changed = onnx.numpy_helper.to_array(weight) * np.float32(1.5)
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    onnx.save(other, tmp_path / "other.onnx")
    page, test = tmp_path / "report.html", folder / "test.npz"
    for models, said in (
        ([folder / "model.onnx", tmp_path / "other.onnx"], "in more than its head"),
        ([folder / "model.onnx"], "--report compares two models"),
    ):
        code, out, err = run(capsys, "check", *models, test, "--report", page)
        assert (code, out, len(err.splitlines()), page.exists()) == (2, "", 1, False)
        assert said in err
