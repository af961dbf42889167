"""Preprocessing of images from the files next to a model, and the default without files."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from PIL import Image

from ntkit import FrozenModel
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing
from ntkit.samples.read import preprocessing_for
from tests.inputs import golden_pixels as golden

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def written(config, folder, name="preprocessor_config.json"):
    (folder / name).write_text(config if isinstance(config, str) else json.dumps(config))
    return folder / name


def steps_of(config, folder):
    return ImagePreprocessing.from_config(written(config, folder))


# -- against transformers and timm --------------------------------------------------------------


@pytest.mark.parametrize("name", [*golden.TRANSFORMERS, *golden.TIMM])
def test_pixels_are_those_of_transformers_and_timm(name, tmp_path):
    config = golden.TRANSFORMERS.get(name) or {"pretrained_cfg": golden.TIMM[name]}
    steps = steps_of(config, tmp_path)
    found = [golden.numbers(steps(image)) for image in golden.PICTURES]
    assert_allclose(found, golden.stored()["numbers"][name], rtol=1e-4, atol=1e-5)


def test_keys_and_names_that_change_nothing(tmp_path):
    config = golden.new("ViT", size=golden.square(16), resample=3, **golden.HALF)
    wanted = steps_of(config, tmp_path)
    nulls = dict.fromkeys(["do_center_crop", "crop_size", "do_pad", "crop_pct", "anything"])
    sizes = {**golden.square(16), "shortest_edge": None, "longest_edge": None}
    words = {
        "processor_class": "CLIPProcessor", "do_convert_rgb": True, "data_format": "channels_first",
        "model_input_names": ["pixel_values"], "do_reduce_labels": True, "device": "cpu",
    }  # fmt: skip
    for other in (
        {**nulls, "size": sizes},
        words,
        *({"resample": name} for name in ("bicubic", "BICUBIC")),
        *(
            {"image_processor_type": f"ViT{ending}"}
            for ending in ("ImageProcessor", "ImageProcessorFast", "FeatureExtractor")
        ),
    ):
        assert steps_of({**config, **other}, tmp_path) == wanted


PLAIN = golden.new("ViT", size=golden.square(16), resample=2, **golden.HALF)
UNTOLD = {"size": 16, "do_normalize": False}
REFUSED = {
    "an unknown key": ({**PLAIN, "do_sharpen": True}, r"its key 'do_sharpen' \(True\)"),
    "an unknown key that is off": ({**PLAIN, "do_sharpen": False}, r"'do_sharpen' \(False\)"),
    "somebody's own code": ({**PLAIN, "auto_map": {"AutoImageProcessor": "x.Y"}}, "'auto_map'"),
    "a key of another processor": ({**PLAIN, "crop_pct": 0.9}, r"'crop_pct' \(0\.9\)"),
    "an unknown processor": (
        {**PLAIN, "image_processor_type": "MyImageProcessor"}, "what a MyImageProcessor does to"),
    "padding": ({**PLAIN, "do_pad": True}, "pads images"),
    "DINOv3 that is bicubic": (golden.new("DINOv3ViT", size=golden.square(16), resample=3,
                                          **golden.IMAGENET), "bilinear"),
    "BEiT without a word of the crop": (golden.new("Beit", size=golden.square(16), resample=3,
                                                   crop_size=golden.square(9), **golden.HALF),
                                        "do_center_crop"),
    "a longest edge": (
        {**PLAIN, "size": {"shortest_edge": 16, "longest_edge": 30}}, "longest_edge"),
    "no size": ({**PLAIN, "size": None}, "'size' has None"),
    "not a filter": ({**PLAIN, "resample": None}, "'resample' is None"),
    "no such filter": ({**PLAIN, "resample": "sinc"}, "'resample' is 'sinc'"),
    "an int, and nobody who says what of": (
        {**UNTOLD, "do_center_crop": True, "crop_size": 12}, "shorter side or of both"),
    "a square for ConvNeXt": (
        golden.new("ConvNext", size=golden.square(16), resample=3, **golden.HALF), "shortest edge"),
    "MobileViT that normalises": (
        golden.new("MobileViT", size=18, crop_size=16, resample=2, do_normalize=True), "MobileViT"),
    "half a pixel": ({**PLAIN, "size": {"height": 16.5, "width": 16}}, r"16\.5"),
    "no pixel": ({**PLAIN, "size": {"height": 0, "width": 16}}, "'size' has 0"),
    "yes": ({**PLAIN, "do_resize": "yes"}, "'do_resize' is 'yes'"),
    "a crop that is none": ({**PLAIN, "do_center_crop": True, "crop_size": {"x": 3}}, "crop_size"),
    "no values": ({**PLAIN, "image_mean": None}, "'image_mean' is None"),
    "a deviation of nothing": ({**PLAIN, "image_std": [0, 1, 1]}, "std not zero"),
    "two channels": ({**PLAIN, "image_std": [1, 1]}, "std has 2 values for 3"),
    "borders": (
        {"pretrained_cfg": {"input_size": [3, 9, 9], "crop_mode": "border"}}, "'border'"),
    "an unknown key of timm's": (
        {"pretrained_cfg": {"input_size": [3, 9, 9], "sharpen": 2}}, "'sharpen'"),
    "a random filter": (
        {"pretrained_cfg": {"input_size": [3, 9, 9], "interpolation": "random"}}, "'random'"),
    "a share above 1": ({"pretrained_cfg": {"input_size": [3, 90, 90], "crop_pct": 1.2}}, "pads"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_might_mean_other_pixels_is_refused_by_name(name, tmp_path):
    config, named = REFUSED[name]
    with pytest.raises(InputError, match=named) as caught:
        steps_of(config, tmp_path)
    assert re.search(r"preprocessor_config\.json.*--(resize|std)|std not zero", str(caught.value))
    assert "\n" not in str(caught.value)


def test_other_files_are_no_configuration(tmp_path):
    for content in (
        "", "no json", "[]", "3", "{}", "\x00", '{"do_normalize": false, "size": {"x": 1}}',
        '{"do_normalize": false, "resample": 77, "size": 3}', '{"image_mean": null}',
        '{"image_mean": ["a"], "image_std": [1]}', "[" * 100_000, '{"pretrained_cfg": 3}',
        '{"image_processor_type": 3}',
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"preprocessor_config\.json is not a usable"):
            steps_of(content, tmp_path)
    with pytest.raises(InputError, match="is not a usable"):
        ImagePreprocessing.from_config(tmp_path / "nothing.json")


KEYS = st.sampled_from(
    ["size", "crop_size", "resample", "do_resize", "image_mean", "image_std", "rescale_factor",
     "crop_pct", "do_pad", "image_processor_type", "input_size", "pretrained_cfg"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3)
VALUES = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(KEYS, LEAVES, max_size=3)


@given(
    changes=st.dictionaries(KEYS, VALUES, max_size=4), name=st.sampled_from([*golden.TRANSFORMERS])
)
def test_a_damaged_configuration_is_read_or_refused_in_a_sentence(changes, name, tmp_path_factory):
    config = {**golden.TRANSFORMERS[name], **changes}
    said = "preprocessor_config.json"
    try:
        steps_of(config, tmp_path_factory.getbasetemp())
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert "preprocessor_config.json" in said


# -- files without a processor's name, as somebody writes them by hand --------------------------

COMMON = {"do_normalize": True, "image_mean": list(MEAN), "image_std": list(STD)}
BY_HAND = [
    ({"size": {"shortest_edge": 16}, "do_center_crop": True,
      "crop_size": {"height": 12, "width": 12}, "resample": 3},
     ImagePreprocessing(16, (12, 12), mean=MEAN, std=STD, resample=3)),
    ({"size": {"height": 16, "width": 18}, "do_resize": True, "resample": 2,
      "do_rescale": True, "rescale_factor": 0.00392156862745098},
     ImagePreprocessing((16, 18), scale=0.00392156862745098, mean=MEAN, std=STD)),
    ({"size": 16, "do_resize": True}, ImagePreprocessing((16, 16), mean=MEAN, std=STD)),
    ({"do_resize": False, "size": 16}, ImagePreprocessing(mean=MEAN, std=STD)),
    ({"size": [16, 18], "do_normalize": False}, ImagePreprocessing((16, 18))),
    ({"do_rescale": False, "rescale_factor": 0.1},
     ImagePreprocessing(scale=1.0, mean=MEAN, std=STD)),
    ({"size": {"shortest_edge": 16}, "do_center_crop": False, "crop_size": 12},
     ImagePreprocessing(16, mean=MEAN, std=STD)),
    ({"image_mean": 0.5, "image_std": 0.5}, ImagePreprocessing(mean=(0.5,), std=(0.5,))),
]  # fmt: skip


def test_files_that_name_no_processor(tmp_path):
    for config, wanted in BY_HAND:
        assert steps_of({**COMMON, **config}, tmp_path) == wanted, config


# -- next to the model --------------------------------------------------------------------------

DIGITS = golden.new("ViT", size=golden.square(20), resample=3, **golden.HALF)
GREY = {**DIGITS, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
TIMMS = {"architecture": "x", "pretrained_cfg": {
    "input_size": [3, 20, 20], "crop_pct": 1.0, "mean": [0.5] * 3, "std": [0.25] * 3,
}}  # fmt: skip


@pytest.fixture
def beside(tmp_path):
    """A model of grey images of 20 x 20, alone in its folder."""
    path = tmp_path / "model" / "model.onnx"
    path.parent.mkdir()
    shutil.copy(marked_digits_model_path(), path)
    return path


def found(path, **given):
    return ImagePreprocessing.for_model(FrozenModel.load(path), **given)


def test_the_file_beside_the_model_is_taken_and_named(beside):
    assumed = r"resized to 20 x 20.*; assumed from the model's input"
    assert re.search(assumed, found(beside).describe())
    by_hand = {"mean": (0.5,), "std": (0.5,)}
    some = found(beside, **by_hand).describe()
    assert re.search(r"assumed .* \(but for mean and std, as given\)\.$", some)
    assert found(beside, resize=(20, 20), **by_hand).describe().endswith("; as given.")
    written(GREY, beside.parent)
    (beside.parent / "onnx").mkdir()
    assert found(shutil.copy(beside, beside.parent / "onnx" / "m.onnx")).resample == 3
    steps = found(beside)
    assert steps == ImagePreprocessing((20, 20), mean=(0.5,), std=(0.25,), resample=3, channels=1)
    assert steps.describe() == (
        "Images: resized to 20 x 20 (bicubic), values / 255, minus 0.5, divided by 0.25, grey, "
        "NCHW; as preprocessor_config.json (ViTImageProcessor) says."
    )


def test_timms_file_is_taken_too_and_a_networks_is_not_and_contradictions_are_told(beside):
    for network in ({"model_type": "vit", "id2label": {}}, "{"):
        written(network, beside.parent, "config.json")
        assert "assumed" in found(beside).source
    written(TIMMS, beside.parent, "config.json")
    steps = found(beside)
    assert (steps.resize, steps.crop, steps.mean, steps.std) == (20, (20, 20), (0.5,), (0.25,))
    assert "as config.json (timm) says" in steps.describe()
    written(GREY, beside.parent)
    assert re.search(
        r"as preprocessor_config\.json .* says, not as config\.json \(timm\) says, which differs",
        found(beside).describe(),
    )
    agreeing = {**GREY, "image_processor_type": "CLIPImageProcessor", "size": golden.shorter(20),
                "crop_size": golden.square(20)}  # fmt: skip
    written(agreeing, beside.parent)
    assert "config.json (timm)" not in found(beside).describe()


def test_what_is_given_mends_a_file_that_is_refused(beside):
    written({**GREY, "do_sharpen": True}, beside.parent)
    for part in ({}, {"resize": (20, 20)}, {"mean": (0.5,), "std": (0.5,)}):
        with pytest.raises(InputError, match=r"'do_sharpen'.*--resize, --mean and --std"):
            found(beside, **part)
    steps = found(beside, resize=(20, 20), mean=(0.5,), std=(0.25,), resample="bicubic")
    assert steps == ImagePreprocessing((20, 20), mean=(0.5,), std=(0.25,), resample=3, channels=1)


def test_another_size_than_the_models_is_refused(beside):
    written({**GREY, "size": golden.square(24)}, beside.parent)
    with pytest.raises(
        InputError, match=r"24 x 24 pixels, as preproc.* needs 20 x 20; set --resize"
    ):
        found(beside)
    assert found(beside, resize=(20, 20)).resize == (20, 20)


def test_what_a_model_was_debiased_with_is_found_again(beside, tmp_path):
    written({**GREY, "size": golden.square(20)}, beside.parent)
    model = FrozenModel.load(beside)
    steps = ImagePreprocessing.for_model(model)
    noted = {"preprocessing": json.dumps(steps.as_dict())}
    model.with_head(model.head, provenance=noted).save(tmp_path / "debiased.onnx")
    (beside.parent / "preprocessor_config.json").unlink()
    again = found(tmp_path / "debiased.onnx")
    assert again == steps
    assert "metadata" in again.source
    texts = ["", "[]", "3", '{"sharpen": 1}', '{"mean": "a"}', '{"resize": {}}', '{"std": [0]}']
    for text in texts:
        damaged = model.with_head(model.head, provenance={"preprocessing": text})
        with pytest.raises(InputError, match=r"ntkit\.preprocessing.*(damaged|not usable)"):
            ImagePreprocessing.for_model(damaged)


def test_a_damaged_file_about_images_does_no_harm_to_arrays(beside, tmp_path):
    written("damaged", beside.parent)
    model = FrozenModel.load(beside)
    np.savez(tmp_path / "d.npz", X=np.zeros((2, 1, 20, 20), np.float32), y=[0, 1])
    assert preprocessing_for(model, tmp_path / "d.npz") is None
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="is not a usable"):
        preprocessing_for(model, tmp_path / "images")


# -- values given by hand -----------------------------------------------------------------------


def test_impossible_values_are_refused():
    for values, named in [
        *(({"resample": bad}, "resample must be one of nearest") for bad in (6, "sharp", True)),
        ({"layout": "NWHC"}, "layout must be 'NCHW' or 'NHWC'"),
        ({"channels": 4}, "channels must be 1 or 3"),
        ({"channel_order": "GBR"}, "channel_order must be 'RGB' or 'BGR'"),
        ({"crop_rounding": "up"}, "crop_rounding must be"),
        ({"resize": 0}, "resize must be in pixels"),
        ({"crop": (3, -1)}, "crop must be in pixels"),
        ({"std": (0.0,)}, "std not zero"),
        ({"mean": (float("nan"),)}, "finite"),
        ({"scale": 0.0}, "scale and std not zero"),
        ({"mean": (0.1, 0.2)}, "mean has 2 values for 3 channel"),
        ({"std": MEAN, "channels": 1}, "std has 3 values for 1 channel"),
    ]:
        with pytest.raises(InputError, match=named):
            ImagePreprocessing(**values)


def test_channels_in_the_order_bgr_and_a_crop_at_half_a_pixel():
    image = Image.new("RGB", (2, 2), (255, 0, 51))
    steps = ImagePreprocessing(channel_order="BGR", mean=(0.2, 0, 0), layout="NHWC")
    assert_allclose(steps(image)[0, 0], [0, 0, 1], atol=1e-6)
    image = Image.fromarray(np.arange(5, dtype=np.uint8)[None].repeat(5, 0)).convert("RGB")
    for rounding, begins in (("down", 1), ("even", 2)):
        steps = ImagePreprocessing(crop=(2, 2), scale=1.0, crop_rounding=rounding)
        assert steps(image)[0, 0, 0] == begins


def test_the_source_is_no_part_of_the_pixels():
    steps = ImagePreprocessing((4, 4))
    other = replace(steps, source="as somebody says")
    assert steps == other
    assert steps.as_dict() == other.as_dict()
    assert steps.as_dict().keys() == {
        *("resize", "crop", "scale", "mean", "std", "layout", "channels", "resample"),
    }
    assert ImagePreprocessing(**steps.as_dict()) == steps


# -- from the model's input ---------------------------------------------------------------------


def test_a_guess_from_the_models_input():
    for shape, wanted in [
        (("n", 3, 20, 30), ImagePreprocessing((20, 30))),
        (("n", 20, 30, 3), ImagePreprocessing((20, 30), layout="NHWC")),
        (("n", 1, 20, 30), ImagePreprocessing((20, 30), channels=1)),
        (("n", "h", "w", 1), ImagePreprocessing(layout="NHWC", channels=1)),
        (("n", 3, "h", "w"), ImagePreprocessing()),
        ((None, "c", None, None), ImagePreprocessing()),
    ]:
        assert ImagePreprocessing.for_input(shape) == wanted
        for dtype, scale in {
            "uint8": 1,
            "uint16": 1,
            "int32": 1,
            "int8": 1 / 255,
            "double": 1 / 255,
        }.items():
            assert ImagePreprocessing.for_input(shape, dtype) == replace(wanted, scale=scale)
    for shape in (None, ("n", 6), ("n", 3, 4)):
        with pytest.raises(InputError, match="four axes"):
            ImagePreprocessing.for_input(shape)
