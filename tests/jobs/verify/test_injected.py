"""Differences of twenty services are named, and nine services like ntkit raise no alarm.

Each returns a model, what the service recorded, and the data. The images are cut from another
photograph, and the models drawn with other seeds, than those that the search was made with.
"""

from functools import partial

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from tokenizers import Tokenizer, normalizers

from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.jobs.verify import check_parity
from tests.jobs.verify import services as s

BILINEAR, BICUBIC, NEAREST = 2, 3, 0
SIDE, LARGER = 40, 45
CROPPING = {
    "size": {"shortest_edge": LARGER}, "crop_size": {"height": SIDE, "width": SIDE},
    "do_center_crop": True, "do_normalize": True, "image_mean": s.IMAGENET[0],
    "image_std": s.IMAGENET[1],
}  # fmt: skip
SQUASHING = {"size": {"height": SIDE, "width": SIDE}, "do_normalize": False}
IMAGENET = {"mean": s.IMAGENET[0], "std": s.IMAGENET[1]}


# -- what ntkit does is right for these models ---------------------------------------------------


def squash(path, how=BILINEAR, exif=True):
    return s.opened(path, exif).resize((SIDE, SIDE), how)


def crop(path, how=BILINEAR, larger=LARGER):
    return s.middle(s.shorter_side(s.opened(path), larger, how), SIDE)


def corner(path):
    return s.shorter_side(s.opened(path), LARGER).crop((0, 0, SIDE, SIDE))


def bgr(path):
    return np.asarray(crop(path))[:, :, ::-1]


def without_antialiasing(path):
    """Two neighbours on each axis, whatever the size: what OpenCV's INTER_LINEAR does."""
    pixels = np.asarray(s.opened(path)).astype(np.float64)
    for axis in (0, 1):
        n = pixels.shape[axis]
        at = np.clip((np.arange(SIDE) + 0.5) * n / SIDE - 0.5, 0, n - 1)
        low = np.minimum(at.astype(int), n - 2)
        share = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        first, second = np.take(pixels, low, axis), np.take(pixels, low + 1, axis)
        pixels = (1 - share) * first + share * second
    return np.rint(pixels)


def of_pictures(folder, seed, config, pixels, tensor=None, answer=None, fold=None):
    """A model with its configuration, and a service that prepares image files and answers so."""
    files = s.photographs(folder / "images", 0, seed=seed)
    model = s.picture_model(folder / "model.onnx", side=SIDE, seed=seed)
    s.says(folder, **config)
    names = np.array([file.relative_to(folder / "images").as_posix() for file in files])
    X = [s.tensor(pixels(file), **(tensor or {})) for file in files]
    X = [x.transpose(1, 2, 0).reshape(x.shape) for x in X] if fold else X
    logits = s.served(model, [np.ascontiguousarray(x) for x in X])
    answers = {"logits": logits} if answer is None else answer(logits)
    return model, {**answers, "files": names}, folder / "images"


def of_texts(folder, seed, feeds):
    """A service that tokenises texts so; ``feeds`` gives the inputs for one text at a time."""
    tokenizer = s.tokenizer(folder)
    model = s.text_model(folder / "model.onnx", seed=seed)
    texts = s.reviews(24, seed)
    logits = np.concatenate([s.served(model, feeds(tokenizer, text)) for text in texts])
    return model, {"logits": logits, "texts": np.array(texts)}, None


def one(tokenizer, text, **options):
    return s.encoded(tokenizer, [text], **options)


def cased(tokenizer, text):
    other = Tokenizer.from_str(tokenizer.to_str())
    other.normalizer = normalizers.BertNormalizer(lowercase=False)
    return s.encoded(other, [text])


def cut_on_the_left(tokenizer, text):
    ids = tokenizer.encode(text).ids
    ids = [2, *ids[-63:]] if len(ids) > 64 else ids
    return {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}


def of_arrays(folder, answer=None):
    """The demo's model, behind a service that gets arrays."""
    model, X = marked_digits_model_path(), load_marked_digits().X_test[:60]
    logits = s.served(model, {"image": X})
    return model, {**(answer or (lambda z: {"logits": z}))(logits), "X": X}, None


def grey_of_bgr(folder):
    """The demo's model, fed with grey made of channels that OpenCV has read."""
    model, rng = marked_digits_model_path(), np.random.default_rng(3)
    whole = load_sample_images().images[0]
    rows = [rng.integers(0, 300, 2) for _ in range(20)]
    images = np.stack([whole[a : a + 90, b : b + 90] for a, b in rows])
    grey = [Image.fromarray(image[:, :, ::-1].copy()).convert("L") for image in images]
    X = np.stack([image.resize((20, 20), 2) for image in grey])[:, None].astype(np.float32)
    return model, {"logits": s.served(model, X / np.float32(255)), "images": images}, None


# -- mismatches ---------------------------------------------------------------------------------

SQUASHES, CROPS = partial(of_pictures, config=SQUASHING), partial(of_pictures, config=CROPPING)
INJECTED = {
    "crops where ntkit squashes": (SQUASHES, 11, {"pixels": crop}, "resize and crop"),
    "squashes where ntkit crops": (
        CROPS, 12, {"pixels": squash, "tensor": IMAGENET}, "resize and crop"),
    "another size before the crop": (
        CROPS, 13, {"pixels": partial(crop, larger=50), "tensor": IMAGENET}, "resize"),
    "crops at the corner": (CROPS, 14, {"pixels": corner, "tensor": IMAGENET}, "crop"),
    "bicubic": (SQUASHES, 15, {"pixels": partial(squash, how=BICUBIC)}, "resample"),
    "nearest": (
        CROPS, 16, {"pixels": partial(crop, how=NEAREST), "tensor": IMAGENET}, "resample"),
    "no antialiasing": (SQUASHES, 17, {"pixels": without_antialiasing}, "resample"),
    "BGR": (CROPS, 18, {"pixels": bgr, "tensor": IMAGENET}, "channel order"),
    "0 to 255": (SQUASHES, 19, {"pixels": squash, "tensor": {"scale": 1}}, "scale"),
    "-1 to 1": (
        SQUASHES, 20, {"pixels": squash, "tensor": {"mean": (0.5,) * 3, "std": (0.5,) * 3}},
        "scale"),
    "no mean and std": (CROPS, 21, {"pixels": crop}, "mean and std"),
    "refolded axes": (SQUASHES, 22, {"pixels": squash, "fold": True}, "layout"),
    "no EXIF": (SQUASHES, 23, {"pixels": partial(squash, exif=False)}, "EXIF rotation"),
    "torchvision's pipeline": (
        SQUASHES, 24, {"pixels": crop, "tensor": IMAGENET}, "resize and crop", "mean and std"),
    "keeps capitals": (of_texts, 25, {"feeds": cased}, "lower-casing"),
    "no special tokens": (
        of_texts, 26, {"feeds": partial(one, special=False)}, "special tokens"),
    "48 tokens": (of_texts, 27, {"feeds": partial(one, length=48)}, "truncation length"),
    "cuts off the beginning": (of_texts, 28, {"feeds": cut_on_the_left}, "truncation side"),
    "classes by name": (
        SQUASHES, 29, {"pixels": squash, "answer": lambda z: {
            "probabilities": s.softmax(z)[:, [2, 0, 1, 4, 3]]}}, "class order"),
}  # fmt: skip


def injected(folder, name):
    """What a service recorded that differs, and what should be named."""
    if name == "grey of BGR":
        return *grey_of_bgr(folder), {"channel order"}
    service, seed, options, *causes = INJECTED[name]
    return *service(folder, seed, **options), {*causes}


# -- services that do as ntkit does -------------------------------------------------------------


def noise(logits, share):
    return logits + share * np.random.default_rng(0).normal(size=logits.shape) * np.ptp(logits)


def in_another_order(folder):
    model, recorded, data = CROPS(folder, 36, pixels=crop, tensor=IMAGENET)
    order = np.random.default_rng(0).permutation(len(recorded["files"]))[:13]
    recorded = {name: values[order] for name, values in recorded.items()}
    recorded["files"] = np.array([f"/srv/upload/{name}" for name in recorded["files"]])
    return model, recorded, data


def rounded(logits):
    return {"probabilities": s.softmax(logits).round(3)}


SQUASHED, CROPPED = partial(SQUASHES, pixels=squash), partial(CROPS, pixels=crop, tensor=IMAGENET)
MATCHING = {
    "on a GPU": partial(SQUASHED, seed=31, answer=lambda z: {"logits": noise(z, 1e-4)}),
    "in half precision": partial(
        CROPPED, seed=32, answer=lambda z: {"logits": z.astype(np.float16)}),
    "rounded probabilities": partial(SQUASHED, seed=34, answer=rounded),
    "labels": partial(CROPPED, seed=35, answer=lambda z: {"labels": z.argmax(axis=1)}),
    "in another order": in_another_order,
    "texts, one at a time": partial(of_texts, seed=37, feeds=one),
    "texts, filled up": partial(of_texts, seed=38, feeds=partial(one, filled=64)),
    "arrays": of_arrays,
    "probabilities of arrays": partial(
        of_arrays, answer=lambda z: {"probabilities": s.softmax(z)}),
}  # fmt: skip


@pytest.mark.more
@pytest.mark.parametrize("name", [*INJECTED, "grey of BGR"])
def test_the_cause_of_an_injected_difference_is_named(name, tmp_path):
    model, recorded, data, cause = injected(tmp_path, name)
    found = check_parity(model, recorded, data, device="cpu")
    assert not found.matched
    assert set(found.cause) == cause, found.summary()
    assert found.explained <= found.tolerance < found.difference
    assert not found.same_embeddings


@pytest.mark.more
@pytest.mark.parametrize("name", MATCHING)
def test_a_service_that_does_the_same_raises_no_alarm(name, tmp_path):
    model, recorded, data = MATCHING[name](tmp_path)
    found = check_parity(model, recorded, data, device="cpu")
    assert found.matched, found.summary()
    if name == "arrays":  # one sample is enough
        assert check_parity(model, {k: v[:1] for k, v in recorded.items()}, device="cpu").matched
    assert found.n_agreeing == found.n_samples == len(next(iter(recorded.values())))
    assert found.same_embeddings
    assert found.cause == ()


@pytest.mark.more
def test_what_cannot_be_explained_is_not_explained(tmp_path):
    model, recorded, data, _ = injected(tmp_path, "bicubic")
    recorded = {name: values[:8] for name, values in recorded.items()}
    recorded["logits"] = np.random.default_rng(0).normal(size=recorded["logits"].shape)
    found = check_parity(model, recorded, data, device="cpu")
    assert (found.matched, found.cause, found.same_embeddings) == (False, (), False)
    assert "No cause found" in found.summary()
