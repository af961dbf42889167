"""Train a small network on images by empirical risk minimisation, and write it as ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

BATCH = 128


def trained(
    build: Callable[[], nn.Module],
    images: NDArray[Any],
    labels: NDArray[Any],
    seed: int,
    *,
    rate: float,
    epochs: int,
) -> nn.Module:
    """Build and train a network that returns logits, with Adam."""
    torch.manual_seed(seed)
    network = build()
    optimizer = torch.optim.Adam(network.parameters(), rate)
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(epochs):
        for batch in torch.randperm(len(targets)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[batch]), targets[batch]).backward()
            optimizer.step()
    return network.eval()


def export(network: nn.Module, path: Path, side: int) -> None:
    """Write a network of grey images (N, 1, side, side) as ONNX."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.onnx.export(
        network,
        (torch.zeros(2, 1, side, side),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
