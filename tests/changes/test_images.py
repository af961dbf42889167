"""Changes of images: in files of every kind, and in arrays."""

import io

import numpy as np
import pytest
from PIL import Image

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.changes import change_from, change_named
from ntkit.changes.change import as_seen
from ntkit.changes.images import NAMES, PARTS
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, Samples, read_samples
from ntkit.samples.copies import sample_digests

OTHERS = [name for name in NAMES if name not in PARTS]
OWN = [name for name in OTHERS if name not in ("border", "centre", "high frequencies")]


def noise(n=8, size=(24, 32), channels=3, seed=0, dtype=np.uint8):
    """Images of smooth noise, (N, H, W, C)."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 4, 4, channels))
    return np.repeat(np.repeat(small, size[0] // 4, 1), size[1] // 4, 2).astype(dtype)


def folder_of(path, images, suffix="png", **options):
    for i, image in enumerate(images):
        file = path / "ab"[i % 2] / f"{i:02}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(file, **options)
    return path


@pytest.fixture
def images(tmp_path):
    steps = ImagePreprocessing(resize=(24, 32), mean=(0.5,), std=(0.25,))
    return read_samples(folder_of(tmp_path / "set", noise()), preprocessing=steps)


@pytest.mark.parametrize("name", ["bottom right", *OTHERS])
def test_copies_in_batches_are_those_of_one_pass_and_of_these_rows_alone(images, name):
    change = change_named(f"image:{name}")
    copies, at = change.copies(images, seed=3)
    whole = copies.X[:]
    assert at.tolist() == [*range(8)]
    assert whole.shape == (8, 3, 24, 32)
    parts = np.concatenate([copies.X[0:3], copies.X[3:5], copies.X[5:8]])
    np.testing.assert_array_equal(parts, whole)
    some, at = change.copies(images, [6, 1], seed=3)
    np.testing.assert_array_equal(some.X[:], whole[[6, 1]])
    np.testing.assert_array_equal(copies.take([6, 1]).X[:], whole[[6, 1]])
    assert sample_digests(some).tolist() == sample_digests(copies)[[6, 1]].tolist()
    assert len({*sample_digests(copies).tolist()}) == 8
    assert not {*sample_digests(copies).tolist()} & {*sample_digests(images).tolist()}
    if name != "grey":
        assert (whole != images.X[:]).any(axis=(1, 2, 3)).all()
    if name in ("bottom right", "border", "noise"):  # another seed decides otherwise
        assert (change.copies(images, seed=4)[0].X[:] != whole).any()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", ["uint8", "unit", "normalised", "binary", "wide"])
def test_a_part_of_an_array_comes_from_one_other_image_and_the_rest_stays(layout, kind):
    X = noise(1500 if kind == "normalised" else 12, size=(8, 12))
    X = {
        "uint8": X, "unit": (X / 255).astype(np.float32), "binary": X // 128,
        "normalised": ((X / 255 - 0.5) / 0.2).astype(np.float32), "wide": X.astype(np.int32) * 16,
    }[kind]  # fmt: skip
    if kind == "normalised":
        X[7] *= 1.5  # beyond what the first thousand show
    X = np.moveaxis(X, -1, 1).copy() if layout == "NCHW" else X
    before = X.copy()
    copies, _at = change_named("image:top left").copies(
        Samples(X, np.arange(len(X)) % 2), range(12)
    )
    new = copies.X[:]
    assert new.dtype == X.dtype
    assert new.shape == (12, *X.shape[1:])
    part = (slice(None), slice(0, 3), slice(0, 4))
    axes = (0, 2, 3, 1) if layout == "NCHW" else (0, 1, 2, 3)
    old, made = X.transpose(axes), new.transpose(axes)
    np.testing.assert_array_equal(made[:, 5:], old[:12, 5:])  # to the last bit
    np.testing.assert_array_equal(made[:, :, 6:], old[:12, :, 6:])
    for row in range(12):
        near = np.abs(old[part].astype(float) - made[part][row].astype(float)).max((1, 2, 3))
        assert near.min() < 1e-5 * max(1, np.abs(X).max())
        assert near.argmin() != row
    np.testing.assert_array_equal(X, before)


def copied(name, X, rows=None):
    """Copies of an array of images by a change, in float64."""
    return change_named(f"image:{name}").copies(Samples(X), rows)[0].X[:].astype(float)


KNOWN = {
    "0 to 1": lambda X: X / 255, "-1 to 1": lambda X: X / 127.5 - 1, "0 to 255": lambda X: X,
}  # fmt: skip
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
NORMALISED = {
    "imagenet": lambda X: (X / 255 - MEAN) / STD, "less the mean": lambda X: X / 255 - MEAN,
}  # fmt: skip
IN_ANY_SCALE = ("bottom right", "border", "centre", "blur")


@pytest.mark.parametrize("scale", KNOWN)
@pytest.mark.parametrize("name", ["bottom right", *OTHERS])
def test_a_change_is_the_same_in_all_known_scales(name, scale):
    X, scaled = noise(), KNOWN[scale]
    X[0, 0, 0] = 0  # some pixel is black
    new = copied(name, scaled(X.astype(np.float32)))
    expected = scaled(copied(name, X.astype(np.float32)))
    np.testing.assert_allclose(new, expected, atol=1e-5 * (255 if scale == "0 to 255" else 1))


@pytest.mark.parametrize("scale", NORMALISED)
@pytest.mark.parametrize("name", ["bottom right", *OTHERS])
def test_a_change_of_normalised_images_is_the_same_or_refused(name, scale):
    """It is not another change under the same name."""
    X, normalised = noise().astype(np.float32), NORMALISED[scale]
    if name in IN_ANY_SCALE:
        new, expected = copied(name, normalised(X)), normalised(copied(name, X))
        np.testing.assert_allclose(new, expected, atol=1e-5)
        return
    with pytest.raises(InputError, match=r"needs black and white, .* Pass image files with --mean"):
        copied(name, normalised(X))
    with pytest.raises(InputError, match="'half' needs black and white"):
        change_from(lambda image: image / 2, "half").copies(Samples(normalised(X)))


@pytest.mark.parametrize("values", [16, 40_000])
def test_white_is_the_largest_value_of_the_whole_set(values):
    """Wherever it is, and whichever samples are copied."""
    X = (noise(2500, size=(4, 4)) / 255 * (values / 2)).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(X))
    for row in (1, 2, 1337):
        X[row, 0, 0] = values
        new = copied("brightness=3", X, [5, 6])
        np.testing.assert_allclose(new, np.minimum(X[[5, 6]] * 3, values), rtol=1e-5)
        shuffled = copied("brightness=3", X[order])
        np.testing.assert_array_equal(shuffled, copied("brightness=3", X)[order])
        X[row, 0, 0] = 0


def test_copies_of_an_array_are_made_when_they_are_read():
    made = []
    X = noise(20)
    change = change_from(lambda image: made.append(1) or image / 2, "halved")
    copies, _ = change.copies(Samples(X))
    some = copies.take(range(10))
    assert not made
    np.testing.assert_allclose(some.X[2:4], X[2:4] / 2, atol=0.5)
    assert len(made) == 2
    np.testing.assert_array_equal(some.X[[3, 2]], copies.X[3:1:-1])


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_pillow_and_scipy_do(name, channels, tmp_path):
    X = noise(channels=channels)
    pixels = X[..., 0] if channels == 1 else X
    steps = ImagePreprocessing(channels=channels)
    change = change_named(f"image:{name}")
    files = read_samples(folder_of(tmp_path, pixels), preprocessing=steps)
    rows = [int(str(i)[-6:-4]) for i in files.ids]
    from_files = change.copies(files)[0].X[:] * 255
    array = change.copies(Samples(X[rows]))[0].X[:].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(from_files, array, atol=0.51)
    image = Image.fromarray(pixels[rows[0]])
    if name == "jpeg":
        file = io.BytesIO()
        image.save(file, "JPEG", quality=75)
        expected = Image.open(file)
    elif name == "resize":
        expected = image.resize((16, 12), Image.Resampling.BICUBIC).resize(
            (32, 24), Image.Resampling.BICUBIC
        )
    elif name == "grey":
        expected = image.convert("L").convert(image.mode)
    else:
        return
    expected = np.asarray(expected, dtype=float).reshape(24, 32, channels)
    np.testing.assert_allclose(from_files[0].transpose(1, 2, 0), expected, atol=1)


def palette(image):
    image = image.quantize(16)
    image.info["transparency"] = 0
    return image


@pytest.mark.parametrize("name", ["jpeg=100", "top left", "grey"])
@pytest.mark.parametrize("kind", ["palette", "alpha", "grey", "turned"])
def test_files_of_every_kind_are_changed_as_they_are_seen(name, kind, tmp_path):
    plain = [Image.fromarray(x) for x in noise()]
    options = {}
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif}
    change = {
        "palette": palette, "alpha": lambda x: x.convert("RGBA"), "turned": lambda x: x,
        "grey": lambda x: x.convert("L"),
    }[kind]  # fmt: skip
    path = folder_of(tmp_path / "set", map(change, plain), "png", **options)
    samples = read_samples(path, preprocessing=ImagePreprocessing())
    copies, _ = change_named(f"image:{name}").copies(samples)
    assert copies.X[:].shape == samples.X[:].shape == (
        8, 3, *((32, 24) if kind == "turned" else (24, 32)))  # fmt: skip
    seen = copies.X[:][:, :, 12:, 16:] * 255
    old = samples.X[:][:, :, 12:, 16:] * 255
    if name == "grey":
        old = np.tensordot(old, [0.299, 0.587, 0.114], (1, 0))[:, None].repeat(3, 1)
    assert np.abs(seen - old).mean() < (10 if name == "jpeg=100" else 2)


@pytest.mark.parametrize("name", ["bottom right", *OTHERS])
def test_images_of_one_pixel_and_of_different_sizes(name, tmp_path):
    sizes = [(1, 1), (40, 3), (2, 50), (300, 200)]
    images = [Image.fromarray(noise(1, (304, 304), seed=i)[0]).resize(s)
              for i, s in enumerate(sizes)]  # fmt: skip
    path = folder_of(tmp_path, images)
    resized = read_samples(path, preprocessing=ImagePreprocessing(resize=(6, 5)))
    assert np.isfinite(change_named(f"image:{name}").copies(resized)[0].X[:]).all()
    kept = read_samples(path, preprocessing=ImagePreprocessing())
    copies, _ = change_named(f"image:{name}").copies(kept)
    for i in range(4):  # a donor of another size is resized
        assert copies.X[i : i + 1].shape == kept.X[i : i + 1].shape


def test_what_pillow_cannot_store_names_the_file(tmp_path):
    """No JPEG has more than 65500 pixels in a row."""
    path = folder_of(tmp_path, [np.zeros((1, 66_000), np.uint8)])
    samples = read_samples(path, preprocessing=ImagePreprocessing(resize=(4, 4)))
    with pytest.raises(InputError, match=r"00\.png cannot be changed: "):
        change_named("image:jpeg").copies(samples)[0].X[:]


def test_border_and_centre_are_each_others_rest(images):
    border, centre = (change_named(f"image:{n}").copies(images)[0] for n in ("border", "centre"))
    as_they_are = images.X[:]
    np.testing.assert_array_equal(border.X[:][:, :, 10:14, 12:20], as_they_are[:, :, 10:14, 12:20])
    np.testing.assert_array_equal(centre.X[:][:, :, :2, :2], as_they_are[:, :, :2, :2])
    assert (border.X[:][:, :, :2, :2] != as_they_are[:, :, :2, :2]).any()


def test_without_another_sample_there_is_no_copy(images):
    copies, _ = change_named("image:grey").copies(images)
    with pytest.raises(InputError, match="changes images, but"):  # copies are not changed again
        change_named("image:blur").copies(copies)
    X = noise(3)
    copies, at = change_named("image:border").copies(Samples(X[:1]))
    assert (len(copies), copies.X[:].shape) == (0, (0, *X.shape[1:]))
    _, at = change_named("image:border").copies(Samples(X), folds=np.array([0, 0, 1]))
    assert at.tolist() == [0, 1]
    _, at = change_named("image:jpeg").copies(Samples(X[:1]))
    assert at.tolist() == [0]


def test_looks_show_the_copies(images):
    for X in (noise(), noise().astype(np.float32) / 255, noise() // 16):  # 16 is digits' white
        copies = change_named("image:brightness=0.5").copies(Samples(X))[0]
        np.testing.assert_allclose(copies.X[:], X / 2, atol=0.5 if X.dtype.kind == "u" else 1e-6)
    change = change_named("image:brightness=0.5")
    shown = change.copies(images)[0].looks().images
    seen = as_seen(images).looks().images
    assert shown[2].dtype == np.uint8
    assert shown[2].shape == (24, 32, 3)
    np.testing.assert_allclose(shown[2].astype(float), seen[2] / 2.0, atol=0.51)
    X = noise(channels=1)
    grey = change.copies(Samples(X))[0].looks().images
    np.testing.assert_allclose(grey[0].astype(float), X[0, ..., 0] / 2, atol=0.51)


@pytest.mark.parametrize("name", ["image:top left", "image:jpeg", "image:noise"])
def test_onnx_runtime_gives_what_it_gives_for_the_same_pixels_by_hand(name, digits, tmp_path):
    embedder = OnnxEmbedder(FrozenModel.load(marked_digits_model_path()), device="cpu")
    copies, _ = change_named(name).copies(Samples(digits.X_test[:30], digits.y_test[:30]))
    by_hand = np.stack([copies.X[i] for i in range(30)])
    np.testing.assert_array_equal(embedder.transform(copies.X), embedder.transform(by_hand))
    pixels = (digits.X_test[:30, 0] * 255).astype(np.uint8)
    steps = ImagePreprocessing.for_model(embedder.frozen_model)
    files = read_samples(folder_of(tmp_path, pixels), preprocessing=steps)
    copies, _ = change_named(name).copies(files)
    seen = np.stack([copies.X.seen(i) for i in range(30)]).transpose(0, 3, 1, 2)
    expected = embedder.transform((seen / 255).astype(np.float32))
    np.testing.assert_allclose(embedder.transform(copies.X), expected, atol=1e-5)


def test_functions_of_images(images):
    shifted = change_from(lambda image, other: image[::-1] * 0 + other, "other", donor=True)
    copies, at = shifted.copies(images)
    originals = images.X[:]
    for row, copy in zip(at, copies.X[:], strict=True):
        same = [i for i in range(8) if np.allclose(originals[i], copy)]
        assert same
        assert row not in same
    for function in (lambda image: None, lambda image: image[:3]):
        with pytest.raises(InputError, match="return an array of the same shape for each image"):
            change_from(function, "f").copies(images)[0].X[:]


def test_a_function_that_was_edited_makes_other_contents(images):
    halved, again, other = (
        sample_digests(change_from(function, "darker").copies(images)[0]).tolist()
        for function in (lambda image: image / 2, lambda image: image / 2, lambda image: image / 3)
    )
    assert halved == again
    assert not {*halved} & {*other}


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_files_are_whole_numbers_for_a_model_that_takes_them(name, tmp_path):
    """An input of integers refuses others."""
    steps = ImagePreprocessing(scale=1.0)
    files = read_samples(folder_of(tmp_path / "set", noise()), preprocessing=steps)
    copies, _ = change_named(f"image:{name}").copies(files)
    values = copies.X[: len(copies)]
    assert np.array_equal(values, np.rint(values))
