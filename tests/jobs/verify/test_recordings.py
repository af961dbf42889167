"""What a recording may hold, and what is refused with a sentence that says the mend."""

import json

import numpy as np
import pytest
from PIL import Image

import ntkit
from ntkit import DebiasSettings
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError, VerificationError
from ntkit.jobs.verify import check_parity
from tests import cases
from tests import models as zoo
from tests.jobs.verify import services as s


@pytest.fixture(scope="module")
def answered(digits):
    """Inputs, and what ONNX Runtime answers."""
    X = digits.X_test[:30]
    return X, s.served(marked_digits_model_path(), {"image": X})


def check(recorded, data=None, **options):
    return check_parity(marked_digits_model_path(), recorded, data, device="cpu", **options)


def test_rows_and_all_rows_of_data(answered):
    X, logits = answered
    assert check({"logits": logits}, X).matched
    assert check({"logits": logits[5:9], "rows": np.arange(5, 9)}, X).matched
    assert not check({"logits": logits[5:9], "rows": np.arange(6, 10)}, X).matched


def test_rounded_values_match_and_others_must_be_exact(answered):
    X, logits = answered
    assert check({"logits": np.round(logits.astype(np.float64), 1)}, X).matched
    off = np.where(np.arange(len(logits)) % 2, 0.03, -0.03)[:, None] * [1, -1]
    assert not check({"logits": logits + off}, X).matched


def test_two_columns_one_column_and_names_of_inputs(answered):
    X, logits = answered
    shares = s.softmax(logits)
    assert check({"probabilities": shares[:, 1], "image": X}).matched
    assert check({"logits": logits[:, 1] - logits[:, 0], "X": X}).cause == ()
    swapped = check({"probabilities": shares[:, 0], "image": X})
    assert swapped.cause == ("class order",)


def test_softmax_and_temperature_leave_the_embeddings_alone(answered):
    X, logits = answered
    for recorded, cause in (
        ({"logits": s.softmax(logits)}, "softmax"),
        ({"probabilities": s.softmax(logits / 2.5)}, "temperature"),
    ):
        found = check({**recorded, "X": X})
        assert (found.matched, found.cause, found.same_embeddings) == (False, (cause,), True)
    assert "temperature of 2.5" in found.summary()


def test_one_column_is_what_it_is_called_unless_its_values_say_otherwise(tmp_path):
    """A margin from 0 to 1 is not a probability, and numbers above 1 cannot be."""
    model = zoo.save(zoo.classifier(1), tmp_path / "m.onnx")
    X = zoo.inputs(400)
    margins = s.served(model, X)[:, 0]
    small = (margins >= 0) & (margins <= 1)
    assert small.sum() > 10
    assert check_parity(model, {"logits": margins[small], "X": X[small]}, device="cpu").matched
    found = check_parity(model, {"probabilities": margins, "X": X}, device="cpu")
    assert found.cause == ("softmax",)
    assert "returns logits, not probabilities" in found.summary()


def test_two_differences_of_a_model_of_many_classes_are_told(tmp_path):
    model = s.picture_model(tmp_path / "model.onnx", classes=70)
    files = s.photographs(tmp_path / "images", 0, n=12)
    images = np.stack([np.asarray(s.opened(f).resize((32, 32))) for f in files])
    shares = s.softmax(s.served(model, [s.tensor(image[:, :, ::-1]) for image in images]))
    found = check_parity(model, {"logits": shares, "images": images}, device="cpu")
    assert {*found.cause} == {"channel order", "softmax"}


@pytest.mark.parametrize(("grey", "colour"), [(255, "white"), (0, "black")])
def test_the_ground_of_transparent_images_is_told(tmp_path, grey, colour):
    model, X = s.picture_model(tmp_path / "model.onnx"), []
    for file in s.photographs(tmp_path / "images", 0, n=9):
        image = s.opened(file)
        ground = Image.new("RGB", image.size, (grey,) * 3)
        mask = Image.new("L", image.size, 60)
        mask.paste(255, (0, 0, image.width // 2, image.height))
        X.append(s.tensor(Image.composite(image, ground, mask).resize((32, 32), 2)))
        image.putalpha(mask)
        file.unlink()
        image.save(file.with_suffix(".png"))
    names = [f.relative_to(tmp_path).as_posix() for f in sorted(tmp_path.rglob("*.png"))]
    found = check_parity(
        model, {"logits": s.served(model, X), "files": names}, tmp_path, device="cpu"
    )
    assert found.cause == ("transparency",)
    assert f"puts transparent images on {colour}" in found.summary()


def test_a_length_of_texts_is_told_with_the_option(tmp_path):
    tokenizer, texts = s.tokenizer(tmp_path), s.reviews(16, 3)
    model = s.text_model(tmp_path / "model.onnx")
    logits = s.served(model, s.encoded(tokenizer, texts, length=50))
    found = check_parity(model, {"logits": logits, "texts": np.array(texts)}, device="cpu")
    assert found.cause == ("truncation length",)
    assert found.fix == '--preprocessing "max_length=50"'


def test_inverted_images_are_told(digits):
    images = (digits.X_test[:30, 0] * 255).round().astype(np.uint8)
    X = (255 - images[:, None].astype(np.float32)) / 255
    logits = s.served(marked_digits_model_path(), {"image": X})
    found = check({"logits": logits, "images": images})
    assert found.cause == ("scale",)
    assert "inverts images" in found.summary()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"logits": None}, "no outputs"),
        ({"X": None}, "does not hold the inputs"),
        ({"rows": np.arange(30)}, "Keep one"),
        ({"X": np.zeros((29, 1, 20, 20))}, "30 outputs, but 29 X"),
        ({"logits": np.full((30, 2), np.nan)}, "not finite"),
        ({"logits": np.zeros((30, 7))}, "holds 7 logits per sample, but the model has 2"),
        ({"logits": np.zeros((2, 2, 2))}, "one row per sample"),
        ({"logits": None, "labels": np.full(30, 2)}, "not a class of the model"),
        ({"logits": None, "labels": np.full(30, 0.5)}, "whole number"),
        ({"X": None, "files": np.array(["no.png"] * 30)}, "which does not exist"),
        ({"X": None, "files": np.arange(30)}, "dtype=str"),
        ({"X": None, "texts": np.array(["a"] * 30)}, "no tokenizer"),
        ({"X": None, "images": np.zeros((30, 20, 20, 3))}, "uint8"),
        ({"X": np.zeros((30, 3))}, "has shape"),
    ],
)
def test_what_does_not_fit_is_refused(answered, change, says):
    X, logits = answered
    recorded = {"logits": logits, "X": X, **change}
    with pytest.raises(InputError, match=says):
        check({name: values for name, values in recorded.items() if values is not None})


def test_files_that_are_no_recordings_are_refused(tmp_path, answered):
    _, logits = answered
    for name, content in {"text.npz": b"not a zip file", "empty.npz": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not a readable"):
            check(tmp_path / name)
    np.savez(tmp_path / "objects.npz", logits=logits, X=np.array([{}] * 30, dtype=object))
    with pytest.raises(InputError, match="not Python objects"):
        check(tmp_path / "objects.npz")
    with pytest.raises(InputError, match="not a readable"):
        check(tmp_path / "missing.npz")


def test_parity_exits_with_1_if_they_differ(tmp_path, answered):
    X, logits = answered
    np.savez(tmp_path / "same.npz", logits=logits, X=X)
    np.savez(tmp_path / "other.npz", logits=logits[:, ::-1], X=X)
    parity = ["parity", marked_digits_model_path(), "--device", "cpu"]
    code, out, _ = cases.ntkit(*parity, tmp_path / "same.npz")
    assert code == 0
    assert "agree on all 30 samples" in out
    code, out, _ = cases.ntkit(*parity, tmp_path / "other.npz", "--json")
    assert code == 1
    assert json.loads(out)["cause"] == ["class order"]
    code, _, err = cases.ntkit("verify", marked_digits_model_path())
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "DEBIASED and DATA are missing" in err
    assert "ntkit parity MODEL OUTPUTS.npz" in err


def test_the_option_it_names_mends_it(tmp_path):
    files = s.photographs(tmp_path / "images", 0, n=12)
    model = s.picture_model(tmp_path / "model.onnx")
    X = [s.tensor(s.middle(s.shorter_side(s.opened(f), 36), 32)) for f in files]
    names = [f.relative_to(tmp_path / "images").as_posix() for f in files]
    np.savez(tmp_path / "recorded.npz", logits=s.served(model, X), files=names)
    parity = ["parity", model, tmp_path / "recorded.npz", "--data", tmp_path / "images"]
    parity += ["--device", "cpu"]
    code, out, _ = cases.ntkit(*parity)
    fix = 'To do the same in ntkit: --preprocessing "resize=36 crop=32,32"'
    assert (code, out.splitlines()[-1]) == (1, fix)
    assert cases.ntkit(*parity, "--preprocessing", "resize=36 crop=32,32")[0] == 0


def test_the_shorter_side_before_the_crop_of_an_oblong_input_is_told(tmp_path):
    """The height of the input is 7/8 of it, as usual."""
    model, X = s.picture_model(tmp_path / "model.onnx", side=24, wide=32), []
    for file in s.photographs(tmp_path / "images", 0, n=9):
        image = s.opened(file)
        image = image.crop((0, 0, image.width, image.width // 2))
        file.unlink()
        image.save(file.with_suffix(".png"))
        resized = s.shorter_side(image, 27)
        left, top = (resized.width - 32) // 2, (resized.height - 24) // 2
        X.append(s.tensor(resized.crop((left, top, left + 32, top + 24))))
    names = [f.relative_to(tmp_path).as_posix() for f in sorted(tmp_path.rglob("*.png"))]
    recorded = {"logits": s.served(model, X), "files": names}
    found = check_parity(model, recorded, tmp_path, device="cpu")
    assert found.fix == '--preprocessing "resize=27 crop=24,32"'


# -- debiasing ----------------------------------------------------------------------------------


def job(digits, recorded, **options):
    return ntkit.debias(
        marked_digits_model_path(),
        (digits.X_train[:300], digits.y_train[:300]),
        (digits.X_validation[:300], digits.y_validation[:300]),
        settings=DebiasSettings(recorded=recorded),
        method="class-balanced",
        device="cpu",
        **options,
    )


def test_debias_refuses_embeddings_that_are_not_the_services(digits, tmp_path):
    X = digits.X_validation[:20]
    logits = s.served(marked_digits_model_path(), {"image": 1 - X})
    with pytest.raises(VerificationError, match="computes other outputs than ntkit"):
        job(digits, {"logits": logits, "rows": np.arange(20)}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.more
def test_debias_compares_stored_embeddings_by_the_head(digits, tmp_path):
    model = ntkit.FrozenModel.load(marked_digits_model_path())
    embedder = ntkit.OnnxEmbedder(model, device="cpu")
    X = digits.X_validation[:20]
    logits = s.served(marked_digits_model_path(), {"image": X})
    sets = {
        part: ntkit.extraction.Samples(
            embedder.transform(digits[f"X_{part}"][:300]), digits[f"y_{part}"][:300], embedded=True
        )
        for part in ("train", "validation")
    }
    rows = {"logits": logits, "rows": np.arange(20)}
    options = {"method": "class-balanced", "device": "cpu"}
    result = ntkit.debias(
        model, sets["train"], sets["validation"], settings=DebiasSettings(recorded=rows), **options
    )
    assert any("agree on all 20 samples" in note for note in result.notes)
    rows["rows"] += 1
    with pytest.raises(VerificationError, match="No cause found"):
        ntkit.debias(
            model,
            sets["train"],
            sets["validation"],
            settings=DebiasSettings(recorded=rows),
            **options,
        )


def test_all_recorded_samples_are_compared(digits):
    X = digits.X_test[:300]
    logits = s.served(marked_digits_model_path(), {"image": X})
    assert "agree on all 300 samples." in check({"logits": logits, "X": X}).summary()
    wrong = logits.copy()
    wrong[6] += 100 * np.eye(2)[0]  # one that a spread of 256 leaves out
    assert 6 not in np.linspace(0, 299, 256).astype(int)
    found = check({"logits": wrong, "X": X})
    assert (found.matched, found.n_samples, found.n_agreeing) == (False, 300, 299)
    swapped = check({"logits": logits[:, ::-1], "X": X})
    assert swapped.cause == ("class order",)
    assert "all 256 samples tried agree" in swapped.summary()


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_labels_that_contradict_are_refused(answered, kind):
    X, logits = answered
    outputs = logits if kind == "logits" else s.softmax(logits)
    labels = logits.argmax(axis=1)
    assert check({kind: outputs, "labels": labels, "X": X}).matched
    labels[[7, 9]] = 1 - labels[[7, 9]]
    told = (
        rf"in 2 of 30 samples. In row 7 \(counted from 0\) the label is {labels[7]}, but the {kind}"
    )
    with pytest.raises(InputError, match=told):
        check({kind: outputs, "labels": labels, "X": X})
    with pytest.raises(InputError, match=r"30 \w+, but 29 labels"):
        check({kind: outputs, "labels": labels[:29], "X": X})
