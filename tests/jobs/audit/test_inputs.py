"""Samples for display by row, and statistics of images as a model reads them."""

import numpy as np
import pytest
from PIL import Image

from ntkit.exceptions import InputError
from ntkit.extraction import ImageFiles, ImagePreprocessing, Samples
from ntkit.jobs.attribute_reader import AuditedImages

RNG = np.random.default_rng(0)
STEPS = ImagePreprocessing(resize=(8, 8))
ORIENTATION, MODEL = 0x0112, 0x0110


def looks(paths):
    return Samples(ImageFiles(paths, STEPS)).looks().images


@pytest.mark.parametrize(
    ("mode", "name"),
    [("1", "a.png"), ("L", "a.png"), ("LA", "a.png"), ("P", "a.gif"), ("P", "a.png"),
     ("RGB", "a.jpg"), ("RGBA", "a.png"), ("CMYK", "a.jpg"), ("I;16", "a.png")],
)  # fmt: skip
def test_every_mode_is_measured_and_shown(tmp_path, mode, name):
    noise = Image.fromarray(RNG.integers(0, 256, (270, 300, 3), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(RNG.integers(0, 1 << 16, (270, 300)).astype(np.uint16))
    else:
        image = noise.convert(mode)
    path = tmp_path / name
    image.save(path)
    image_files = AuditedImages(ImageFiles([path], STEPS))
    assert image_files[:1].shape[0] == 1
    (statistics,) = image_files.statistics()
    assert np.isfinite(statistics).all()
    assert statistics[6] == 270 * 300
    assert 0.3 < statistics[0] < 0.7
    shown = looks([path])[0]
    assert shown.dtype == np.uint8
    assert shown.shape[:2] == (270, 300)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_turned_pictures_are_shown_upright_and_damaged_facts_are_none(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION], exif[MODEL] = 6, "Lens 3000"
    paths = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    for path, facts in zip(paths, (exif, b"", b"Exif\0\0II*\0garbage"), strict=True):
        Image.new("L", (40, 20)).save(path, exif=facts)
    assert [image.shape for image in looks(paths)] == [(40, 20), (20, 40), (20, 40)]
    image_files = AuditedImages(ImageFiles(paths, STEPS))
    image_files[:]
    assert image_files.statistics()[:, 7].tolist() == [0.5, 2.0, 2.0]
    # All are grey JPEG files.
    assert image_files.file_facts() == {"camera": ["Lens 3000", "", ""]}
    with pytest.raises(InputError, match="cannot be decoded"):
        looks([tmp_path / "gone.png"])[0]


@pytest.mark.parametrize(
    ("shape", "picture"),
    [
        ((5, 3, 8, 6), (8, 6, 3)),
        ((5, 8, 6, 3), (8, 6, 3)),
        ((5, 1, 8, 6), (8, 6)),
        ((5, 8, 6, 1), (8, 6)),
        ((5, 7), None),
        ((5, 7, 8), None),
        ((5, 4, 8, 6), None),
        ((5, 3, 8, 3), None),
    ],
)
def test_arrays_of_pictures(shape, picture):
    X = RNG.random(shape)
    found = Samples(X, np.zeros(5)).looks().images
    if picture is None:
        assert found is None
        return
    assert found[-1].shape == picture
    assert found[-1].sum() == pytest.approx(X[4].sum())
    with pytest.raises(IndexError):
        found[5]
