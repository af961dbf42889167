"""Statistics of images are those of what the model sees, however the images are stored."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from ntkit.attributes.image_statistics import statistics_of_image
from ntkit.extraction import ImageFiles, ImagePreprocessing, Samples
from ntkit.jobs.attribute_reader import AttributeReader

_OF_THE_FILE = [6, 7]  # size and aspect ratio


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("channels", "crop"), [(3, None), (1, None), (3, (16, 20))])
def test_files_of_any_size_and_arrays_have_the_same_statistics(tmp_path, channels, crop, layout):
    rng, files = np.random.default_rng(0), {"large": [], "small": []}
    steps = ImagePreprocessing(
        resize=(24, 24), crop=crop, channels=channels, layout=layout, resample=2, scale=1 / 255
    )
    plain = ImagePreprocessing(resize=(24, 24), channels=channels, resample=2)
    for i in range(12):
        pixels = rng.integers(0, 256, size=(90 + 4 * (i % 3), 96, 3)).astype(np.uint8)
        image = Image.fromarray(pixels)
        small = Image.fromarray(np.rint(plain.seen(image)).astype(np.uint8).squeeze())
        for name, each in (("large", image), ("small", small)):
            files[name].append(tmp_path / f"{name}{i}.png")
            each.save(files[name][-1])
    large, small = (Samples(ImageFiles(paths, steps)) for paths in files.values())
    array = Samples(large.X[:])
    of_large, of_small, of_array = np.split(AttributeReader([large, small, array]).statistics, 3)
    here = np.delete(np.arange(of_large.shape[1]), _OF_THE_FILE)
    assert_allclose(of_small[:, here], of_large[:, here], atol=1e-5)
    assert_allclose(of_array[:, here], of_large[:, here], atol=1e-5)
    assert (of_large[:, 6] > of_small[:, 6]).all()


def test_large_images_of_whole_numbers_are_measured_as_those_of_shares():
    """A file is measured from 0 to 1, an array of bytes as it is: groups must be the same."""
    rng = np.random.default_rng(0)
    smooth = np.linspace(90, 110, 256)[:, None] + np.linspace(0, 30, 300) + rng.random((256, 300))
    pixels = smooth.round().astype(np.uint8)
    shares = statistics_of_image(pixels / np.float32(255))
    assert_allclose(statistics_of_image(pixels), shares, rtol=1e-4, atol=1e-7)
