"""The public names, and how light it is to import them."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

PUBLIC = {
    "ntkit": [
        "Audit",
        "Candidate",
        "CheckResult",
        "DebiasResult",
        "FrozenModel",
        "LinearHead",
        "NeuronTuneClassifier",
        "NeuronTuneClassifierCV",
        "OnnxEmbedder",
        "Predictions",
        "AccuracyCost",
        "Finding",
        "__version__",
        "audit",
        "audit_model",
        "check",
        "debias",
        "predict",
        "write_report",
    ],
    "ntkit.attributes": [
        "Attribute",
        "Block",
        "FeatureSet",
        "columns",
        "metadata",
        "words",
    ],
    "ntkit.jobs.audit": [
        "Answers",
        "Audit",
        "Inputs",
        "audit",
        "audit_model",
        "read_answers",
        "write_audit",
    ],
    "ntkit.jobs.check": [
        "CheckResult",
        "Limits",
        "check",
        "check_predictions",
        "write_check",
    ],
    "ntkit.jobs.predict": ["Predictions", "predict", "write_predictions"],
    "ntkit.attributes.findings": ["Finding"],
    "ntkit.pages.label_page": ["write_label_page"],
    "ntkit.estimators": [
        "AFRClassifier",
        "AutoDebiasClassifier",
        "BalancedClassifier",
        "DFRClassifier",
        "EVaLSClassifier",
        "GroupDROClassifier",
        "GroupInference",
        "InvariantClassifier",
        "JTTClassifier",
        "LABEL_FREE",
        "LEACEClassifier",
        "LEIAClassifier",
        "NeuronTuneClassifier",
        "NeuronTuneClassifierCV",
        "SELFClassifier",
        "SpuriousNeuronSelector",
        "head_of",
        "match_head",
        "retrain_head",
    ],
    "ntkit.jobs.label": [
        "Labelling",
        "Labels",
        "label_samples",
        "margins_of",
        "next_questions",
        "progress",
    ],
    "ntkit.metrics": [
        "CorrectnessGroupScorer",
        "GroupReport",
        "LABEL_FREE_SCORES",
        "SCORERS",
        "accuracy_by",
        "get_scorer",
        "group_report",
        "weighted_average_accuracy",
        "worst_class_accuracy",
        "worst_group_accuracy",
        "worst_group_scorer",
    ],
    "ntkit.model": [
        "FrozenModel",
    ],
    "ntkit.extraction": [
        "EmbeddingStore",
        "ImageFiles",
        "ImagePreprocessing",
        "OnnxEmbedder",
        "Samples",
        "TextPreprocessing",
        "Texts",
        "read_samples",
    ],
    "ntkit.export": ["Verification", "save_verified", "to_onnx", "verify", "write_onnx"],
    "ntkit.jobs.verify": ["Parity", "check_parity"],
    "ntkit.jobs.debias": [
        "Candidate",
        "DebiasResult",
        "AccuracyCost",
        "debias",
        "undo",
    ],
    "ntkit.verification": [
        "Verification",
        "save_verified",
        "verify",
    ],
    "ntkit.inspection": [
        "GroupAccuracyDisplay",
        "NeuronDisplay",
        "SpuriousnessDisplay",
    ],
    "ntkit.datasets": [
        "BenchmarkSamples",
        "IncompleteDataWarning",
        "load_celeba",
        "load_civilcomments",
        "load_imagenet9",
        "load_marked_digits",
        "load_multinli",
        "load_waterbirds",
        "make_spurious_classification",
        "marked_digits_model_path",
    ],
}
HEAVY = ["torch", "onnxruntime", "skl2onnx", "matplotlib", "ray", "onnx", "sklearn", "typer"]


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names(module):
    loaded = importlib.import_module(module)
    assert sorted(loaded.__all__) == sorted(PUBLIC[module])
    for name in loaded.__all__:
        value = getattr(loaded, name)
        assert value.__doc__ or not callable(value), name  # plain values need no docstring


@pytest.mark.parametrize("module", PUBLIC)
def test_docstrings_hold_what_is_documented_once(module):
    """No line such as ``{C, tol}`` is left, and defaults are those of the signature."""
    loaded = importlib.import_module(module)
    for thing in filter(callable, (getattr(loaded, name) for name in loaded.__all__)):
        methods = [value for _, value in inspect.getmembers(thing, inspect.isroutine)]
        for each in [thing, *(methods if inspect.isclass(thing) else [])]:
            text = inspect.getdoc(each) or ""
            assert not re.search(r"(?m)^ *\{[A-Za-z][\w., ]*\}$", text), each
            for name, default in re.findall(
                r"(?m)^(\w+) : [^\n]*default=([\d.]+(?:e-?\d+)?)$", text
            ):
                assert inspect.signature(each).parameters[name].default == float(default), each


def test_documented_names_are_few():
    page = Path(__file__).parents[1].joinpath("docs", "reference", "api.md").read_text("utf-8")
    blocks = re.findall(r"```{eval-rst}\n(.*?)```", page, flags=re.DOTALL)
    names = re.findall(r"(?m)^(?:   |\.\. py:data:: )([A-Za-z_]\w*)$", "\n".join(blocks))
    assert 90 <= len(names) <= 110


def test_dir_and_unknown_names():
    import ntkit

    assert set(ntkit.__all__) <= set(dir(ntkit))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = ntkit.Nonsense


def test_import_is_light():
    """In a fresh interpreter, `import ntkit` loads none of the heavy packages."""
    code = f"import ntkit, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", ["attributes", "estimators", "model", "extraction", "metrics", "inspection"]
)
def test_rooms_load_no_more_than_they_need(module):
    code = (
        f"import ntkit.{module}, sys; "
        "print([m for m in ('torch', 'onnxruntime', 'skl2onnx', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
