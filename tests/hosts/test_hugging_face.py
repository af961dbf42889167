"""Folders of the Hugging Face Hub, in and out: transformers and Optimum say what ntkit said."""

import hashlib
import json

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from tests.hosts.checkpoints import NAMES
from tests.jobs.verify.services import softmax

pytestmark = pytest.mark.filterwarnings("ignore")  # exporters warn


def fed(case):
    """Inputs of the model as transformers makes them from the folder."""
    import transformers

    if case.kind == "texts":
        tokenizer = transformers.AutoTokenizer.from_pretrained(case.service)
        return tokenizer(case.samples, padding=True, truncation=True, return_tensors="np")
    options = {"use_fast": False} if int(transformers.__version__[0]) < 5 else {"backend": "pil"}
    processor = transformers.AutoImageProcessor.from_pretrained(case.service, **options)
    return processor([Image.open(path) for path in case.samples], return_tensors="np")


def test_transformers_reads_the_folder_as_ntkit_does(hub):
    import transformers

    config = transformers.AutoConfig.from_pretrained(hub.service)
    assert [config.id2label[i] for i in range(2)] == NAMES
    session = onnxruntime.InferenceSession(
        hub.service / "model.onnx", providers=["CPUExecutionProvider"]
    )
    feed = fed(hub)
    assert {spec.name for spec in session.get_inputs()} == set(feed)
    shares = softmax(session.run(None, dict(feed))[0])
    hub.check([config.id2label[i] for i in shares.argmax(axis=1)], shares)


def test_settings_of_the_tokenizer_survive(hub):
    if hub.kind == "images":
        pytest.skip("images have no tokenizer")
    settings = json.loads((hub.service / "tokenizer_config.json").read_text("utf-8"))
    assert settings["do_lower_case"] is False
    assert settings["model_max_length"] == 12


def test_the_card_is_one_of_the_hub(hub):
    repocard = pytest.importorskip("huggingface_hub").repocard
    card = repocard.ModelCard.load(hub.service / "README.md")
    task = {"texts": "text-classification", "images": "image-classification"}[hub.kind]
    assert card.data.pipeline_tag == task
    assert card.data.library_name == "onnx"
    assert card.data.license is None  # not known
    assert card.data.eval_results is None  # no name of a data set is known
    assert "spurious-correlations" in card.data.tags
    assert card.text.lstrip().startswith("# model.onnx, debiased")
    again = repocard.ModelCard(str(card))
    assert again.data.to_dict() == card.data.to_dict()


def test_nothing_of_the_old_head_goes_along(hub):
    """The checkpoint's own weights have the head that was replaced."""
    names = {file.name for file in hub.service.iterdir()}
    assert names.isdisjoint({"model.safetensors", "pytorch_model.bin"})
    old = hub.service.with_name("repository") / "onnx" / "model.onnx"
    digests = [
        hashlib.sha256(file.read_bytes()).hexdigest() for file in (old, hub.service / "model.onnx")
    ]
    assert digests[0] != digests[1]


def test_optimum_answers_as_ntkit_does(optimum):
    from optimum.onnxruntime import (
        ORTModelForImageClassification,
        ORTModelForSequenceClassification,
    )

    of_texts = optimum.kind == "texts"
    kind = ORTModelForSequenceClassification if of_texts else ORTModelForImageClassification
    model = kind.from_pretrained(optimum.service)
    shares = softmax(model(**fed(optimum)).logits)
    optimum.check([model.config.id2label[i] for i in shares.argmax(axis=1)], shares)


def test_pipelines_of_optimum_answer_as_ntkit_does(optimum):
    from optimum.onnxruntime import pipeline
    from transformers import AutoImageProcessor, AutoTokenizer

    if optimum.kind == "texts":
        tool = {"tokenizer": AutoTokenizer.from_pretrained(optimum.service)}
        task, samples, options = "text-classification", optimum.samples, {"truncation": True}
    else:
        made = AutoImageProcessor.from_pretrained(optimum.service, use_fast=False)
        tool, task, options = {"image_processor": made}, "image-classification", {}
        samples = [str(path) for path in optimum.samples]
    answer = pipeline(task, model=str(optimum.service), accelerator="ort", **tool)
    found = [
        {each["label"]: each["score"] for each in one}
        for one in answer(samples, top_k=2, **options)
    ]
    shares = np.asarray([[one[name] for name in NAMES] for one in found])
    optimum.check([max(one, key=one.get) for one in found], shares)
