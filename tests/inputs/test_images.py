"""Image preprocessing against the same steps written out with Pillow and NumPy."""

import io
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
from ntkit.inputs._image_files import decode, image_extensions

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(width=30, height=20, mode="RGB", seed=0):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return image.convert(mode)


def by_hand(image, size, crop, mean, std):
    """Hugging Face's steps: RGB, resize to (width, height), centre crop, rescale, normalise."""
    image = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - crop[1]) // 2, (size[1] - crop[0]) // 2
    image = image.crop((left, top, left + crop[1], top + crop[0]))
    pixels = np.asarray(image, dtype=np.float64) / 255
    return ((pixels - mean) / std).transpose(2, 0, 1)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1", "CMYK"])
@pytest.mark.parametrize(("width", "height"), [(30, 20), (20, 30), (25, 25), (31, 17)])
def test_shorter_side_and_centre_crop(mode, width, height):
    image = picture(width, height, mode)
    steps = ImagePreprocessing(resize=16, crop=(12, 14), mean=MEAN, std=STD)
    short = min(width, height)
    size = (int(16 * width / short), int(16 * height / short))
    array = steps(image)
    assert array.dtype == np.float32
    assert_allclose(array, by_hand(image, size, (12, 14), MEAN, STD), atol=1e-5)
    assert_array_equal(replace(steps, layout="NHWC")(image), array.transpose(1, 2, 0))


def test_height_and_width():
    image = picture()
    array = ImagePreprocessing(resize=(9, 15))(image)
    assert_allclose(array, by_hand(image, (15, 9), (9, 15), 0, 1), atol=1e-6)


def test_without_steps_only_the_pixels_are_scaled():
    image = picture()
    assert_allclose(
        ImagePreprocessing()(image), np.asarray(image).transpose(2, 0, 1) / 255, rtol=1e-6
    )
    raw = ImagePreprocessing(scale=1.0, layout="NHWC")(image)
    assert_array_equal(raw, np.asarray(image, dtype=np.float32))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_grey_models_get_one_channel(mode):
    image = picture(mode=mode)
    array = ImagePreprocessing(channels=1)(image)
    assert_allclose(array, np.asarray(image.convert("L"))[None] / 255, rtol=1e-6)


@pytest.mark.parametrize("resample", [0, 1, 2, 3, 4, 5])
def test_the_filter_is_pillows(resample):
    image = picture()
    wanted = np.asarray(image.resize((8, 8), resample)).transpose(2, 0, 1) / 255
    assert_allclose(ImagePreprocessing((8, 8), resample=resample)(image), wanted, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tiff"])
def test_exif_orientation_is_applied(orientation, kind, tmp_path):
    image = picture(6, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}
    image.save(tmp_path / f"i.{kind}", exif=exif, **lossless.get(kind, {}))
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a[::-1].transpose(1, 0, 2),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a[:, ::-1].transpose(1, 0, 2),
    }[orientation](np.asarray(image) / 255)
    (array,) = ImageFiles([tmp_path / f"i.{kind}"], ImagePreprocessing(layout="NHWC"))[:1]
    assert_allclose(array, turned, atol=0.05 if kind == "jpg" else 1e-6)


def test_sixteen_bit_pixels_are_scaled_not_clipped(tmp_path):
    deep = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    for kind in ("png", "tiff"):
        Image.fromarray(deep).save(tmp_path / f"deep.{kind}")
        (array,) = ImageFiles([tmp_path / f"deep.{kind}"], ImagePreprocessing(channels=1))[:1]
        assert_allclose(array[0], deep / 65535, atol=1 / 255)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_sixteen_bit_pixels_are_turned_too(orientation, tmp_path):
    deep = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(deep).save(tmp_path / "deep.png", exif=exif)
    (array,) = ImageFiles([tmp_path / "deep.png"], ImagePreprocessing(channels=1))[:1]
    turned = np.rot90(deep, {1: 0, 3: 2, 6: 3}[orientation])
    assert_allclose(array[0], turned / 65535, atol=1 / 255)


def test_sixteen_bit_portable_graymaps(tmp_path):
    deep = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    (tmp_path / "d.pgm").write_bytes(b"P5 8 6 65535\n" + deep.astype(">u2").tobytes())
    (array,) = ImageFiles([tmp_path / "d.pgm"], ImagePreprocessing(channels=1))[:1]
    assert_allclose(array[0], deep / 65535, atol=1 / 255)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_ignored_as_torchvision_ignores_it(kind, mode, tmp_path):
    colours = picture(8, 6, "L" if mode == "LA" else "RGB")
    if kind == "GIF" or mode == "P":
        colours = colours.quantize(8)
    wanted = np.asarray(colours.convert("RGB"))
    if mode == "P":
        # Bytes, one opacity per colour: Pillow warns where it drops these.
        options = {"transparency": bytes([0, 128, 255, 255, 255, 255, 255, 255])}
        image, options = colours, options if kind == "PNG" else {}
    else:
        image, options = colours.convert(mode), {}
        image.putalpha(picture(8, 6, "L", seed=1).point(lambda a: max(a, 1)))
    if kind == "WEBP":
        options = {"lossless": True, "exact": True}
    if kind == "GIF" and mode != "P":
        image = colours
    (tmp_path / "i").write_bytes(saved(image, kind, **options))
    (array,) = ImageFiles([tmp_path / "i"], ImagePreprocessing(scale=1.0, layout="NHWC"))[:1]
    assert_array_equal(array, wanted)


def test_the_first_frame_of_a_film_is_taken(tmp_path):
    frames = [Image.new("RGB", (4, 4), (value,) * 3) for value in (10, 200)]
    for kind in ("gif", "webp", "tiff", "png"):
        path = tmp_path / f"i.{kind}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        (array,) = ImageFiles([path], ImagePreprocessing(scale=1.0))[:1]
        assert_allclose(array, 10, atol=2)


def test_damaged_metadata_do_not_damage_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    whole = saved(picture(6, 4), "PNG", exif=exif)
    begin = whole.index(b"eXIf") + 4
    (length,) = struct.unpack(">I", whole[begin - 8 : begin - 4])
    broken = whole[:begin] + b"\0" * length + whole[begin + length :]
    crc = struct.pack(">I", zlib.crc32(b"eXIf" + b"\0" * length))
    broken = broken[: begin + length] + crc + broken[begin + length + 4 :]
    (tmp_path / "i.png").write_bytes(broken)
    (array,) = ImageFiles([tmp_path / "i.png"], ImagePreprocessing(scale=1.0, layout="NHWC"))[:1]
    assert_array_equal(array, np.asarray(picture(6, 4)))


def test_extensions_are_those_of_images_that_pillow_opens_by_itself():
    known = image_extensions()
    assert {".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".ppm"} <= known
    assert known.isdisjoint({".pdf", ".eps", ".ps", ".h5", ".mpg", ".grib", ".wmf", ".npy"})


def test_pixels_without_a_known_range_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(InputError, match=r"f\.tiff cannot be preprocessed: its pixels have 32"):
        ImageFiles([tmp_path / "f.tiff"], ImagePreprocessing())[:1]


def test_an_image_smaller_than_the_crop_is_named(tmp_path):
    picture(6, 4).save(tmp_path / "small.png")
    with pytest.raises(InputError, match=r"small\.png .* 4 x 6 is smaller than the crop of 5 x 5"):
        ImageFiles([tmp_path / "small.png"], ImagePreprocessing(crop=(5, 5)))[:1]


def test_images_of_several_sizes_need_a_size(tmp_path):
    for i, size in enumerate([(6, 4), (4, 6)]):
        picture(*size).save(tmp_path / f"{i}.png")
    paths = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"differ in size .*--resize HEIGHT,WIDTH"):
        ImageFiles(paths, ImagePreprocessing())[:]
    assert ImageFiles(paths, ImagePreprocessing((5, 5)))[:].shape == (2, 3, 5, 5)


@pytest.mark.parametrize("content", ["text", "truncated", "empty", "folder"])
def test_what_does_not_decode_is_named(content, tmp_path):
    path = tmp_path / "bad.png"
    picture(200, 200).save(path)
    whole = path.read_bytes()
    path.unlink()
    if content == "folder":
        path.mkdir()
    else:
        path.write_bytes({"text": b"hello", "truncated": whole[:300], "empty": b""}[content])
    with pytest.raises(InputError, match=r"bad\.png cannot be decoded .*--skip-bad"):
        decode(path)


@pytest.mark.parametrize("name", ["i.png", "i.jpg", "i.eps"])
def test_a_program_for_a_printer_is_not_run(name, tmp_path):
    (tmp_path / name).write_bytes(saved(picture(), "EPS"))
    with pytest.raises(InputError, match="cannot be decoded"):
        decode(tmp_path / name)


def test_an_image_too_large_to_be_one_is_named(tmp_path, monkeypatch):
    (tmp_path / "bomb.png").write_bytes(saved(Image.new("1", (300, 300)), "PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 100)
    with pytest.raises(InputError, match=r"bomb\.png cannot be decoded .*90000 pixels"):
        decode(tmp_path / "bomb.png")


def test_links_that_lead_nowhere_are_named(tmp_path):
    for name, target in (("loop.png", "loop.png"), ("gone.png", "nothing.png")):
        (tmp_path / name).symlink_to(tmp_path / target)
        with pytest.raises(InputError, match=rf"{name} cannot be decoded"):
            decode(tmp_path / name)


KINDS = ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "TGA", "ICO", "SGI", "PCX", "DDS"]
CHANGES = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=6)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(KINDS), changes=CHANGES, length=st.none() | st.integers(0, 2000))
def test_a_damaged_file_is_read_or_named(kind, changes, length, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    content = bytearray(saved(picture(), kind))
    for position, value in changes:
        content[position % len(content)] = value
    (tmp_path / "i.png").write_bytes(content[:length])
    said = None
    try:
        array = ImageFiles([tmp_path / "i.png"], ImagePreprocessing((8, 8)))[:]
    except InputError as error:
        said = str(error)
    if said is None:
        assert array.shape == (1, 3, 8, 8)
    else:
        assert "i.png" in said
        assert "\n" not in said
