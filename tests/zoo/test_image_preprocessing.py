"""Image preprocessing against the processors of transformers and timm, pixel by pixel."""

import json
import os
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing
from tests.inputs import golden_pixels
from tests.inputs.golden_pixels import IMAGENET, new, old, shorter, square
from tests.zoo.building import quietly

with quietly():
    transformers = pytest.importorskip("transformers")
    timm = pytest.importorskip("timm")

BACKENDS = int(transformers.__version__.split(".")[0]) >= 5

HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
SQUARE, SHORT = square(224), shorter(224)
WIDE, CROP = {"height": 96, "width": 128}, square(192)


RIGHT = {
    "ViT": new("ViT", size=SQUARE, resample=2, **HALF),
    "ViT, by its fast name": new("ViT", size=SQUARE, resample=3, **IMAGENET)
    | {"image_processor_type": "ViTImageProcessorFast"},
    "ViT, old": old("ViT", size=224, resample=2, do_resize=True, **HALF),
    "ViT, wide": new("ViT", size=WIDE, resample=3, **HALF),
    "ViT, no resizing": new("ViT", do_resize=False, size=SQUARE, resample=2, **HALF),
    "ViT, no rescaling": new("ViT", do_rescale=False, size=SQUARE, resample=2, **HALF),
    "ViT, no normalising": new("ViT", do_normalize=False, size=SQUARE, resample=2, **HALF),
    "ViT, its own rescaling": new("ViT", rescale_factor=1 / 127.5, size=SQUARE, resample=2, **HALF),
    **{f"ViT, filter {i}": new("ViT", size=SQUARE, resample=i, **HALF) for i in range(6)},
    "Swin": new("ViT", size=SQUARE, resample=3, **IMAGENET),
    "DeiT": new("DeiT", size={"height": 256, "width": 256}, crop_size=SQUARE, resample=3,
                do_center_crop=True, **IMAGENET),
    "DeiT, old": old("DeiT", size=256, crop_size=224, resample=3, do_center_crop=True,
                     do_resize=True, **IMAGENET),
    "DeiT, old, no crop": old("DeiT", size=256, crop_size=224, resample=3, do_center_crop=False,
                              **IMAGENET),
    "BEiT": new("Beit", size=SQUARE, crop_size=SQUARE, do_center_crop=False, resample=2,
                do_reduce_labels=True, **HALF),
    "BEiT, old": old("Beit", size=256, crop_size=224, do_center_crop=True, resample=3, **HALF),
    "PVT": new("Pvt", size=SQUARE, resample=2, **IMAGENET),
    "SegFormer": new("Segformer", size=SQUARE, resample=2, do_reduce_labels=True, **IMAGENET),
    "SigLIP": new("Siglip", size=SQUARE, resample=3, **HALF),
    "CLIP": new("CLIP", size=SHORT, crop_size=SQUARE, do_center_crop=True, resample=3, **CLIP),
    "CLIP, old": old("CLIP", size=224, crop_size=224, do_center_crop=True, resample=3, **CLIP),
    "CLIP, a square": new("CLIP", size=SQUARE, do_center_crop=False, resample=3, **CLIP),
    "CLIP, no word of the crop": new("CLIP", size=SHORT, crop_size=CROP, resample=3, **CLIP),
    "Chinese CLIP": new("ChineseCLIP", size=SQUARE, crop_size=CROP, resample=3, **CLIP),
    "DINOv2": new("Bit", size={"shortest_edge": 256}, crop_size=SQUARE, do_center_crop=True,
                  resample=3, do_convert_rgb=True, **IMAGENET),
    "MobileNetV1": new("MobileNetV1", size={"shortest_edge": 256}, crop_size=SQUARE, resample=2,
                       **HALF),
    "MobileNetV2": new("MobileNetV2", size={"shortest_edge": 256}, crop_size=SQUARE, resample=2,
                       **HALF),
    "LeViT": new("Levit", size=SHORT, crop_size=SQUARE, resample=3, **IMAGENET),
    "LeViT, old": old("Levit", size=224, crop_size=224, resample=3, do_center_crop=True,
                      **IMAGENET),
    "LeViT, a square": new("Levit", size=SQUARE, crop_size=CROP, resample=3, **IMAGENET),
    "ConvNeXt": new("ConvNext", size=SHORT, crop_pct=0.875, resample=3, **IMAGENET),
    "ConvNeXt, old": old("ConvNext", size=224, crop_pct=0.95, resample=3, **IMAGENET),
    "ConvNeXt, no word of the share": new("ConvNext", size=SHORT, resample=3, **IMAGENET),
    "ConvNeXt, large": new("ConvNext", size={"shortest_edge": 384}, crop_pct=0.875, resample=3,
                           **IMAGENET),
    "PoolFormer": new("PoolFormer", size=SHORT, crop_size=SQUARE, crop_pct=0.9, resample=3,
                      **IMAGENET),
    "PoolFormer, old": old("PoolFormer", size=224, crop_size=224, crop_pct=0.95, resample=3,
                           do_center_crop=True, **IMAGENET),
    "PoolFormer, a square": new("PoolFormer", size=SQUARE, crop_size=CROP, resample=3, **IMAGENET),
    "PoolFormer, wide": new("PoolFormer", size=WIDE, crop_size=WIDE, crop_pct=0.8, resample=3,
                            **IMAGENET),
    "EfficientNet": new("EfficientNet", size=SQUARE, resample=0, rescale_factor=1 / 255,
                        include_top=True, do_center_crop=False, **IMAGENET),
    "EfficientNet, no word of the top": new("EfficientNet", size=SQUARE, resample=3, **IMAGENET),
    "EfficientNet, without the top": new("EfficientNet", size=SQUARE, resample=3, crop_size=CROP,
                                         include_top=False, do_center_crop=True, **IMAGENET),
    "EfficientNet, offset": new("EfficientNet", size=SQUARE, resample=2, rescale_factor=1 / 127.5,
                                rescale_offset=True, **IMAGENET),
    "EfficientNet, only the top": new("EfficientNet", size=SQUARE, resample=2, do_normalize=False,
                                      rescale_offset=True, **IMAGENET),
    "MobileViT": new("MobileViT", size={"shortest_edge": 288}, crop_size={"height": 256,
                     "width": 256}, resample=2, do_flip_channel_order=True, do_center_crop=True),
    "MobileViT, old": old("MobileViT", size=288, crop_size=256, resample=2, do_center_crop=True,
                          do_flip_channel_order=True) | {"do_normalize": None},
    "MobileViT, RGB": new("MobileViT", size={"shortest_edge": 288}, crop_size=SQUARE, resample=2,
                          do_flip_channel_order=False),
}  # fmt: skip


def noise(width, height, mode="RGB"):
    """The strictest image: neighbouring pixels have nothing in common."""
    rng = np.random.default_rng(width * height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def turned():
    image = noise(131, 77)
    exif = image.getexif()
    exif[0x0112] = 6
    return image


PICTURES = {
    "portrait": noise(213, 317),
    "landscape": noise(401, 157),
    "a shorter side of its size": noise(224, 301),
    "large": noise(1023, 769),
    "tiny": noise(9, 7),
    "grey": noise(120, 91, "L"),
    "see-through": noise(97, 201, "RGBA"),
    "palette": noise(97, 201, "P"),
    "CMYK": noise(203, 99, "CMYK"),
    "turned": turned(),
}


def as_read(image):
    """What both libraries are given: upright, and in colours."""
    return ImageOps.exif_transpose(image).convert("RGB")


def oracle(folder, backend):
    chosen = {"backend": backend} if BACKENDS else {"use_fast": backend == "torchvision"}
    with quietly():
        return transformers.AutoImageProcessor.from_pretrained(folder, **chosen)


def differences(processor, steps):
    """Differences of pixels, in steps of 1 of 255, for each image."""
    for image in PICTURES.values():
        with quietly():
            wanted = np.asarray(processor(as_read(image), return_tensors="pt")["pixel_values"])[0]
        got = steps(image)
        assert got.shape == wanted.shape
        yield np.abs(got - wanted) * np.reshape(steps.std, (-1, 1, 1)) / steps.scale


def saved(config, folder, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(config))
    return folder / name


@pytest.mark.parametrize("name", RIGHT)
def test_pixels_are_those_of_transformers(name, tmp_path):
    steps = ImagePreprocessing.from_config(saved(RIGHT[name], tmp_path))
    assert max(each.max() for each in differences(oracle(tmp_path, "pil"), steps)) < 1e-3


@pytest.mark.parametrize("name", [*RIGHT, "DINOv3"])
def test_the_tensors_of_torchvision_are_near(name, tmp_path):
    """Another implementation of the same filters, which rounds otherwise between the two passes.

    Bilinear filters differ by 1 of 255 at most; where a filter overshoots, a few pixels of noise
    differ by more.
    """
    config = {**RIGHT, "DINOv3": new("DINOv3ViT", size=SQUARE, resample=2, **IMAGENET)}[name]
    steps = ImagePreprocessing.from_config(saved(config, tmp_path))
    if name.startswith("ConvNeXt") and not BACKENDS:
        pytest.skip("version 4 crops half a pixel elsewhere than with Pillow")
    if steps.resample in (0, 4, 5):
        pytest.skip("torchvision has another nearest, and no box or Hamming filter")
    for each in differences(oracle(tmp_path, "torchvision"), steps):
        assert each.mean() < 0.75
        assert each.max() < (1.01 if steps.resample == 2 else 40)


@pytest.mark.parametrize("name", RIGHT)
def test_what_transformers_saves_again_means_the_same(name, tmp_path):
    steps = ImagePreprocessing.from_config(saved(RIGHT[name], tmp_path))
    processor = oracle(tmp_path, "pil")
    processor.save_pretrained(tmp_path / "again")
    again = ImagePreprocessing.from_config(tmp_path / "again" / "preprocessor_config.json")
    assert again == steps


def test_every_processor_of_transformers_is_right_or_refused(tmp_path):
    """As it saves itself when made without a word: a name that is read must mean its pixels."""
    names = [
        n for n in dir(transformers) if n.endswith(("ImageProcessorPil", "ImageProcessorFast"))
    ]
    read = []
    for name in sorted(names):
        image = PICTURES["landscape"]
        try:
            with quietly():
                processor = getattr(transformers, name)()
                processor.save_pretrained(tmp_path)
            steps = ImagePreprocessing.from_config(tmp_path / "preprocessor_config.json")
            got = steps(image)
        except (InputError, ImportError, TypeError, ValueError):
            continue  # refused, or of a package that is not here, or not made without arguments
        with quietly():
            wanted = np.asarray(processor(as_read(image), return_tensors="pt")["pixel_values"])[0]
        np.testing.assert_allclose(got, wanted, atol=1e-3 if name.endswith("Pil") else 0.1)
        read.append(name)
    assert len(read) > 10


# -- timm ---------------------------------------------------------------------------------------

MODELS = ["resnet18.a1_in1k", "mobilevit_s.cvnets_in1k", "vit_base_patch14_dinov2.lvd142m"]


def timm_pixels(config, image):
    data = timm.data.resolve_data_config(pretrained_cfg=config)
    return timm.data.create_transform(**data)(as_read(image)).numpy()


@pytest.mark.parametrize("form", ["nested", "flat"])
@pytest.mark.parametrize("name", MODELS)
def test_pixels_are_those_of_timm(name, form, tmp_path):
    config = timm.models.get_pretrained_cfg(name, allow_unregistered=False).to_dict()
    content = {"architecture": name, "num_classes": 1000, "num_features": 9}
    content |= {"pretrained_cfg": config} if form == "nested" else config
    path = saved(content, tmp_path, "config.json")
    steps = ImagePreprocessing.from_config(path)
    config = json.loads(path.read_text()) if form == "flat" else config
    for image in PICTURES.values():
        np.testing.assert_allclose(steps(image), timm_pixels(config, image), atol=2e-6)


def test_every_model_of_timm_is_right_or_refused(tmp_path):
    """All configurations of all models, on one image each; few are refused, and they are named."""
    seen, reasons = {}, {}
    for name in timm.list_pretrained():
        config = timm.models.get_pretrained_cfg(name).to_dict()
        keys = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
        seen.setdefault(json.dumps([config.get(key) for key in keys]), (name, config))
    for name, config in seen.values():
        path = saved({"architecture": name, "pretrained_cfg": config}, tmp_path, "config.json")
        try:
            steps = ImagePreprocessing.from_config(path)
        except InputError as error:
            reasons[name] = str(error)
            continue
        image = PICTURES["landscape"]
        np.testing.assert_allclose(steps(image), timm_pixels(config, image), atol=2e-6)
    assert all("'crop_mode' 'border'" in r or "'crop_pct' is more" in r for r in reasons.values())
    assert len(reasons) < 0.05 * len(seen)


@pytest.mark.parametrize("crop_pct", [0.8, 0.875, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "lanczos"])
def test_every_way_of_timm_to_crop(crop_pct, crop_mode, interpolation, tmp_path):
    config = {"input_size": [3, 96, 96], "crop_pct": crop_pct, "crop_mode": crop_mode}
    config |= {"interpolation": interpolation, "mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]}
    path = saved({"pretrained_cfg": config}, tmp_path, "config.json")
    steps = ImagePreprocessing.from_config(path)
    for image in PICTURES.values():
        np.testing.assert_allclose(steps(image), timm_pixels(config, image), atol=4e-6)


# -- the numbers that the other tests know ------------------------------------------------------


def test_the_golden_numbers_are_theirs(tmp_path):
    found = {}
    for name, config in golden_pixels.TRANSFORMERS.items():
        saved(config, tmp_path)
        processor = oracle(tmp_path, "pil")
        arrays = [processor(i, return_tensors="np")["pixel_values"] for i in golden_pixels.PICTURES]
        found[name] = [golden_pixels.numbers(array) for array in arrays]
    for name, config in golden_pixels.TIMM.items():
        arrays = [timm_pixels(config, image) for image in golden_pixels.PICTURES]
        found[name] = [golden_pixels.numbers(array) for array in arrays]
    if "GOLDEN_PIXELS" in os.environ:
        versions = {module.__name__: module.__version__ for module in (transformers, timm, PIL)}
        content = {"written by": versions, "numbers": found}
        Path(os.environ["GOLDEN_PIXELS"]).write_text(json.dumps(content, indent=1) + "\n")
    known = golden_pixels.stored()["numbers"]
    assert known.keys() == found.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, known[name], rtol=1e-4, atol=1e-5, err_msg=name)
