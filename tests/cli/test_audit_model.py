"""ntkit audit MODEL DATA: from files to a folder, what is said on the way, and what is refused."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """A model, and images of its two classes in subfolders and as arrays."""
    path = tmp_path_factory.mktemp("audit")
    shutil.copy(marked_digits_model_path(), path / "model.onnx")
    X, y = digits.X_validation, digits.y_validation
    for i, (image, label) in enumerate(zip(X, y, strict=True)):
        file = path / "images" / ("small", "zlarge")[int(label)] / f"{i:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).round().astype(np.uint8)).save(file)
    np.savez(path / "arrays.npz", X=X, y=y)
    return path


def run(capsys, *arguments):
    code = 0
    try:
        main(["audit", *map(str, arguments)])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_images_and_arrays(capsys, folder, tmp_path):
    found = []
    for data in ("images", "arrays.npz"):
        out = tmp_path / data
        code, printed, err = run(capsys, folder / "model.onnx", folder / data, "-o", out)
        assert code == 0, err
        assert f"Written: {out}" in printed
        found.append(json.loads((out / "audit.json").read_text()))
        assert printed.splitlines()[0] in (out / "table.md").read_text()
    images, arrays = found
    assert images["errors"] == arrays["errors"]
    assert images["classes"] == ["small", "zlarge"]
    assert any("used the labels in sorted order" in note for note in images["notes"])
    for one in found:
        first = one["findings"][0]  # where the mark is, and neurons that see it
        assert first["name"].startswith("image:top left brightness")
        assert any(name.startswith("layer:") for name in first["same"])
        assert set(one["looked_at"]) == {"image", "layer"}


def test_json_and_views(capsys, folder, tmp_path):
    code, out, err = run(
        capsys, folder / "model.onnx", folder / "images", "-o", tmp_path / "o", "--json",
        "--feature-sets", "image,layer", "--quiet",
    )  # fmt: skip
    assert code == 0
    assert list(json.loads(out)["looked_at"]) == ["image", "layer"]
    assert "assumed from the model's input" in err
    assert json.loads(out) == json.loads((tmp_path / "o" / "audit.json").read_text())


def test_what_the_head_was_trained_on(capsys, folder, tmp_path):
    code, out, _ = run(
        capsys, folder / "model.onnx", folder / "arrays.npz", "-o", tmp_path / "o", "--cross-fit",
        "--feature-sets", "image",
    )  # fmt: skip
    assert code == 0
    assert out.startswith("Cross-fitted heads are right on")


def test_images_that_do_not_decode(capsys, folder, tmp_path):
    shutil.copytree(folder / "images", tmp_path / "images")
    broken = tmp_path / "images" / "small" / "broken.png"
    broken.write_bytes(b"no picture")
    audit = [folder / "model.onnx", tmp_path / "images", "-o", tmp_path / "o"]
    code, _, err = run(capsys, *audit)
    assert code == 2
    assert f"{broken} cannot be decoded" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]  # nothing half-written
    code, _, err = run(capsys, *audit, "--skip-bad")
    assert code == 0
    assert f"Left out 1 image(s) that cannot be decoded: {broken}" in err


def test_samples_without_labels(capsys, folder, tmp_path):
    """A folder without classes: on the page, and in audit.json, but not in what is found."""
    plain = tmp_path / "plain"
    plain.mkdir()
    for file in sorted((folder / "images" / "small").iterdir())[:40]:
        shutil.copy(file, plain)
    model, data = folder / "model.onnx", folder / "images"
    code, _, err = run(
        capsys,
        model,
        data,
        "--unlabelled",
        plain,
        "--feature-sets",
        "image",
        "-o",
        tmp_path / "out",
    )
    assert code == 0, err
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert found["unlabelled"]["samples"] == 40
    names = [finding["name"] for finding in found["findings"]]
    assert [*found["unlabelled"]["findings"]] == names
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert len(re.findall(r"Of 40 \w+ without labels, ", page)) == len(names)
    code, _, err = run(capsys, model, data, "--unlabelled", tmp_path / "none", "-o", tmp_path / "b")
    assert (code, "none" in err) == (2, True)
    code, _, err = run(capsys, "--predictions", tmp_path / "p.csv", data, "--unlabelled", plain,
                       "-o", tmp_path / "b")  # fmt: skip
    assert "--unlabelled needs a model" in err


def test_usage(capsys, folder, tmp_path):
    model, data = folder / "model.onnx", folder / "arrays.npz"
    table = tmp_path / "t.csv"
    table.write_text("label,prediction,site\n" + "0,0,A\n1,1,B\n" * 20)
    for arguments, message in (
        ((model,), "Only one path is given"),
        ((table,), "ntkit audit --predictions TABLE DATA"),
        ((model, data, data), "3 paths are given"),
        ((table, data), "if it holds predictions, name it with --predictions"),
        ((data, model), "a model (an ONNX file) comes first"),
        ((model, model), "is a model, but samples are needed here"),
        ((model, tmp_path / "none"), "does not exist"),
        ((model, table, "--predictions", table), "With --predictions no model is run"),
        ((table, "--predictions", table, "--cross-fit"), "--cross-fit needs a model"),
        (
            (table, "--predictions", table, "--feature-sets", "word"),
            "--feature-sets needs a model",
        ),
        ((model, data, "--prediction-column", "p"), "name the table with --predictions"),
        ((model, data, "--feature-sets", "words"), "feature_sets must be some of word"),
        ((model, data, "--metadata", tmp_path / "no.csv"), "does not exist"),
        ((model, data, "--metadata", table), "40 rows and there are 1500 samples"),
        ((model, data, "--metadata", table, "--id-column", "site"), "no column 'site'"),
    ):
        code, _, err = run(capsys, *arguments, "-o", tmp_path / "out")
        assert (code, message in err) == (2, True), (arguments, err)
        assert not (tmp_path / "out").exists()


def test_nothing_of_others_is_replaced(capsys, folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for path in (out, folder / "images", folder):
        before = sorted(str(p) for p in path.rglob("*"))
        code, _, err = run(
            capsys, folder / "model.onnx", folder / "images", "-o", path, "--force"
        )  # fmt: skip
        assert code == 2
        assert "Error: " in err
        assert sorted(str(p) for p in path.rglob("*")) == before
