"""A small network of depthwise separable convolutions, batch norms and ReLU6, as in MobileNet.

Howard et al. 2017, arXiv 1704.04861: such networks are known to lose accuracy in 8 bits with one
scale for all channels, since batch norms leave channels of very different ranges (Nagel et al.
2019, arXiv 1906.04721).
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import nn

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


def trained(images: NDArray, labels: NDArray, seed: int) -> Separable:
    """Train by empirical risk minimisation."""
    torch.manual_seed(seed)
    network = Separable()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(targets)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[batch]), targets[batch]).backward()
            optimizer.step()
    return network.eval()


def export(network: Separable, path: Path) -> None:
    """Write the network as ONNX."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.onnx.export(
        network,
        (torch.zeros(2, 1, 28, 28),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
