"""Twenty services with one or two differences from ntkit, and ten without any.

Each is a function of a folder that returns a model, what the service recorded, the data, and
what should be named. The images are cut from another photograph, and the models drawn with other
seeds, than those that the search was made with.
"""

import shutil

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from tokenizers import Tokenizer, normalizers

from ntkit.datasets import load_marked_digits, marked_digits_model_path
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


def pictures(folder, seed, config):
    """A model with its configuration files, and image files."""
    files = s.photographs(folder / "images", 0, seed=seed)
    model = s.picture_model(folder / "model.onnx", side=SIDE, seed=seed)
    s.says(folder, **config)
    names = [file.relative_to(folder / "images").as_posix() for file in files]
    return model, files, np.array(names)


def squash(path, how=BILINEAR, exif=True):
    return s.opened(path, exif).resize((SIDE, SIDE), how)


def cropped(path, how=BILINEAR, larger=LARGER):
    return s.middle(s.shorter_side(s.opened(path), larger, how), SIDE)


def of_pictures(config, seed, prepare, answer=None):
    """A service that prepares images so, and answers so."""

    def service(folder):
        model, files, names = pictures(folder, seed, config)
        logits = s.served(model, [np.ascontiguousarray(prepare(file)) for file in files])
        answers = {"logits": logits} if answer is None else answer(logits)
        return model, {**answers, "files": names}, folder / "images"

    return service


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
    return s.tensor(np.rint(pixels))


def of_texts(seed, feeds):
    """A service that tokenises texts so; ``feeds`` gives the inputs for one text at a time."""

    def service(folder):
        tokenizer = s.tokenizer(folder)
        model = s.text_model(folder / "model.onnx", seed=seed)
        texts = s.reviews(24, seed)
        logits = np.concatenate([s.served(model, feeds(tokenizer, text)) for text in texts])
        return model, {"logits": logits, "texts": np.array(texts)}, None

    return service


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


def digits(prepare, answer=None, n=60):
    """The demo's model, behind a service that gets arrays."""

    def service(folder):
        shutil.copy(marked_digits_model_path(), folder / "model.onnx")
        X = load_marked_digits().X_test[:n]
        logits = s.served(folder / "model.onnx", {"image": prepare(X)})
        answers = {"logits": logits} if answer is None else answer(logits)
        return folder / "model.onnx", {**answers, "X": X}, None

    return service


def grey_of_bgr(folder):
    """The demo's model, fed with grey made of channels that OpenCV has read."""
    shutil.copy(marked_digits_model_path(), folder / "model.onnx")
    rng, whole = np.random.default_rng(3), load_sample_images().images[0]
    rows = [rng.integers(0, 300, 2) for _ in range(20)]
    images = np.stack([whole[a : a + 90, b : b + 90] for a, b in rows])
    fed = [
        np.asarray(Image.fromarray(image[:, :, ::-1].copy()).convert("L").resize((20, 20), 2))
        for image in images
    ]
    X = np.stack(fed)[:, None].astype(np.float32) / np.float32(255)
    return (
        folder / "model.onnx",
        {"logits": s.served(folder / "model.onnx", X), "images": images},
        None,
    )


# -- mismatches ---------------------------------------------------------------------------------

INJECTED = {
    "crops where ntkit squashes": (
        of_pictures(SQUASHING, 11, lambda p: s.tensor(cropped(p))), {"resize and crop"}),
    "squashes where ntkit crops": (
        of_pictures(CROPPING, 12, lambda p: s.tensor(squash(p), **IMAGENET)), {"resize and crop"}),
    "another size before the crop": (
        of_pictures(CROPPING, 13, lambda p: s.tensor(cropped(p, larger=50), **IMAGENET)),
        {"resize"}),
    "crops at the corner": (
        of_pictures(CROPPING, 14, lambda p: s.tensor(
            s.shorter_side(s.opened(p), LARGER).crop((0, 0, SIDE, SIDE)), **IMAGENET)), {"crop"}),
    "bicubic": (
        of_pictures(SQUASHING, 15, lambda p: s.tensor(squash(p, BICUBIC))), {"resample"}),
    "nearest": (
        of_pictures(CROPPING, 16, lambda p: s.tensor(cropped(p, NEAREST), **IMAGENET)),
        {"resample"}),
    "no antialiasing": (of_pictures(SQUASHING, 17, without_antialiasing), {"resample"}),
    "BGR": (
        of_pictures(CROPPING, 18, lambda p: s.tensor(np.asarray(cropped(p))[:, :, ::-1],
                                                     **IMAGENET)), {"channel order"}),
    "grey of BGR": (grey_of_bgr, {"channel order"}),
    "0 to 255": (of_pictures(SQUASHING, 19, lambda p: s.tensor(squash(p), 1)), {"scale"}),
    "-1 to 1": (
        of_pictures(SQUASHING, 20, lambda p: s.tensor(squash(p), mean=(0.5,) * 3, std=(0.5,) * 3)),
        {"scale"}),
    "no mean and std": (
        of_pictures(CROPPING, 21, lambda p: s.tensor(cropped(p))), {"mean and std"}),
    "refolded axes": (
        of_pictures(SQUASHING, 22,
                    lambda p: s.tensor(squash(p)).transpose(1, 2, 0).reshape(3, SIDE, SIDE)),
        {"layout"}),
    "no EXIF": (
        of_pictures(SQUASHING, 23, lambda p: s.tensor(squash(p, exif=False))), {"EXIF rotation"}),
    "torchvision's pipeline": (
        of_pictures(SQUASHING, 24, lambda p: s.tensor(cropped(p), **IMAGENET)),
        {"resize and crop", "mean and std"}),
    "keeps capitals": (of_texts(25, cased), {"lower-casing"}),
    "no special tokens": (
        of_texts(26, lambda t, x: one(t, x, special=False)), {"special tokens"}),
    "48 tokens": (of_texts(27, lambda t, x: one(t, x, length=48)), {"truncation length"}),
    "cuts off the beginning": (of_texts(28, cut_on_the_left), {"truncation side"}),
    "classes by name": (
        of_pictures(SQUASHING, 29, lambda p: s.tensor(squash(p)),
                    lambda z: {"probabilities": s.softmax(z)[:, [2, 0, 1, 4, 3]]}),
        {"class order"}),
}  # fmt: skip


# -- services that do as ntkit does -------------------------------------------------------------


def noise(logits, share):
    return logits + share * np.random.default_rng(0).normal(size=logits.shape) * np.ptp(logits)


def one_picture(folder):
    model, recorded, data = of_pictures(SQUASHING, 33, lambda p: s.tensor(squash(p)))(folder)
    return model, {name: values[:1] for name, values in recorded.items()}, data


def in_another_order(folder):
    model, recorded, data = of_pictures(CROPPING, 36, lambda p: s.tensor(cropped(p), **IMAGENET))(
        folder
    )
    order = np.random.default_rng(0).permutation(len(recorded["files"]))[:13]
    recorded = {name: values[order] for name, values in recorded.items()}
    recorded["files"] = np.array([f"/srv/upload/{name}" for name in recorded["files"]])
    return model, recorded, data


MATCHING = {
    "on a GPU": of_pictures(SQUASHING, 31, lambda p: s.tensor(squash(p)),
                            lambda z: {"logits": noise(z, 1e-4)}),
    "in half precision": of_pictures(CROPPING, 32, lambda p: s.tensor(cropped(p), **IMAGENET),
                                     lambda z: {"logits": z.astype(np.float16)}),
    "one picture": one_picture,
    "rounded probabilities": of_pictures(
        SQUASHING, 34, lambda p: s.tensor(squash(p)),
        lambda z: {"probabilities": s.softmax(z).round(3)}),
    "labels": of_pictures(CROPPING, 35, lambda p: s.tensor(cropped(p), **IMAGENET),
                          lambda z: {"labels": z.argmax(axis=1)}),
    "in another order": in_another_order,
    "texts, one at a time": of_texts(37, one),
    "texts, filled up": of_texts(38, lambda t, x: one(t, x, filled=64)),
    "arrays": digits(lambda X: X),
    "probabilities of arrays": digits(lambda X: X, lambda z: {"probabilities": s.softmax(z)}),
}  # fmt: skip
