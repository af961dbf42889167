"""How a written model is used, by whoever finds its card: facts, and a program that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ntkit.extraction import ImageFiles, ImagePreprocessing, Samples, Texts
from ntkit.frozen_model import FrozenModel, TensorInfo

__all__ = ["Usage", "usage_of"]

_SHOWN = 20  # classes and columns
_NUMPY = {"double": "float64", "float": "float32"}
_STEPS = frozenset(
    {"resize", "crop", "scale", "mean", "std", "layout", "channels", "resample"}
    | {"channel_order", "crop_rounding", "source"}
)


@dataclass(frozen=True)
class Usage:
    """What a model card says about how to use a model.

    Parameters
    ----------
    facts : mapping of str to str
        Classes, inputs, outputs, preparation of the samples.
    snippet : str
        A Python program that predicts, to be run beside the model.
    files : mapping of str to bytes
        Files that it needs beside the model.
    change : str
        What is other than in the original, in sentences.
    before : str
        What the figures before are of, where they are not the original's.
    """

    facts: Mapping[str, str]
    snippet: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    change: str = ""
    before: str = ""


def usage_of(
    model: FrozenModel, samples: Samples, *, original: FrozenModel, new_head: bool, file: str
) -> Usage:
    """Say how a model is used on samples like those given.

    Parameters
    ----------
    model : FrozenModel
        The model written, with a head.
    samples : Samples
        Labelled samples: how they became inputs of the model.
    original : FrozenModel
        The model that it was made from.
    new_head : bool
        Whether its head is for other classes than the original's.
    file : str
        Its file name.

    Returns
    -------
    Usage
    """
    kind, facts, files = _samples_of(model, samples)
    facts = {
        "classes": _classes(model),
        "inputs": "; ".join(map(str, model.inputs)),
        "outputs": "; ".join(map(str, model.outputs)),
        **facts,
    }
    parts = [
        f"{kind.standard}import json\nimport sys\n\n{kind.imports}",
        f'session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])\n'
        'classes = json.loads(session.get_modelmeta().custom_metadata_map["ntkit.classes"])',
        *([kind.helpers] if kind.helpers else []),
        _predict(model),
        kind.main,
    ]
    change, before = _changes(model, original, new_head)
    return Usage(facts, "\n\n".join(parts), files, change, before)


@dataclass(frozen=True)
class _Kind:
    """Parts of the program that depend on the kind of samples."""

    imports: str
    helpers: str
    main: str
    standard: str = ""


# -- facts --------------------------------------------------------------------------------------


def _classes(model: FrozenModel) -> str:
    names = json.loads(model.metadata["ntkit.classes"])
    shown = ", ".join(f"{i} = {name!r}" for i, name in enumerate(names[:_SHOWN]))
    more = f", … ({len(names)} in all)" * (len(names) > _SHOWN)
    return f"{shown}{more}, in the order of the scores; the file holds them as `ntkit.classes`"


def _changes(model: FrozenModel, original: FrozenModel, new_head: bool) -> tuple[str, str]:
    """What is other than in the original, and what stands before in the figures."""
    if not new_head:
        return (
            "Everything before it, inputs, outputs and their names are those of the original.",
            "",
        )
    own = {tensor.name for tensor in original.outputs}
    added = [str(tensor) for tensor in model.outputs if tensor.name not in own]
    n_classes = len(model.head.classes) if model.head is not None else 0
    what = "has no head for these classes"
    if original.head is not None:
        what = f"tells {len(original.head.classes)} other classes apart"
    where = (
        f"its scores are the new output {', '.join(added)}"
        if added
        else "outputs that follow from it show these classes in place of the original's"
    )
    return (
        f"Its head is new: the original {what}, this one {n_classes} classes; {where}. Everything "
        f"before {model.embedding.name!r} and all other outputs are those of the original.",
        "The original model cannot be rated on these classes: “before” is a plain (ERM) head "
        "that was fitted on the training set, on the same embeddings.",
    )


# -- what goes in -------------------------------------------------------------------------------


def _samples_of(
    model: FrozenModel, samples: Samples
) -> tuple[_Kind, dict[str, str], dict[str, bytes]]:
    if samples.embedded:
        said = "the job was given embeddings; prepare inputs as for the original model"
        return _arrays(model), {"preparation": said}, {}
    if isinstance(samples.X, ImageFiles):
        steps = samples.X.preprocessing
        return _images(model, steps), {"images": _words(steps)}, {}
    if isinstance(samples.X, Texts):
        return _texts(samples.X)
    if samples.columns and len(model.inputs) == 1:
        few = ", ".join(f"`{name}`" for name in samples.columns[:_SHOWN])
        more = f", … ({len(samples.columns)} in all)" * (len(samples.columns) > _SHOWN)
        said = f"{few}{more}, as numbers in this order"
        return _table(model, samples.columns), {"columns": said}, {}
    return _arrays(model), {"preparation": "arrays go in as they are"}, {}


def _words(steps: ImagePreprocessing) -> str:
    values = ", ".join(f"{name} {value}" for name, value in steps.as_dict().items())
    return f"{values}; `scale` is a factor on pixels 0 … 255, `mean` and `std` come after it"


def _images(model: FrozenModel, steps: ImagePreprocessing) -> _Kind:
    single = _one_at_a_time(model.inputs[0], "prepared(path)[None]")
    main = f"for path in sys.argv[1:]:\n    print(path, {single}[0])"
    values = {**vars(steps)}
    if not values.keys() <= _STEPS:  # a step that is not known here
        given = ", ".join(f"{name}={value!r}" for name, value in steps.as_dict().items())
        return _Kind(
            "import numpy as np\nimport onnxruntime\nfrom PIL import Image\n\n"
            "from ntkit.extraction import ImagePreprocessing",
            f"steps = ImagePreprocessing({given})\n\n\ndef prepared(path):\n"
            f'    return steps(Image.open(path)).astype("{_dtype(model.inputs[0])}")\n',
            main,
        )
    return _Kind(
        "import numpy as np\nimport onnxruntime\nfrom PIL import Image, ImageOps",
        _prepared(values, _dtype(model.inputs[0])),
        main,
    )


def _prepared(steps: Mapping[str, Any], dtype: str) -> str:
    """A function that does to an 8-bit image what the steps do."""
    mode = "L" if steps["channels"] == 1 else "RGB"
    lines = [
        "def prepared(path):",
        f'    image = ImageOps.exif_transpose(Image.open(path)).convert("{mode}")',
    ]
    resize, crop, resample = steps["resize"], steps["crop"], int(steps["resample"])
    if isinstance(resize, int):
        size = f"tuple({resize} * side // min(image.size) for side in image.size)"
        lines.append(f"    size = {size}  # the shorter side becomes {resize}")
        lines.append(f"    image = image.resize(size, Image.Resampling({resample}))")
    elif resize is not None:
        size = f"({resize[1]}, {resize[0]})"
        lines.append(
            f"    image = image.resize({size}, Image.Resampling({resample}))  # width first"
        )
    if crop is not None:
        over = f"image.width - {crop[1]}", f"image.height - {crop[0]}"
        even = steps.get("crop_rounding") == "even"
        left, top = (f"round(({n}) / 2)" if even else f"({n}) // 2" for n in over)
        lines.append(f"    left, top = {left}, {top}")
        lines.append(f"    image = image.crop((left, top, left + {crop[1]}, top + {crop[0]}))")
    lines.append(
        "    pixels = np.asarray(image, np.float32).reshape(image.height, image.width, -1)"
    )
    if steps.get("channel_order") == "BGR":
        lines.append("    pixels = pixels[:, :, ::-1]")
    mean, std = (f"np.array({list(steps[name])}, np.float32)" for name in ("mean", "std"))
    lines.append(f"    pixels = (pixels * np.float32({steps['scale']!r}) - {mean}) / {std}")
    turned = "pixels.transpose(2, 0, 1)" if steps["layout"] == "NCHW" else "pixels"
    lines.append(f'    return {turned}.astype("{dtype}")')
    return "\n".join(lines) + "\n"


def _texts(texts: Texts) -> tuple[_Kind, dict[str, str], dict[str, bytes]]:
    steps = texts.preprocessing
    content = Path(steps.tokenizer).read_bytes()
    pad = texts.pad_token()
    length = "" if steps.fixed_length is None else f", length={steps.fixed_length}"
    feeds = {steps.ids: "ids", steps.mask: "attention_mask", steps.types: "type_ids"}
    feed = ",\n".join(
        f'        "{name}": np.array([e.{what} for e in encodings], "{steps.dtype}")'
        for name, what in feeds.items()
        if name is not None
    )
    helpers = (
        'tokenizer = Tokenizer.from_file("tokenizer.json")\n'
        f'tokenizer.enable_truncation({steps.max_length}, direction="{steps.truncation}")\n'
        f'tokenizer.enable_padding(direction="{steps.padding}", pad_id={pad[0]}, '
        f"pad_token={pad[1]!r}{length})\n\n\n"
        "def encoded(texts):\n"
        "    encodings = tokenizer.encode_batch(texts)\n"
        f"    return {{\n{feed},\n    }}\n"
    )
    kind = _Kind(
        "import numpy as np\nimport onnxruntime\nfrom tokenizers import Tokenizer",
        helpers,
        "for text in sys.argv[1:]:\n    print(predict(encoded([text]))[0])",
    )
    said = (
        f"`tokenizer.json` beside this card (sha256 {steps.as_dict()['tokenizer_sha256']}); at "
        f"most {steps.max_length} tokens, cut off on the {steps.truncation}, filled up on the "
        f"{steps.padding} with token {pad[0]}"
        + (f" to {steps.fixed_length} tokens" if steps.fixed_length is not None else "")
    )
    settings: dict[str, Any] = {
        "model_max_length": steps.max_length,
        "truncation_side": steps.truncation,
        "padding_side": steps.padding,
        "pad_token": steps.pad_token,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    files = {
        "tokenizer.json": content,
        "tokenizer_config.json": json.dumps(settings, indent=2).encode(),
    }
    return kind, {"tokenizer": said}, files


def _table(model: FrozenModel, columns: tuple[str, ...]) -> _Kind:
    info = model.inputs[0]
    rows = f'np.array([[float(row[name]) for name in columns] for row in rows], "{_dtype(info)}")'
    return _Kind(
        "import numpy as np\nimport onnxruntime",
        f"columns = {json.dumps(list(columns), ensure_ascii=False)}\n",
        "for path in sys.argv[1:]:  # CSV files\n"
        '    with open(path, encoding="utf-8-sig", newline="") as file:\n'
        "        rows = list(csv.DictReader(file))\n"
        f"    X = {rows}\n"
        f"    print(*{_all_rows(info)}, sep='\\n')",
        "import csv\n",
    )


def _arrays(model: FrozenModel) -> _Kind:
    imports = "import numpy as np\nimport onnxruntime"
    if len(model.inputs) == 1:
        info = model.inputs[0]
        return _Kind(
            imports,
            "",
            "for path in sys.argv[1:]:  # .npy files\n"
            f'    X = np.load(path).astype("{_dtype(info)}")\n'
            f"    print(*{_all_rows(info)}, sep='\\n')",
        )
    names = ", ".join(f'"{tensor.name}"' for tensor in model.inputs)
    return _Kind(
        imports,
        "",
        f"for path in sys.argv[1:]:  # .npz files that hold {names.replace(chr(34), '')}\n"
        "    with np.load(path) as arrays:\n"
        f"        print(*predict({{name: arrays[name] for name in ({names})}}), sep='\\n')",
    )


def _one_at_a_time(info: TensorInfo, value: str) -> str:
    """A call for one sample, repeated where the model takes a fixed number of them."""
    batch = info.shape[0] if info.shape else None
    if isinstance(batch, int) and batch > 1:
        value = f"np.repeat({value}, {batch}, axis=0)"
    return f'predict({{"{info.name}": {value}}})'


def _all_rows(info: TensorInfo) -> str:
    if info.shape and isinstance(info.shape[0], int):
        return f"[{_one_at_a_time(info, 'X[i : i + 1]')}[0] for i in range(len(X))]"
    return f'predict({{"{info.name}": X}})'


def _dtype(info: TensorInfo) -> str:
    name = _NUMPY.get(info.dtype, info.dtype)
    try:
        return np.dtype(name).name
    except TypeError:
        return "float32"


# -- what comes out -----------------------------------------------------------------------------


def _predict(model: FrozenModel) -> str:
    """A function from inputs to class labels, by the output that shows them best."""
    name, lines = _shown(model)
    body = "\n".join(f"    {line}" for line in lines)
    return f'def predict(feed):\n    found = session.run(["{name}"], feed)[0]\n{body}\n'


def _shown(model: FrozenModel) -> tuple[str, list[str]]:
    head, logits = model.head, model.logits
    if head is None or logits is None:
        return model.outputs[0].name, ["return found"]
    columns = [
        "scores = found.reshape(len(found), -1)",
        "return [classes[i] for i in scores.argmax(axis=1)]",
    ]
    names = {tensor.name: tensor for tensor in model.outputs}
    if logits.name in names:
        return logits.name, columns if head.n_logits > 1 else [_risen(0)]
    tail = model.tail()
    after = {value.name for value in tail.graph.output} if tail is not None else set[str]()
    found = [tensor for tensor in model.outputs if tensor.name in after]
    for info in found:
        width = info.shape[-1] if info.shape else None
        scores = info.dtype in ("float32", "float16", "double", "bfloat16")
        if scores and width == len(head.classes) and len(info.shape or ()) > 1:
            return info.name, columns
        if scores and head.n_logits == 1 and "Sigmoid" in model.describe()["post_processing"]:
            return info.name, [_risen(0.5)]
    for info in found:
        if info.dtype == "sequence of maps":
            return info.name, ["return [max(row, key=row.get) for row in found]"]
        if info.dtype == "string" or model.classes_from_graph:
            return info.name, ["return found.reshape(len(found), -1)[:, 0].tolist()"]
        if info.dtype.startswith(("int", "uint", "bool")):
            column = "found.reshape(len(found), -1)[:, 0]"
            return info.name, [f"return [classes[int(i)] for i in {column}]"]
    return (found or list(model.outputs))[0].name, ["return found"]


def _risen(threshold: float) -> str:
    return f"return [classes[int(score > {threshold})] for score in found.reshape(-1)]"
