"""What timm's ``config.json`` says about images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ntkit.preprocessing._config_values import (
    channels_of,
    number,
    refuse_unknown,
    resample_of,
    side,
)

__all__ = ["is_timm_config", "timm_steps"]

Config = Mapping[str, Any]

_READ = frozenset({"input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std"})
# Where weights come from, what the classes are, what the network can be adapted to. The test size
# is one that timm does not use unless asked to.
_HARMLESS = frozenset(
    {
        *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture"),
        *("tag", "custom_load", "test_input_size", "test_crop_pct", "test_pool_size"),
        *("min_input_size", "fixed_input_size", "num_classes", "num_features", "global_pool"),
        *("label_offset", "label_names", "label_descriptions", "labels", "pool_size"),
        *("first_conv", "classifier", "license", "description", "origin_url", "paper_name"),
        *("paper_ids", "notes", "model_args", "library_name", "version"),
    }
)
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def is_timm_config(config: Config) -> bool:
    """Whether a ``config.json`` is timm's, in its present form or the one of before 2023."""
    return "pretrained_cfg" in config or {"architecture", "input_size"} <= config.keys()


def timm_steps(config: Config) -> dict[str, Any]:
    """Read a file's content as parameters of ``ImagePreprocessing``.

    Parameters
    ----------
    config : mapping
        Content of a ``config.json`` of timm's.

    Returns
    -------
    dict
        Parameters by name: the steps of timm's evaluation.

    Raises
    ------
    ValueError
        If it asks for something that is not known exactly; the message says what, to go on with
        "the file is not usable: ".

    Examples
    --------
    >>> from ntkit.preprocessing._timm_images import timm_steps
    >>> steps = timm_steps({"pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0.9}})
    >>> steps["resize"], steps["crop"], steps["resample"]
    (248, (224, 224), 3)
    """
    given = config.get("pretrained_cfg", config)
    if not isinstance(given, Mapping):
        raise ValueError("its key 'pretrained_cfg' is no object")
    refuse_unknown(given, _READ | _HARMLESS)
    found = {**_IMAGENET, **{key: value for key, value in given.items() if value}}
    sizes = found.get("input_size", [3, 224, 224])
    if not isinstance(sizes, list) or len(sizes) != 3:
        raise ValueError("its key 'input_size' is not channels, height and width")
    height, width = (side(length, "input_size") for length in sizes[1:])
    share = number(found, "crop_pct", 0.875)
    larger = math.floor(height / share), math.floor(width / share)
    mode = found.get("crop_mode", "center")
    if mode not in ("center", "squash"):
        raise ValueError(f"ntkit does not crop so: 'crop_mode' {mode!r}")
    if mode == "center" and height != width:
        raise ValueError(f"ntkit does not resize to {height} x {width} with 'crop_mode' 'center'")
    if min(larger) < 1 or larger[0] < height or larger[1] < width:
        raise ValueError("its key 'crop_pct' is more than 1: it pads images, which ntkit does not")
    return {
        "resize": larger if mode == "squash" else larger[0],
        "crop": (height, width),
        "crop_rounding": "even",
        "scale": 1 / 255,
        "mean": channels_of(found, "mean"),
        "std": channels_of(found, "std"),
        "resample": resample_of(found.get("interpolation", "bicubic"), "interpolation"),
    }
