"""How a written model is used, by whoever finds its card: facts, and a program that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ntkit.extraction import ImageFiles, ImagePreprocessing, Samples, TextPreprocessing, Texts
from ntkit.inputs import saved_settings
from ntkit.model import FrozenModel, TensorInfo

SHOWN = 20  # columns, as of classes
_OF_IMAGES, _OF_TEXTS = "image-classification", "text-classification"
_NUMPY = {"double": "float64", "float": "float32"}
_STEPS = frozenset(
    {"resize", "crop", "scale", "mean", "std", "layout", "channels", "resample"}
    | {"channel_order", "crop_rounding", "source"}
)


@dataclass(frozen=True)
class Kind:
    """Parts of the program that depend on the kind of samples."""

    imports: str
    helpers: str
    main: str
    standard: str = ""
    task: str | None = None  # as the Hugging Face Hub calls it


def samples_kind(
    model: FrozenModel, samples: Samples
) -> tuple[Kind, dict[str, str], dict[str, bytes]]:
    """Parts of the program for samples of this kind, facts about them, and files it needs."""
    if TextPreprocessing.for_strings(model.inputs) is not None:
        said = f"they go into {model.inputs[0].name!r} as they are, one for each sample"
        return _plain_texts(model.inputs[0]), {"texts": said}, {}
    if samples.embedded:
        said = "the job was given embeddings; prepare inputs as for the original model"
        return _arrays(model), {"preparation": said}, {}
    if isinstance(samples.X, ImageFiles):
        steps = samples.X.preprocessing
        return _images(model, steps), {"images": _words(steps)}, {}
    if isinstance(samples.X, Texts):
        return _texts(samples.X)
    if samples.columns and len(model.inputs) == 1:
        few = ", ".join(repr(name) for name in samples.columns[:SHOWN])
        more = f", … ({len(samples.columns)} in all)" * (len(samples.columns) > SHOWN)
        said = f"{few}{more}, as numbers in this order"
        return _table(model, samples.columns), {"columns": said}, {}
    return _arrays(model), {"preparation": "arrays go in as they are"}, {}


def _words(steps: ImagePreprocessing) -> str:
    values = ", ".join(f"{name} {value}" for name, value in steps.as_dict().items())
    return f"{values}; scale is a factor on pixels 0 … 255, mean and std come after it"


def _images(model: FrozenModel, steps: ImagePreprocessing) -> Kind:
    single = _one_at_a_time(model.inputs[0], "prepared(path)[None]")
    main = f"for path in sys.argv[1:]:\n    print(path, {single}[0])"
    values = {**vars(steps)}
    if not values.keys() <= _STEPS:  # a step that is not known here
        given = ", ".join(f"{name}={value!r}" for name, value in steps.as_dict().items())
        return Kind(
            "import numpy as np\nimport onnxruntime\nfrom PIL import Image\n\n"
            "from ntkit.extraction import ImagePreprocessing",
            f"steps = ImagePreprocessing({given})\n\n\ndef prepared(path):\n"
            f'    return steps(Image.open(path)).astype("{_dtype(model.inputs[0])}")\n',
            main,
            task=_OF_IMAGES,
        )
    return Kind(
        "import numpy as np\nimport onnxruntime\nfrom PIL import Image, ImageOps",
        _prepared(values, _dtype(model.inputs[0])),
        main,
        task=_OF_IMAGES,
    )


def _prepared(steps: Mapping[str, Any], dtype: str) -> str:
    """A function that does to an image what the steps do."""
    mode = "L" if steps["channels"] == 1 else "RGB"
    lines = [
        "def prepared(path):",
        "    image = ImageOps.exif_transpose(Image.open(path))",
        '    if image.mode.startswith("I"):  # 16 bits for each pixel, which Pillow would clip',
        "        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))",
        f'    image = image.convert("{mode}")',
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


def _texts(texts: Texts) -> tuple[Kind, dict[str, str], dict[str, bytes]]:
    steps = texts.preprocessing
    content = steps.tokenizer_path.read_bytes()
    pad = texts.pad_token()
    length = "" if steps.fixed_length is None else f", length={steps.fixed_length}"
    feeds = {steps.ids: "ids", steps.mask: "attention_mask", steps.types: "type_ids"}
    feed = ",\n".join(
        f'        {json.dumps(name)}: np.array([e.{what} for e in encodings], "{steps.dtype}")'
        for name, what in feeds.items()
        if name is not None
    )
    if steps.positions is not None:
        mask = "np.array([e.attention_mask for e in encodings])"
        counted = f"np.maximum(np.cumsum({mask}, axis=1) - 1, 0)"
        feed += f',\n        {json.dumps(steps.positions)}: {counted}.astype("{steps.dtype}")'
    padding = (
        "tokenizer.no_padding()  # the model, which takes no mask, would see it"
        if steps.unpadded
        else f'tokenizer.enable_padding(direction="{steps.padding}", pad_id={pad[0]}, '
        f"pad_token={pad[1]!r}{length})"
    )
    helpers = (
        'tokenizer = Tokenizer.from_file("tokenizer.json")\n'
        f'tokenizer.enable_truncation({steps.max_length}, direction="{steps.truncation}")\n'
        f"{padding}\n\n\n"
        "def encoded(texts):\n"
        "    encodings = tokenizer.encode_batch(texts)\n"
        f"    return {{\n{feed},\n    }}\n"
    )
    kind = Kind(
        "import numpy as np\nimport onnxruntime\nfrom tokenizers import Tokenizer",
        helpers,
        _each_text(texts),
        task=_OF_TEXTS,
    )
    said = (
        f"tokenizer.json beside this card (sha256 {steps.as_dict()['tokenizer_sha256']}); at "
        f"most {steps.max_length} tokens, cut off on the {steps.truncation}, filled up on the "
        f"{steps.padding} with token {pad[0]}"
        + (f" to {steps.fixed_length} tokens" if steps.fixed_length is not None else "")
    )
    said_here: dict[str, Any] = {
        "model_max_length": steps.max_length,
        "truncation_side": steps.truncation,
        "padding_side": steps.padding,
        "pad_token": steps.pad_token,
    }
    # What else the original says is for transformers: the tokenizer's class, its special tokens.
    settings = saved_settings(steps.tokenizer_path)
    settings |= {name: value for name, value in said_here.items() if value is not None}
    files = {
        "tokenizer.json": content,
        "tokenizer_config.json": json.dumps(settings, indent=2).encode(),
    }
    return kind, {"tokenizer": said}, files


def _each_text(texts: Texts) -> str:
    if texts.paired:
        each = "for pair in zip(sys.argv[1::2], sys.argv[2::2]):  # first and second texts\n"
        return f"{each}    print(predict(encoded([pair]))[0])"
    return "for text in sys.argv[1:]:\n    print(predict(encoded([text]))[0])"


def _plain_texts(info: TensorInfo) -> Kind:
    one = "[text]" if len(info.shape or ()) == 1 else "[[text]]"
    single = _one_at_a_time(info, f"np.array({one}, dtype=object)")
    return Kind(
        "import numpy as np\nimport onnxruntime",
        "",
        f"for text in sys.argv[1:]:\n    print({single}[0])",
        task=_OF_TEXTS,
    )


def _table(model: FrozenModel, columns: tuple[str, ...]) -> Kind:
    info = model.inputs[0]
    number = "float(row[name])"
    if info.dtype in ("int32", "int64"):  # all digits of which count
        number = 'float(row[name]) if "." in row[name] else int(row[name])'
    rows = f"[[{number} for name in columns] for row in rows]"
    rows = f'np.array({rows}, "{_dtype(info)}")'
    return Kind(
        "import numpy as np\nimport onnxruntime",
        f"columns = {json.dumps(list(columns), ensure_ascii=False)}\n",
        "for path in sys.argv[1:]:  # CSV files\n"
        '    with open(path, encoding="utf-8-sig", newline="") as file:\n'
        "        rows = list(csv.DictReader(file))\n"
        f"    X = {rows}\n"
        f"    print(*{_all_rows(info)}, sep='\\n')",
        "import csv\n",
        "tabular-classification",
    )


def _arrays(model: FrozenModel) -> Kind:
    imports = "import numpy as np\nimport onnxruntime"
    if len(model.inputs) == 1:
        info = model.inputs[0]
        return Kind(
            imports,
            "",
            "for path in sys.argv[1:]:  # .npy files\n"
            f'    X = np.load(path).astype("{_dtype(info)}")\n'
            f"    print(*{_all_rows(info)}, sep='\\n')",
        )
    kinds = {
        info.name: "object" if info.dtype == "string" else _dtype(info) for info in model.inputs
    }
    return Kind(
        imports,
        f"kinds = {json.dumps(kinds, ensure_ascii=False)}\n",
        "for path in sys.argv[1:]:  # .npz files that hold an array for each input\n"
        "    with np.load(path) as arrays:\n"
        "        feed = {name: arrays[name].astype(kind) for name, kind in kinds.items()}\n"
        "        print(*predict(feed), sep='\\n')",
    )


def _one_at_a_time(info: TensorInfo, value: str) -> str:
    """A call for one sample, repeated where the model takes a fixed number of them."""
    batch = info.shape[0] if info.shape else None
    if isinstance(batch, int) and batch > 1:
        value = f"np.repeat({value}, {batch}, axis=0)"
    return f"predict({{{json.dumps(info.name)}: {value}}})"


def _all_rows(info: TensorInfo) -> str:
    if info.shape and isinstance(info.shape[0], int):
        return f"[{_one_at_a_time(info, 'X[i : i + 1]')}[0] for i in range(len(X))]"
    return f"predict({{{json.dumps(info.name)}: X}})"


def _dtype(info: TensorInfo) -> str:
    name = _NUMPY.get(info.dtype, info.dtype)
    try:
        return np.dtype(name).name
    except TypeError:
        return "float32"


@dataclass(frozen=True)
class Usage:
    """What a model card says about how to use a model."""

    facts: Mapping[str, str]
    snippet: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    change: str = ""
    before: str = ""
    task: str | None = None


def usage_of(
    model: FrozenModel, samples: Samples, *, original: FrozenModel, new_head: bool, file: str
) -> Usage:
    """Say how a model is used on samples like those given."""
    kind, facts, files = samples_kind(model, samples)
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
    return Usage(facts, "\n\n".join(parts), files, change, before, kind.task)


# -- facts --------------------------------------------------------------------------------------


def _classes(model: FrozenModel) -> str:
    names = json.loads(model.metadata["ntkit.classes"])
    shown = ", ".join(f"{i} = {name!r}" for i, name in enumerate(names[:SHOWN]))
    more = f", … ({len(names)} in all)" * (len(names) > SHOWN)
    return f"{shown}{more}, in the order of the scores; the file holds them as ntkit.classes"


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


# -- what comes out -----------------------------------------------------------------------------


def _predict(model: FrozenModel) -> str:
    """A function from inputs to class labels, by the output that shows them best."""
    name, lines = _shown(model)
    body = "\n".join(f"    {line}" for line in lines)
    return f"def predict(feed):\n    found = session.run([{json.dumps(name)}], feed)[0]\n{body}\n"


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
