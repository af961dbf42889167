"""Pixels that transformers and timm make of two images, as a few numbers each.

``golden_pixels.json`` holds them, with the versions that wrote it. ``tests/zoo`` computes them
again where both libraries are installed::

    GOLDEN_PIXELS=tests/inputs/golden_pixels.json \\
        pytest tests/zoo/test_image_preprocessing.py

writes the file.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

FILE = Path(__file__).with_suffix(".json")

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.4, 0.3]}


def new(name, **config):
    return {"image_processor_type": f"{name}ImageProcessor", **config}


def old(name, **config):
    return {"feature_extractor_type": f"{name}FeatureExtractor", "do_normalize": True, **config}


def square(n):
    return {"height": n, "width": n}


def shorter(n):
    return {"shortest_edge": n}


TRANSFORMERS = {
    "ViT": new("ViT", size=square(16), resample=2, rescale_factor=1 / 255, **HALF),
    "ViT, an int": old("ViT", size=16, resample=2, **HALF),
    "ViT, raw": new("ViT", size=square(16), resample=3, do_rescale=False, do_normalize=False),
    "DeiT, ints": old("DeiT", size=20, crop_size=16, resample=3, do_center_crop=True, **IMAGENET),
    "BEiT": new("Beit", size=square(20), crop_size=square(15), do_center_crop=True, resample=2,
                do_reduce_labels=True, **HALF),
    "CLIP, ints": old("CLIP", size=20, crop_size=15, resample=3, **IMAGENET),
    "DINOv2": new("Bit", size=shorter(20), crop_size=square(15), resample=3, **IMAGENET),
    "SigLIP": new("Siglip", size=square(16), resample=3, **HALF),
    "MobileNetV2": new("MobileNetV2", size=shorter(20), crop_size=square(15), resample=2, **HALF),
    "LeViT": new("Levit", size=shorter(14), crop_size=square(14), resample=3, **IMAGENET),
    "LeViT, ints": old("Levit", size=14, crop_size=14, resample=3, **IMAGENET),
    "ConvNeXt": new("ConvNext", size=shorter(14), crop_pct=0.8, resample=3, **IMAGENET),
    "ConvNeXt, an int": old("ConvNext", size=14, crop_pct=0.875, resample=3, **IMAGENET),
    "ConvNeXt, large": new("ConvNext", size=shorter(384), crop_pct=0.9, resample=3, **IMAGENET),
    "PoolFormer": new("PoolFormer", size=shorter(14), crop_size=square(14), crop_pct=0.9,
                      resample=3, **IMAGENET),
    "EfficientNet": new("EfficientNet", size=square(16), resample=0, include_top=True, **IMAGENET),
    "EfficientNet, offset": new("EfficientNet", size=square(16), resample=3, rescale_offset=True,
                                rescale_factor=1 / 127.5, **HALF),
    "EfficientNet, no top": new("EfficientNet", size=square(16), resample=3, include_top=False,
                                **IMAGENET),
    "MobileViT": new("MobileViT", size=shorter(18), crop_size=square(16), resample=2),
    "MobileViT, ints": {**old("MobileViT", size=18, crop_size=16, resample=2), "do_normalize": None,
                        "do_flip_channel_order": True},
}  # fmt: skip
_TIMM = {"input_size": [3, 15, 15], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
TIMM = {
    "timm": {"interpolation": "bicubic", "crop_pct": 0.875, **_TIMM},
    "timm, bilinear": {"interpolation": "bilinear", "crop_pct": 0.95, **_TIMM},
    "timm, squash": {"crop_mode": "squash", "crop_pct": 0.8, **_TIMM},
    "timm, whole": {"interpolation": "lanczos", "crop_pct": 1.0, **_TIMM},
}  # fmt: skip


def picture(width, height):
    """The same everywhere, and no two neighbours alike."""
    y, x, c = np.mgrid[:height, :width, :3]
    return Image.fromarray(((37 * x + 91 * y + 53 * c + x * y * (c + 1)) % 256).astype(np.uint8))


PICTURES = [picture(61, 43), picture(29, 50)]


def numbers(array):
    """Its mean, and two sums that any shift, turn or exchange of channels would change."""
    flat = np.asarray(array, np.float64).ravel()
    waves = (np.cos(np.arange(flat.size) * k) for k in (0.7, 2.3))
    return [float(flat.mean()), *(float((flat * wave).mean()) for wave in waves)]


def stored():
    return json.loads(FILE.read_text(encoding="utf-8"))
