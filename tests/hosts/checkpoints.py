"""Small checkpoints as transformers saves them, untrained, with samples: nothing is downloaded."""

import csv
import json

import numpy as np
from PIL import Image

NAMES = ["calm", "Angry"]
SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "initializer_range": 0.5}  # fmt: skip
LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {n: i for i, n in enumerate(NAMES)}}
WORDS = ["film", "water", "light", "people", "town", "night", "music", "never", "again", "slow"]


def texts(folder):
    """A BERT that tells capitals apart, with its own tokenizer; train.csv and validation.csv."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *WORDS, *(word.upper() for word in WORDS)]
    made = Tokenizer(
        models.WordPiece({w: i for i, w in enumerate(dict.fromkeys(words))}, unk_token="[UNK]")
    )
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(0)
    size = {"vocab_size": len(made.get_vocab()), "max_position_embeddings": 32, **SIZE}
    config = BertConfig(**size, **LABELS)
    checkpoint = folder / "checkpoint"
    options = {"do_lower_case": False, "model_max_length": 12}  # some texts are longer
    BertTokenizerFast(tokenizer_object=made, **options).save_pretrained(checkpoint)
    BertForSequenceClassification(config).eval().save_pretrained(checkpoint)
    rng = np.random.default_rng(0)
    for name, n in (("train", 120), ("validation", 60)):
        rows = [["text", "label"]]
        for i in range(n):
            chosen = rng.choice(WORDS, rng.integers(3, 16))
            text = " ".join(w.upper() if rng.random() < (0.2, 0.5)[i % 2] else w for w in chosen)
            rows.append([text, NAMES[i % 2]])
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    return checkpoint


def images(folder):
    """A vision transformer with its image processor; folders train and validation of PNG files."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(image_size=16, patch_size=8, **SIZE, **LABELS)
    checkpoint = folder / "checkpoint"
    ViTForImageClassification(config).eval().save_pretrained(checkpoint)
    steps = {
        "image_processor_type": "ViTImageProcessor",
        **{"do_resize": True, "size": {"height": 16, "width": 16}, "resample": 2},
        **{"do_rescale": True, "rescale_factor": 1 / 255},
        **{"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]},
    }
    (checkpoint / "preprocessor_config.json").write_text(json.dumps(steps))
    rng = np.random.default_rng(0)
    for part, n in (("train", 80), ("validation", 40)):
        for i in range(n):
            side = rng.integers(16, 40, 2)
            # Their brightness says nothing of the class.
            pixels = rng.integers(0, 256, (*side, 3)) // rng.integers(1, 5)
            place = folder / part / NAMES[i % 2] / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(place)
    return checkpoint


def exported(checkpoint, folder):
    """The folder with ``onnx/model.onnx``, as repositories of the hub have it."""
    import shutil

    import torch
    from transformers import AutoModelForImageClassification as OfImages
    from transformers import AutoModelForSequenceClassification as OfTexts

    folder.mkdir()
    for file in checkpoint.iterdir():
        shutil.copy(file, folder)
    of_texts = (checkpoint / "tokenizer.json").exists()
    model = (OfTexts if of_texts else OfImages).from_pretrained(checkpoint).eval()
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    if of_texts:
        names = ["input_ids", "attention_mask", "token_type_ids"]
        feed = {name: torch.ones((2, 6), dtype=torch.int64) + 0 for name in names}
        shapes = {name: {0: batch, 1: length} for name in names}
    else:
        feed = {"pixel_values": torch.randn(2, 3, 16, 16)}
        shapes = {"pixel_values": {0: batch}}
    (folder / "onnx").mkdir()
    options = {"dynamo": True, "opset_version": 18, "external_data": False}
    path = folder / "onnx" / "model.onnx"
    torch.onnx.export(model, kwargs=feed, f=path, dynamic_shapes=shapes, **options)
    return folder
