"""The folder for a service: whole or not at all, and its program answers as ntkit does."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from ntkit import DebiasSettings, FrozenModel, debias
from ntkit._html import rendered
from ntkit.exceptions import DeployError, InputError
from ntkit.extraction import ImagePreprocessing, TextPreprocessing, read_samples
from ntkit.pages import usage
from tests.cases import settings
from tests.jobs.debias.conftest import DIGITS
from tests.jobs.verify import services as s
from tests.pages.test_card_programs import predictions, printed

ALWAYS = {"model.onnx", "labels.json", "predict.py", "README.md", "SHA256SUMS", ".ntkit.json"}
SETTINGS = DebiasSettings(trust_inputs=True, otherwise="new head")
QUICK = {"method": "class-balanced", "device": "cpu"}


def answers(folder, elsewhere, *arguments):
    """What predict.py prints, started in another folder, with ntkit out of its reach."""
    elsewhere.mkdir(exist_ok=True)
    blocked = elsewhere / "ntkit.py"
    blocked.write_text("raise ImportError('predict.py must not need ntkit')")
    done = subprocess.run(
        [sys.executable, "-W", "error", folder / "predict.py", *map(str, arguments)],
        cwd=elsewhere,
        env={"PYTHONPATH": str(elsewhere), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def files_of(folder):
    """Names of its files, whose sums are right."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = dict(line.split("  ")[::-1] for line in lines)
    there = {p.name for p in folder.iterdir()}
    assert listed.keys() == there - {"SHA256SUMS", ".ntkit.json"}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    return there


@pytest.fixture
def images(tmp_path, digits):
    """A model, its preprocessor, and folders of images of several sizes and formats."""
    shutil.copy(DIGITS, tmp_path / "original.onnx")
    cut = {"size": {"shortest_edge": 24}, "crop_size": {"height": 20, "width": 20}}
    cut |= {"do_center_crop": True, "image_mean": [0.2], "image_std": [0.7], "resample": 3}
    s.says(tmp_path, **cut, do_normalize=True)
    for part in ("train", "validation"):
        for i in range(60):
            label = digits[f"y_{part}"][i]
            file = f"{i}.{'png' if i % 2 else 'bmp'}"
            path = tmp_path / part / ["small ones", "large"][label] / file
            path.parent.mkdir(parents=True, exist_ok=True)
            image = (digits[f"X_{part}"][i, 0] * 255).astype(np.uint8)
            Image.fromarray(image).resize((31 + i % 5, 26)).save(path)
    return FrozenModel.load(tmp_path / "original.onnx", classes=["small ones", "large"])


def deployed(model, folder, preprocessing=None, **options):
    sets = folder / "train", folder / "validation"
    settings = replace(SETTINGS, deploy=folder / "service", preprocessing=preprocessing)
    debias(model, *sets, settings=settings, **(QUICK | options))
    return folder / "service"


def test_images(tmp_path, images):
    config = {"model_type": "mine", "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}
    config |= {"_name_or_path": "/home/me/checkpoint"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    out = tmp_path / "out"
    place = deployed(images, tmp_path, out=out)
    assert files_of(place) == {*ALWAYS, "preprocessor_config.json", "config.json"}
    assert "\npipeline_tag: image-classification\n" in (place / "README.md").read_text()
    assert json.loads((place / "labels.json").read_text()) == ["small ones", "large"]
    assert json.loads((place / "config.json").read_text()) == {
        "model_type": "mine",
        "id2label": {"0": "small ones", "1": "large"},
        "label2id": {"small ones": 0, "large": 1},
    }
    samples = read_samples(
        tmp_path / "validation", preprocessing=ImagePreprocessing.for_model(images)
    )
    rotated = tmp_path / "rotated.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (50, 31, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(rotated, exif=exif)
    files = [tmp_path / "validation" / name for name in samples.ids.tolist()][:20]
    for i, file in enumerate(files[:10]):  # dark for 16 bits, and white if they are clipped to 8
        files.append(tmp_path / f"deep-{i}.png")
        Image.fromarray(np.asarray(Image.open(file), np.uint16) * 256 + i).save(files[-1])
    samples.X.paths[:] = [*files, rotated]
    wanted = predictions(out, samples.X)
    assert wanted[20:30] == wanted[:10]
    lines = [f"{file} {label}" for file, label in zip(samples.X.paths, wanted, strict=True)]
    assert answers(place, tmp_path / "elsewhere", *samples.X.paths) == lines
    assert printed(out, *samples.X.paths) == lines
    card = (out / "README.md").read_text("utf-8")
    assert "classes: 0 = 'small ones', 1 = 'large'" in card
    assert "resize 24, crop (20, 20)" in card


@pytest.mark.parametrize(("timm", "same"), [(True, True), (False, False)])
def test_preprocessing_goes_along_where_a_file_says_what_was_done(tmp_path, images, timm, same):
    if timm:
        (tmp_path / "preprocessor_config.json").unlink()
        said = {"input_size": [1, 20, 20], "mean": [0.0], "std": [1.0], "crop_pct": 1.0}
        config = {"pretrained_cfg": {"interpolation": "bilinear", **said}}
        (tmp_path / "config.json").write_text(json.dumps(config))
    steps = ImagePreprocessing.for_model(images, **({} if same else {"resample": 0}))
    place = deployed(images, tmp_path, preprocessing=steps)
    file = "config.json" if timm else "preprocessor_config.json"
    assert files_of(place) == ALWAYS | ({file} if same else set())
    if same:
        assert ImagePreprocessing.for_model(FrozenModel.load(place / "model.onnx")) == steps


@pytest.mark.more
@pytest.mark.parametrize("paired", [False, True])
def test_texts(tmp_path, paired):
    made = s.tokenizer(tmp_path)
    model = s.text_model(tmp_path / "original.onnx")
    saved = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "cls_token": "[CLS]"}
    code = {"auto_map": {"AutoTokenizer": "theirs.Tokenizer"}, "name_or_path": "/home/me/check"}
    settings = {"model_max_length": 64, **saved, **code}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "notes.txt").write_text("not for the service")
    texts = s.reviews(120)
    logits = [s.served(model, s.encoded(made, [text])) for text in texts]
    y = np.concatenate(logits).argmax(axis=1)
    for name, rows in (("train", slice(60)), ("validation", slice(60, 120))):
        pairs = zip(texts[rows], y[rows], strict=True)
        lines = [f"{t}\tshort film\tc{k}" if paired else f"{t}\tc{k}" for t, k in pairs]
        header = "text\tother\tlabel" if paired else "text\tlabel"
        (tmp_path / f"{name}.tsv").write_text("\n".join([header, *lines]) + "\n")
    frozen = FrozenModel.load(model, classes=["c0", "c1", "c2"])
    options = {"text_column": "text", "text_pair_column": "other" if paired else None}
    options |= {"preprocessing": TextPreprocessing.for_model(frozen), "inputs": frozen.inputs}
    sets = [read_samples(tmp_path / f"{n}.tsv", **options) for n in ("train", "validation")]
    place = tmp_path / "service"
    debias(frozen, *sets, settings=replace(SETTINGS, deploy=place), out=tmp_path / "out", **QUICK)
    used = {"tokenizer.json", "tokenizer_config.json"}
    assert files_of(place) == ALWAYS | used
    sides = {"truncation_side": "right", "padding_side": "right"}
    written = json.loads((place / "tokenizer_config.json").read_text())
    assert written == {**saved, **sides, "model_max_length": 64}
    assert "\npipeline_tag: text-classification\n" in (place / "README.md").read_text()


@pytest.mark.more
def test_weights_outside_the_file_come_along(zoo, tmp_path):
    graph, rng = zoo.body(), np.random.default_rng(0)
    # Small weights would be kept in the model itself.
    graph.add("MatMul", ["z", graph.constant("wide", rng.normal(size=(5, 80)))], "wide_z")
    weights = graph.constant("W", rng.normal(size=(80, 3))), graph.constant("b", np.zeros(3))
    graph.add("Gemm", ["wide_z", *weights], "logits")
    graph.output("logits", ["batch", 3])
    path = zoo.save_external(graph.model(), tmp_path / "m.onnx")
    X = zoo.inputs(120)
    y = np.array(["a", "b", "c"])[X[:, :3].argmax(axis=1)]
    model, place = FrozenModel.load(path, classes=["a", "b", "c"]), tmp_path / "service"
    debias(
        model, (X[:60], y[:60]), (X[60:], y[60:]), settings=replace(SETTINGS, deploy=place), **QUICK
    )
    assert files_of(place) - {"repair-limits.toml"} == ALWAYS | {"model.onnx.data"}
    moved, elsewhere = tmp_path / "moved", tmp_path / "elsewhere"
    shutil.move(place, moved)
    path.with_name("m.onnx.data").unlink()
    elsewhere.mkdir()
    np.save(elsewhere / "x.npy", X[:7])
    session = onnxruntime.InferenceSession(moved / "model.onnx")
    logits = session.run(None, {"x": X[:7]})[0]
    wanted = [["a", "b", "c"][i] for i in logits.argmax(axis=1)]
    assert answers(moved, elsewhere, "x.npy") == wanted
    onnx.checker.check_model(str(moved / "model.onnx"))


def job(zoo, tmp_path, deploy, **options):
    path = zoo.save(zoo.classifier(3), tmp_path / "m.onnx")
    X = zoo.inputs(120)
    y = X[:, :3].argmax(axis=1)
    settings = replace(SETTINGS, deploy=deploy)
    return debias(path, (X[:60], y[:60]), (X[60:], y[60:]), settings=settings, **QUICK, **options)


def test_nothing_of_others_is_touched(zoo, tmp_path):
    place, out = tmp_path / "service", tmp_path / "out"
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(InputError, match="service"):
            job(zoo, tmp_path, deploy=place, out=out, force=force)
    assert [p.name for p in place.iterdir()] == ["thesis.txt"]
    assert not out.exists()
    for nested in (out, out / "service"):
        with pytest.raises(InputError, match=r"two separate folders|does not exist"):
            job(zoo, tmp_path, deploy=nested, out=out)


def change_programs(monkeypatch, change):
    monkeypatch.setattr(usage, "rendered", lambda *of, **values: change(rendered(*of, **values)))


def test_a_program_that_answers_otherwise_is_not_deployed_and_the_result_stays(
    zoo, tmp_path, monkeypatch, run
):
    out, place = tmp_path / "out", tmp_path / "service"
    for change, says in (
        (lambda text: text.replace("argmax", "argmin"), "predicts"),
        (lambda text: "raise SystemExit('no such thing')", "no such thing"),
    ):
        change_programs(monkeypatch, change)
        with pytest.raises(DeployError, match=rf"{says}.*is complete") as failed:
            job(zoo, tmp_path, deploy=place, out=out)
        assert str(out) in str(failed.value)
        assert failed.value.result.written
        assert {p.name for p in tmp_path.iterdir()} == {"m.onnx", "out"}
        assert {"debiased.onnx", "report.html", "table.md"} < {p.name for p in out.iterdir()}
        shutil.rmtree(out)
    # The command prints the result before what became of the folder.
    arguments = ["--method", "class-balanced", "--even-if-worse", *settings(trust_inputs=True)]
    code, printed, err = run(*command(zoo, tmp_path), *arguments)
    assert (code, "no such thing" in err) == (2, True)
    assert f"Wrote {out / 'debiased.onnx'}" in printed
    assert not place.exists()


def command(zoo, folder):
    """A job on samples on which nothing can be better."""
    path, X = zoo.save(zoo.classifier(2), folder / "m.onnx"), zoo.inputs(200)
    y = zoo.run(path, X)["logits"].argmax(axis=1)
    for name, rows in (("train", slice(100)), ("validation", slice(100, None))):
        np.savez(folder / f"{name}.npz", X=X[rows], y=y[rows])
    sets = [word for n in ("train", "validation") for word in (f"--{n}", folder / f"{n}.npz")]
    places = ["-o", folder / "out", "--deploy", folder / "service"]
    return ["debias", path, *sets, *places, "--device", "cpu"]


@pytest.mark.more
def test_no_head_no_folder_and_the_command_says_so(zoo, tmp_path, run):
    place, auto = tmp_path / "service", ("--method", "auto", "--force")
    runs = {"nothing found": ((), 0), "kept": (auto, 1), "written": ((*auto, "--even-if-worse"), 0)}
    for state, (more, code) in runs.items():
        found, printed, err = run(*command(zoo, tmp_path), *more)
        assert found == code, err
        assert (tmp_path / "out").exists()
        assert place.exists() == (state == "written")
        none = f"Not written: {place}, for there is no new model" in printed + err
        assert none == (state != "written")


def renamed(folder, names):
    for part in ("train", "validation"):
        for old, new in zip(("small ones", "large"), names, strict=True):
            (folder / part / old).rename(folder / part / new)
    return FrozenModel.load(folder / "original.onnx", classes=names)


def test_names_of_files_and_classes_may_hold_anything(tmp_path, images):
    names = ["on land\nbird", "in water\nbird"]
    model = renamed(tmp_path, names)
    for file in [*tmp_path.glob("*/*/*.png")]:
        file.rename(file.with_name(f" {file.stem} a\nb .png"))
    assert json.loads((deployed(model, tmp_path) / "labels.json").read_text()) == names


@pytest.mark.more
def test_classes_that_differ_in_their_first_word_are_told_apart(tmp_path, images, monkeypatch):
    change_programs(
        monkeypatch, lambda text: text.replace("argmax", "argmin").replace("> 0", "< 0")
    )
    with pytest.raises(DeployError, match=r"land bird.*but ntkit predicts"):
        deployed(renamed(tmp_path, ["land bird", "water bird"]), tmp_path)
