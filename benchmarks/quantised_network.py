"""A small network of depthwise separable convolutions, batch norms and ReLU6, as in MobileNet.

Howard et al. 2017, arXiv 1704.04861: such networks are known to lose accuracy in 8 bits with one
scale for all channels, since batch norms leave channels of very different ranges (Nagel et al.
2019, arXiv 1906.04721).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from small_network import export, trained

EPOCHS = 4


def block(before: int, after: int, stride: int) -> list[nn.Module]:
    """A depthwise convolution and one of single pixels."""
    return [
        nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False),
        nn.BatchNorm2d(before),
        nn.ReLU6(),
        nn.Conv2d(before, after, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU6(),
    ]


class Separable(nn.Module):
    """Five blocks, the mean over pixels (128 neurons), and a head of ten classes."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)]
        layers.append(nn.ReLU6())
        for before, after, stride in (
            *((16, 32, 1), (32, 64, 2), (64, 64, 1)),
            *((64, 128, 2), (128, 128, 1)),
        ):
            layers += block(before, after, stride)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(128, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.head(self.features(image).mean(dim=(2, 3)))


def written(images: NDArray[Any], labels: NDArray[Any], seed: int, path: Path) -> None:
    """Train a network and write it as ONNX."""
    export(
        trained(Separable, images, labels, seed, rate=3e-3, epochs=EPOCHS), path, images.shape[-1]
    )
