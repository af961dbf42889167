"""Image preprocessing against the same steps written out with Pillow and NumPy."""

import io
import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from ntkit.exceptions import InputError
from ntkit.extraction import ImageFiles, ImagePreprocessing
from ntkit.inputs.image_files import decode

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RAW = ImagePreprocessing(scale=1.0, layout="NHWC")
DEEP = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
FLIPS = [lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1, ::-1], lambda a: a[::-1]]
TURNED = [lambda a, flip=FLIPS[i]: flip(a).swapaxes(0, 1) for i in (0, 3, 2, 1)]
TURNS = dict(enumerate([*FLIPS, *TURNED], start=1))  # by the orientation in EXIF


def picture(width=30, height=20, mode="RGB", seed=0):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return image.convert(mode)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a description"
    return exif


def read(path, content, steps=RAW):
    path.write_bytes(content)
    return ImageFiles([path], steps)[:1][0]


# -- steps --------------------------------------------------------------------------------------


def by_hand(image, size, crop, mean, std):
    """Hugging Face's steps: RGB, resize to (width, height), centre crop, rescale, normalise."""
    image = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - crop[1]) // 2, (size[1] - crop[0]) // 2
    image = image.crop((left, top, left + crop[1], top + crop[0]))
    pixels = np.asarray(image, dtype=np.float64) / 255
    return ((pixels - mean) / std).transpose(2, 0, 1)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1", "CMYK"])
def test_shorter_side_and_centre_crop(mode):
    steps = ImagePreprocessing(resize=16, crop=(12, 14), mean=MEAN, std=STD)
    for width, height in ((30, 20), (20, 30), (25, 25), (31, 17)):
        image, short = picture(width, height, mode), min(width, height)
        size = (int(16 * width / short), int(16 * height / short))
        array = steps(image)
        assert array.dtype == np.float32
        assert_allclose(array, by_hand(image, size, (12, 14), MEAN, STD), atol=1e-5)
        assert_array_equal(replace(steps, layout="NHWC")(image), array.transpose(1, 2, 0))
        grey = ImagePreprocessing(channels=1)(image)
        if mode not in ("LA", "1", "CMYK"):
            assert_allclose(grey, np.asarray(image.convert("L"))[None] / 255, rtol=1e-6)


def test_sizes_filters_and_scales():
    image = picture()
    array = ImagePreprocessing(resize=(9, 15))(image)
    assert_allclose(array, by_hand(image, (15, 9), (9, 15), 0, 1), atol=1e-6)
    plain = np.asarray(image).transpose(2, 0, 1) / 255
    assert_allclose(ImagePreprocessing()(image), plain, rtol=1e-6)
    assert_array_equal(RAW(image), np.asarray(image, dtype=np.float32))
    for resample in range(6):
        wanted = np.asarray(image.resize((8, 8), resample)).transpose(2, 0, 1) / 255
        assert_allclose(ImagePreprocessing((8, 8), resample=resample)(image), wanted, atol=1e-6)


# -- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation_is_applied(orientation, tmp_path):
    image, exif = picture(6, 4), turned(orientation)
    for kind, options in (
        ("PNG", {}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
    ):
        array = read(tmp_path / "i", saved(image, kind, exif=exif, **options))
        wanted = TURNS[orientation](np.asarray(image))
        assert_allclose(array, wanted, atol=12 if kind == "JPEG" else 0)
    deep = saved(Image.fromarray(DEEP), "PNG", exif=exif)
    (array,) = read(tmp_path / "i", deep, ImagePreprocessing(channels=1))
    assert_allclose(array, TURNS[orientation](DEEP) / 65535, atol=1 / 255)


def test_sixteen_bit_pixels_are_scaled_and_of_a_film_the_first_frame_is_taken(tmp_path):
    grey = ImagePreprocessing(channels=1)
    portable = b"P5 8 6 65535\n" + DEEP.astype(">u2").tobytes()
    for content in (saved(Image.fromarray(DEEP), "TIFF"), portable):
        assert_allclose(read(tmp_path / "i", content, grey)[0], DEEP / 65535, atol=1 / 255)
    frames = [Image.new("RGB", (4, 4), (value,) * 3) for value in (10, 200)]
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        assert_allclose(read(tmp_path / "i", content), 10, atol=2)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_ignored_as_torchvision_ignores_it(kind, mode, tmp_path):
    colours = picture(8, 6, "L" if mode == "LA" else "RGB")
    if kind == "GIF" or mode == "P":
        colours = colours.quantize(8)
    wanted, image, options = np.asarray(colours.convert("RGB")), colours, {}
    if mode == "P" and kind == "PNG":
        # Bytes, one opacity per colour: Pillow warns where it drops these.
        options = {"transparency": bytes([0, 128, 255, 255, 255, 255, 255, 255])}
    elif mode != "P" and kind != "GIF":
        image = colours.convert(mode)
        image.putalpha(picture(8, 6, "L", seed=1).point(lambda a: max(a, 1)))
    if kind == "WEBP":
        options = {"lossless": True, "exact": True}
    assert_array_equal(read(tmp_path / "i", saved(image, kind, **options)), wanted)


def test_damaged_metadata_do_not_damage_the_image(tmp_path):
    whole = saved(picture(6, 4), "PNG", exif=turned(6))
    begin = whole.index(b"eXIf") + 4
    (length,) = struct.unpack(">I", whole[begin - 8 : begin - 4])
    crc = struct.pack(">I", zlib.crc32(b"eXIf" + b"\0" * length))
    broken = whole[:begin] + b"\0" * length + crc + whole[begin + length + 4 :]
    assert_array_equal(read(tmp_path / "i", broken), np.asarray(picture(6, 4)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
         "cannot be preprocessed: its pixels have 32"),
        (saved(picture(6, 4), "PNG"), "4 x 6 is smaller than the crop of 5 x 5"),
        (b"hello", "cannot be decoded .*--skip-bad"),
        (b"", "cannot be decoded"),
        (saved(picture(200, 200), "PNG")[:300], "cannot be decoded"),
        (saved(picture(), "EPS"), "cannot be decoded"),  # a program for a printer is not run
        (saved(Image.new("1", (300, 300)), "PNG"), "cannot be decoded .*90000 pixels"),
    ],
)  # fmt: skip
def test_files_that_give_no_input_are_named(content, words, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 100)
    with pytest.raises(InputError, match=rf"bad\.png.* {words}"):
        read(tmp_path / "bad.png", content, ImagePreprocessing(crop=(5, 5)))


def test_paths_that_are_no_files_and_several_sizes(tmp_path):
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "folder.png").mkdir()
    for path in tmp_path.iterdir():
        with pytest.raises(InputError, match=rf"{path.name} cannot be decoded"):
            decode(path)
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    for path, size in zip(paths, [(6, 4), (4, 6)], strict=True):
        picture(*size).save(path)
    with pytest.raises(InputError, match=r"differ in size .*--resize HEIGHT,WIDTH"):
        ImageFiles(paths, ImagePreprocessing())[:]
    assert ImageFiles(paths, ImagePreprocessing((5, 5)))[:].shape == (2, 3, 5, 5)


KINDS = ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "TGA", "ICO", "SGI", "PCX", "DDS"]
CHANGES = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS), changes=CHANGES, length=st.none() | st.integers(0, 2000))
def test_a_damaged_file_is_read_or_named(kind, changes, length, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    content = bytearray(saved(picture(), kind))
    for position, value in changes:
        content[position % len(content)] = value
    words = None
    try:
        array = read(tmp_path / "i.png", content[:length], ImagePreprocessing((8, 8)))
    except InputError as error:
        words = str(error)
    assert array.shape == (3, 8, 8) if words is None else re.match(r".*i\.png.*$", words)
