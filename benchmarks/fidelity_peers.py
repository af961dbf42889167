"""Fidelity: next to code of the papers' authors, run from clones that you make.

| folder | repository | commit | licence |
|---|---|---|---|
| afr | AndPotap/afr | b34b6cd | Apache-2.0 |
| last-layer-retraining | tmlabonte/last-layer-retraining | 40612d4 | MIT |
| group_DRO | kohpangwei/group_DRO | cbbc1c5 | MIT |
| spurious_feature_learning | izmailovpavel/spurious_feature_learning | 1a25a2f | Apache-2.0 |

What their modules import and the functions called here do not use (loggers, loaders of images,
training frameworks) is replaced by stand-ins, and ``.cuda()`` by nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np
import torch

from fidelity_dfr import CS, accuracies, balanced_draw
from fidelity_packages import torch_layer, tuned_by_torch
from fidelity_rows import SEEDS, Array, Row, Sample, largest, sample
from ntkit.estimators import AFRClassifier, GroupDROClassifier, SELFClassifier


def loaded(path: Path, **stand_ins: Any) -> Any:
    """A module from a file, with others in the place of what it imports."""
    names = {name.replace("__", "."): module for name, module in stand_ins.items()}
    with patch.dict(sys.modules, names):
        spec = importlib.util.spec_from_file_location(f"peer_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def on_the_cpu() -> Iterator[None]:
    """No GPU, and no prints."""
    with (
        patch.object(torch.Tensor, "cuda", lambda self, *_: self),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        yield


def afr(peers: Path) -> list[Row]:
    """Weights and steps of AndPotap/afr: losses/__init__.py and utils/supervised_utils.py."""
    losses = loaded(peers / "afr" / "losses" / "__init__.py")
    theirs = loaded(
        peers / "afr" / "utils" / "supervised_utils.py",
        losses=losses,
        utils=MagicMock(),
        utils__logging=MagicMock(),
        tqdm=MagicMock(),
    )
    weights, steps = [], []
    for seed in SEEDS:
        for reg in (0.0, 0.1):
            data, gamma = sample(seed, 2 + seed % 2), 10.0
            clf = AFRClassifier(gamma=gamma, reg_coeff=reg, solver="gd", head=data.head)
            clf.fit(data.X, data.y)
            X, y = torch.from_numpy(data.X), torch.from_numpy(data.y)
            layer = torch_layer(data)
            with torch.no_grad():
                mu = losses.get_exp_weights(layer(X), y, gamma=gamma)
            mu = theirs.normalize_weights(theirs.rebalance_weights(mu, y))
            initial = layer.weight.detach().clone(), layer.bias.detach().clone()
            sgd = torch.optim.SGD(layer.parameters(), lr=0.01)
            for _ in range(500):
                theirs.take_step(
                    layer, (X, y, mu), sgd, losses.afr(), None, initial, reg, max_norm=1.0
                )
            weights.append(clf.weights_ - mu.numpy())
            with torch.no_grad():
                steps.append(clf.predict_proba(data.X) - layer(X).softmax(dim=1).numpy())
    return [
        Row("AFR", "weights", "AndPotap/afr", largest(*weights), 1e-8),
        Row("AFR", "probabilities after 500 steps", "AndPotap/afr", largest(*steps), 1e-6),
    ]


def self_steps(peers: Path) -> list[Row]:
    """The optimiser that tmlabonte/last-layer-retraining makes: its momentum has no effect."""
    lightning = ModuleType("pytorch_lightning")
    lightning.LightningModule = object  # type: ignore[attr-defined]
    root = peers / "last-layer-retraining" / "milkshake"
    theirs = loaded(
        root / "models" / "model.py",
        pytorch_lightning=lightning,
        pl_bolts=MagicMock(),
        pl_bolts__optimizers=MagicMock(),
        pl_bolts__optimizers__lr_scheduler=MagicMock(),
        torchvision=MagicMock(),
        torchvision__models=MagicMock(),
        milkshake=MagicMock(),
        milkshake__utils=MagicMock(),
    )
    without, having = [], []
    for seed in SEEDS:
        data = sample(seed, 2 + seed % 2)
        for momentum, into in ((0.0, without), (0.9, having)):
            clf = SELFClassifier(
                selection="misclassification",
                n_selected=90,
                momentum=momentum,
                head=data.head,
                random_state=seed,
            ).fit(data.X, data.y)

            def made(layer: torch.nn.Linear, rate: float = clf.learning_rate) -> Any:
                settings = {"lr": rate, "weight_decay": 1e-4, "momentum": 0.9}  # their defaults
                settings |= {"lr_scheduler": "step", "lr_steps": [], "lr_drop": 0.1}
                model = SimpleNamespace(
                    optimizer=torch.optim.SGD, model=layer, hparams=SimpleNamespace(**settings)
                )
                return theirs.Model.configure_optimizers(model)[0][0]

            layer = tuned_by_torch(clf, data, momentum, seed, made)
            with torch.no_grad():
                proba = layer(torch.from_numpy(data.X)).softmax(dim=1).numpy()
            into.append(clf.predict_proba(data.X) - proba)
    name, what = "tmlabonte/last-layer-retraining", "probabilities after 250 steps"
    return [
        Row("SELF", what, name, largest(*without), 1e-8),
        Row("SELF", f"{what}, ours with `momentum=0.9`", name, largest(*having), np.inf),
    ]


def groupdro(peers: Path) -> list[Row]:
    """Training with the LossComputer of kohpangwei/group_DRO, all rows in every step."""
    differences = []
    with on_the_cpu():
        theirs = loaded(peers / "group_DRO" / "loss.py")
        for seed in SEEDS:
            data, C = sample(seed, n=240, width=4), 0.2
            clf = GroupDROClassifier(eta=0.1, C=C, tol=1e-5, max_iter=100_000)
            clf.fit(data.X, data.y, groups=data.groups)
            values = [
                worst_loss(head, data, C)
                for head in ((clf.coef_, clf.intercept_), trained(theirs, data, C))
            ]
            differences.append(values[0] - values[1])
    what = "objective of the worst group, 4000 steps"
    return [Row("GroupDRO", what, "kohpangwei/group_DRO", largest(differences), 5e-3)]


def worst_loss(head: tuple[Array, Array], data: Sample, C: float) -> float:
    """Largest mean log loss of a group, plus the penalty."""
    logits = (data.X @ head[0].T + head[1])[:, 0]
    loss = np.logaddexp(0, np.where(data.y == 1, -logits, logits))
    by = [loss[data.groups == group].mean() for group in range(4)]
    return float(max(by) + (head[0] ** 2).sum() / (2 * C * len(data.y)))


def trained(theirs: Any, data: Sample, C: float) -> tuple[Array, Array]:
    """The better of the last weights and their mean over the second half; single precision."""
    X, y = torch.from_numpy(data.X).float(), torch.from_numpy(data.y)
    groups = torch.from_numpy(data.groups)
    counts = torch.bincount(groups).float()
    dataset = SimpleNamespace(n_groups=4, group_counts=lambda: counts, group_str=str)
    computer = theirs.LossComputer(
        torch.nn.CrossEntropyLoss(reduction="none"), True, dataset, alpha=0.2, step_size=0.02
    )
    layer = torch.nn.Linear(X.shape[1], 2)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    # Two rows of weights move by opposite amounts: their decay is twice that of the one logit.
    decay = 2 / (C * len(y))
    sgd = torch.optim.SGD(
        [{"params": [layer.weight], "weight_decay": decay}, {"params": [layer.bias]}], lr=0.05
    )
    total, n_steps = torch.zeros(2, X.shape[1] + 1), 4000
    for step in range(n_steps):
        sgd.zero_grad()
        computer.loss(layer(X), y, groups, is_training=True).backward()
        sgd.step()
        if step >= n_steps // 2:
            total += torch.column_stack([layer.weight, layer.bias]).detach() / (n_steps // 2)
    last = torch.column_stack([layer.weight, layer.bias]).detach()
    heads = [np.diff(theta.double().numpy(), axis=0) for theta in (total, last)]
    pairs = [(theta[:, :-1], theta[:, -1]) for theta in heads]
    return min(pairs, key=lambda head: worst_loss(head, data, C))


def dfr(peers: Path) -> list[Row]:
    """The choice of C by izmailovpavel/spurious_feature_learning, and by our literal loop."""
    stand_ins = dict.fromkeys(("models", "utils", "wandb", "tqdm"), MagicMock())
    path = peers / "spurious_feature_learning" / "dfr_evaluate_spurious.py"
    theirs, differences = loaded(path, **stand_ins), []
    for seed in range(8):
        data = sample(seed, n=400, width=20)
        np.random.seed(seed)  # noqa: NPY002 - their functions draw from NumPy's global generator
        with contextlib.redirect_stdout(io.StringIO()):
            chosen = theirs.dfr_on_validation_tune(
                {"val": data.X}, {"val": data.y}, {"val": data.groups}
            )
        rng = np.random.RandomState(seed)
        order = np.arange(len(data.y))
        rng.shuffle(order)
        judged, fitting = order[: len(order) // 2], order[len(order) // 2 :]
        fitted = balanced_draw(data.groups, fitting, rng)
        worst = accuracies(data.X, data.y, data.groups, fitted, judged).min(axis=1)
        differences.append(chosen - CS[int(worst.argmax())])
    name = "izmailovpavel/spurious_feature_learning"
    return [Row("DFR", "C chosen, plain halves", name, largest(differences), 1e-12)]


COMPARISONS: list[Callable[[Path], list[Row]]] = [afr, self_steps, groupdro, dfr]
"""Each takes the folder of the clones."""
