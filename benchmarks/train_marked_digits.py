"""Train the CNNs of the built-in data: ``python benchmarks/train_marked_digits.py SET OUT.onnx``.

Plain empirical risk minimisation on the training set: no group labels, no augmentation, and
neither the validation nor the test set plays a part. A global max pool ends the body, so that a
neuron says how strongly its pattern occurs anywhere in the image.
"""

import argparse
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

from ntkit._extras import install_extra
from ntkit.datasets import load_marked_digits, load_scanned_digits
from ntkit.datasets._digits import CANVAS
from ntkit.exceptions import MissingDependencyError

logger = logging.getLogger(__name__)

SEED = 0
N_CHANNELS = 12
N_NEURONS = 64
# Data and epochs; longer, and the network memorises the rows that contradict the shortcut.
SETS = {"marked": (load_marked_digits, 12), "scanned": (load_scanned_digits, 20)}
BATCH_SIZE = 64
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 1e-2


def build_network() -> Any:
    """Build the CNN: three convolutions, a global max pool and one linear layer.

    Returns
    -------
    network : torch.nn.Sequential
        Maps images (batch, 1, 20, 20) to logits (batch, 2).
    """
    nn = _import_torch().nn
    body = nn.Sequential(
        nn.Conv2d(1, N_CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(N_CHANNELS, 2 * N_CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * N_CHANNELS, N_NEURONS, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(CANVAS // 4),
        nn.Flatten(),
    )
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(N_NEURONS, 2)))


def train(network: Any, X: Any, y: Any, n_epochs: int, generator: Any) -> None:
    """Minimise the mean cross-entropy, in place.

    Parameters
    ----------
    network : torch.nn.Module
        What `build_network` returns.
    X : torch.Tensor of shape (n, 1, 20, 20)
        Images.
    y : torch.Tensor of shape (n,)
        Classes.
    n_epochs : int
        How often each image is seen.
    generator : torch.Generator
        Decides the order of the samples.
    """
    torch = _import_torch()
    n_batches = len(X) // BATCH_SIZE
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=n_epochs * n_batches
    )
    for epoch in range(n_epochs):
        order = torch.randperm(len(X), generator=generator)[: n_batches * BATCH_SIZE]
        for rows in order.split(BATCH_SIZE):
            loss = torch.nn.functional.cross_entropy(network(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        logger.info("epoch %d: loss of the last batch %.3f", epoch + 1, loss.item())


def export(network: Any, path: Path) -> None:
    """Write the network as one ONNX file with a dynamic batch.

    Parameters
    ----------
    network : torch.nn.Module
        What `build_network` returns.
    path : pathlib.Path
        The file to write.
    """
    torch = _import_torch()
    program = torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 1, CANVAS, CANVAS),),
        dynamo=True,
        verbose=False,
        opset_version=18,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    # The exporter notes its own stack traces, with the paths of this machine.
    graph = program.model.graph
    for part in (graph, *graph, *graph.inputs, *graph.outputs, *graph.initializers.values()):
        part.metadata_props.clear()
    for node in graph:
        for value in node.outputs:
            value.metadata_props.clear()
    program.save(path, external_data=False)


def main(argv: list[str] | None = None) -> None:
    """Train the network and write it.

    Parameters
    ----------
    argv : list of str, optional
        Command line; the process's own when left out.

    Raises
    ------
    MissingDependencyError
        If PyTorch is not installed.
    """
    parser = argparse.ArgumentParser(description="Train the CNN of a built-in data set.")
    parser.add_argument("name", choices=[*SETS], metavar="SET")
    parser.add_argument("output", type=Path, metavar="OUT.onnx")
    arguments = parser.parse_args(argv)
    load, n_epochs = SETS[arguments.name]
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)

    torch = _import_torch()
    torch.set_num_threads(1)  # sums come out in the same order on every run
    torch.manual_seed(SEED)
    data = load()
    network = build_network()
    X, y = torch.from_numpy(data.X_train), torch.from_numpy(data.y_train)
    train(network, X, y, n_epochs, torch.Generator().manual_seed(SEED))
    export(network, arguments.output)


def _import_torch() -> Any:
    """Import PyTorch, which only this script needs."""
    try:
        import torch
    except ImportError as error:
        message = f"training the demo model needs PyTorch: {install_extra('torch')}"
        raise MissingDependencyError(message) from error
    return torch


if __name__ == "__main__":
    main()
