"""Classifiers as the exporters of PyTorch and of its model libraries write them.

Weights are random: what counts is the tail of the graph. Widths are as small as the architecture
bears, so that most rows build in about a second.
"""

from functools import partial

import numpy as np

from tests.zoo.building import quietly
from tests.zoo.row import REGION, Row

__all__ = ["ROWS"]

N = 8


# -- exporting ----------------------------------------------------------------------------------


def _dynamo(module, samples, folder, *, fixed=False, **options):
    """torch.export, then onnxscript: PyTorch's exporter since 2.9."""
    import torch

    options = {"opset_version": 18, "external_data": False, **options}
    dynamic = None if fixed else {name: {0: torch.export.Dim("batch")} for name in samples}
    options |= {"dynamo": True, "dynamic_shapes": dynamic, "verbose": False}
    tensors = _tensors(samples, N if fixed else 2)
    torch.onnx.export(module, kwargs=tensors, f=folder / "model.onnx", **options)


def _torchscript(module, samples, folder, *, fixed=False, **options):
    """torch.jit.trace, then C++: PyTorch's exporter up to 2.8, and most ONNX files about."""
    import torch

    options = {"opset_version": 17, "output_names": ["logits"], **options}
    named = [*samples, *options["output_names"]]
    torch.onnx.export(
        module,
        # A dict that comes last holds keyword arguments.
        (_tensors(samples, N if fixed else 2),),
        folder / "model.onnx",
        dynamo=False,
        input_names=list(samples),
        dynamic_axes=None if fixed else {name: {0: "batch"} for name in named},
        **options,
    )


def _tensors(samples, rows):
    import torch

    return {name: torch.from_numpy(array[:rows]) for name, array in samples.items()}


def _build(folder, *, make, samples, export, noise, options):
    """Make the module with the weights of seed 0, export it, and return its samples."""
    with quietly():
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = make().eval()
            # Fresh biases and norms are zeros and ones, which exporters fold away; and some
            # libraries start the whole head at zero. Trained ones are neither.
            for parameter in module.parameters():
                parameter.data += noise * torch.randn_like(parameter)
            # With gradients off, attention takes a fused path that TorchScript cannot export.
            export(module, samples(), folder, **options)
    return samples()


def _row(name, make, kind="Gemm", neurons=16, *, export, samples, producer="torch", noise=0.05,
         refused=None, classes=3, tolerance=1e-4, load=None, **options):  # fmt: skip
    """A row of the zoo; ``options`` go to the exporter, ``load`` to FrozenModel.load."""
    exporter = {_dynamo: ("dynamo", "onnxscript"), _torchscript: ("TorchScript",)}[export]
    library = () if producer == "torch" else (producer,)
    return Row(
        name=f"{name}, {exporter[0]}",
        producer=producer,
        needs=("torch", *exporter[1:], *library),
        build=partial(
            _build, make=make, samples=samples, export=export, noise=noise, options=options
        ),
        kind=None if refused else kind,
        n_classes=max(2, classes),
        n_neurons=None if refused else neurons,
        refusal=refused,
        tolerance=tolerance,
        options=load,
    )


def _dyn(name, make, *args, **kwargs):
    return _row(name, make, *args, export=_dynamo, **{"samples": _vectors, **kwargs})


def _ts(name, make, *args, **kwargs):
    return _row(name, make, *args, export=_torchscript, **{"samples": _vectors, **kwargs})


def _both(name, make, *args, **kwargs):
    return [row(name, make, *args, **kwargs) for row in (_dyn, _ts)]


# -- samples ------------------------------------------------------------------------------------


def _vectors(dtype="float32"):
    return {"x": np.random.default_rng(0).normal(size=(N, 12)).astype(dtype)}


def _sequences():
    return {"x": np.random.default_rng(0).normal(size=(N, 5, 12)).astype("float32")}


def _images(size, name="x"):
    shape = (N, 3, size, size)
    return {name: np.random.default_rng(0).normal(size=shape).astype("float32")}


def _text(*names):
    """Ids of up to 10 tokens out of 50, padded as a tokenizer returns them."""
    rng = np.random.default_rng(0)
    mask = np.arange(10) < rng.integers(4, 11, N)[:, None]
    ids = np.where(mask, rng.integers(5, 50, (N, 10)), 1)  # RoBERTa counts positions by what is 1
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: arrays[name].astype("int64") for name in names}


_HALVES = partial(_vectors, dtype="float16")
_DOUBLES = partial(_vectors, dtype="float64")
_IMAGES_12, _IMAGES_16, _IMAGES_32 = (partial(_images, size) for size in (12, 16, 32))
_PIXELS = partial(_images, 16, name="pixel_values")
_MASKED = partial(_text, "input_ids", "attention_mask")
_PAIRS = partial(_text, "input_ids", "attention_mask", "token_type_ids")


# -- modules in plain PyTorch -------------------------------------------------------------------


def _net(forward, **layers):
    """A module of these layers; ``forward`` gets it and the input ``x``."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, layer in layers.items():
                setattr(self, name, layer)

        def forward(self, x):
            return forward(self, x)

    return Net()


def _mlp(forward=lambda net, x: net.fc(net.body(x)), classes=3, **layers):
    """A hidden layer ``body`` of 16 and a head ``fc``, unless ``layers`` make another."""

    def make():
        from torch import nn

        body = nn.Sequential(nn.Linear(12, 16), nn.ReLU())
        made = {name: layer() for name, layer in layers.items()}
        return _net(forward, **{"body": body, "fc": nn.Linear(16, classes), **made})

    return make


def _after(end, classes=3):
    """The MLP with something after its head."""
    return _mlp(lambda net, x: end(net.fc(net.body(x))), classes)


def _cnn(end, head):
    """A convolution to 8 channels, then what ``end`` makes of a ``pool`` and a head ``fc``."""

    def make():
        from torch import nn

        return _net(
            lambda net, x: end(net, net.body(x)),
            body=nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            pool=nn.AdaptiveAvgPool2d(1),
            fc=head(),
        )

    return make


def _nn(name, *args, **kwargs):
    """A layer of torch.nn, not made yet."""

    def make():
        from torch import nn

        return getattr(nn, name)(*args, **kwargs)

    return make


def _sequential(*layers):
    def make():
        from torch import nn

        return nn.Sequential(*(layer() for layer in layers))

    return make


def _zero_bias():
    module = _mlp()()
    module.fc.bias.data.zero_()
    return module


def _weight_norm(parametrized):
    def head():
        from torch import nn

        where = nn.utils.parametrizations if parametrized else nn.utils
        return where.weight_norm(nn.Linear(16, 3))

    return _mlp(fc=head)


def _by_hand(net, x):
    return net.body(x) @ net.fc.weight.T + net.fc.bias


def _cosine(net, x):
    from torch.nn import functional

    features = functional.normalize(net.body(x))
    return 16 * functional.linear(features, functional.normalize(net.fc.weight))


def _clip_like(net, x):
    """Text embeddings of the classes against the image's, times a learned temperature."""
    features = net.body(x)
    features = features / features.norm(dim=-1, keepdim=True)
    prompts = net.fc.weight / net.fc.weight.norm(dim=-1, keepdim=True)
    return net.fc.bias[0].exp() * features @ prompts.t()


def _tied(net, x):
    """The head's weights also decode: logits and what they stand for."""
    logits = net.fc(net.body(x))
    return logits, logits.softmax(-1) @ net.fc.weight


def _gated(net, x):
    """The head's weights also read an earlier tensor."""
    features = net.body(x)
    return net.fc(features * net.fc(features).softmax(-1).max(-1, keepdim=True).values)


def _two_outputs(second):
    def forward(net, x):
        features = net.body(x)
        logits = net.fc(features)
        return logits, second(features, logits)

    return _mlp(forward)


def _lora(net, x):
    features = net.body(x)
    return net.fc(features) + 2 * net.up(net.down(features))


def _two_heads(net, x):
    features = net.body(x)
    return net.fc(features), net.other(features)


def _added_heads(net, x):
    one, other = _two_heads(net, x)
    return one + other


def _cast(dtype):
    def make():
        import torch

        return _mlp()().to(getattr(torch, dtype))

    return make


def _bfloat16():
    import torch

    # NumPy has no bfloat16, so inputs and outputs stay float32.
    return _mlp(lambda net, x: net.fc(net.body(x.bfloat16())).float())().to(torch.bfloat16)


def _transformer_encoder():
    from torch import nn

    layer = nn.TransformerEncoderLayer(12, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1)
    return _net(lambda net, x: net.fc(net.body(x).mean(1)), body=encoder, fc=nn.Linear(12, 3))


_CONV, _BARE_CONV = _nn("Conv2d", 8, 3, 1), _nn("Conv2d", 8, 3, 1, bias=False)
_PER_TOKEN = {"refused": "every position"}
_TWO_NAMES = {"output_names": ["logits", "other"]}
_NO_BIAS = _mlp(fc=_nn("Linear", 16, 3, bias=False))
_WITH_OTHER = {"other": _nn("Linear", 16, 5)}
_LOW_RANK = {"down": _nn("Linear", 16, 2, bias=False), "up": _nn("Linear", 2, 3, bias=False)}
_NORMED_LOGITS = _mlp(fc=_sequential(_nn("Linear", 16, 3), _nn("BatchNorm1d", 3)))
_LSTM = _mlp(
    lambda net, x: net.fc(net.body(x)[0][:, -1]), body=_nn("LSTM", 12, 16, batch_first=True)
)
_BILINEAR = _mlp(lambda net, x: net.fc(net.body(x), x), fc=_nn("Bilinear", 16, 12, 3))

_ENDINGS = [
    _dyn("MLP", _mlp(), opset_version=20),
    _ts("MLP", _mlp(), opset_version=11),
    _dyn("MLP of fixed batch size", _mlp(), fixed=True),
    _ts("MLP of fixed batch size", _mlp(), fixed=True, opset_version=14),
    _dyn("MLP with external data", _mlp(), external_data=True),
    _dyn("Dropout before the head", _mlp(fc=_sequential(_nn("Dropout"), _nn("Linear", 16, 3)))),
    _dyn("Softmax", _after(lambda z: z.softmax(-1)), opset_version=23),
    _ts("LogSoftmax", _after(lambda z: z.log_softmax(-1)), opset_version=9),
    _ts("temperature and Softmax", _after(lambda z: (z / 0.07).softmax(-1))),
    _ts("Sigmoid of one unit", _after(lambda z: z.sigmoid(), 1), classes=1),
    *_both(
        "Sigmoid of one unit, squeezed", _after(lambda z: z.squeeze(-1).sigmoid(), 1), classes=1
    ),
    # With more noise, for else all samples fall into one class.
    *_both("ArgMax alone", _after(lambda z: z.argmax(-1)), noise=0.5),
    *_both("reshaped logits", _after(lambda z: z.view(-1, 3))),
    _dyn("logits and embedding", _two_outputs(lambda h, z: h)),
    _dyn("logits and probabilities", _two_outputs(lambda h, z: z.softmax(-1))),
    *_both("ReLU at the end", _after(lambda z: z.relu()), refused="Relu"),
    # dynamo folds it into the Gemm.
    _dyn("BatchNorm after the head", _NORMED_LOGITS),
    _ts("BatchNorm after the head", _NORMED_LOGITS, REGION),
    # aten::bilinear has no TorchScript translation.
    _dyn("Bilinear", _BILINEAR, refused="not linear"),
    _dyn("LoRA next to the head", _mlp(_lora, **_LOW_RANK), REGION),
    *_both("two heads", _mlp(_two_heads, **_WITH_OTHER), refused="Two or more", **_TWO_NAMES),
    _dyn(
        "two heads, one named",
        _mlp(_two_heads, **_WITH_OTHER),
        classes=5,
        load={"logits": "other"},
        **_TWO_NAMES,
    ),
    *_both("two heads added", _mlp(_added_heads, other=_nn("Linear", 16, 3)), REGION),
]

_WEIGHTS = [
    *_both("bias of zeros", _zero_bias, noise=0),  # dynamo writes no bias then
    _dyn("no bias", _NO_BIAS),
    _ts("no bias", _NO_BIAS, "MatMul", opset_version=13),
    _ts("no bias, unfolded", _NO_BIAS, "MatMul", do_constant_folding=False),
    *_both("x @ W.T + b", _mlp(_by_hand), "MatMul + Add"),
    _dyn("cosine head", _mlp(_cosine)),
    _dyn("cosine head, unoptimised", _mlp(_cosine), optimize=False),
    _ts("cosine head", _mlp(_cosine), "MatMul"),
    *_both("CLIP-like head", _mlp(_clip_like), "MatMul"),
    _dyn("CLIP-like head, unoptimised", _mlp(_clip_like), "MatMul", optimize=False),
    *_both("weight_norm as parametrization", _weight_norm(True)),
    *_both("weight_norm as hook", _weight_norm(False)),
    _dyn("weight_norm, unoptimised", _weight_norm(True), optimize=False),
    _ts("weight_norm, unfolded", _weight_norm(False), do_constant_folding=False),
    _dyn("weights that decode too", _mlp(_tied), load={"logits": "linear_1"}),
    *_both("weights used twice", _mlp(_gated)),
    # As IR version 3 demanded: each initialiser is an input, with its values as the default.
    _ts("weights among the inputs", _mlp(), keep_initializers_as_inputs=True),
    _ts("local functions", _mlp(), export_modules_as_functions=True),
    *_both("float16", _cast("float16"), samples=_HALVES, tolerance=1e-2),
    _dyn("float64", _cast("float64"), samples=_DOUBLES),
    # The graph is sound, but ONNX Runtime has no bfloat16 Gemm on the CPU.
    _dyn("bfloat16", _bfloat16, refused="ONNX Runtime"),
]

_PIXEL_HEADS = [
    row
    for name, end, head, kind, more in [
        ("CNN", lambda m, z: m.fc(m.pool(z).flatten(1)), _nn("Linear", 8, 3), "Gemm", {}),
        ("1x1 Conv after pooling", lambda m, z: m.fc(m.pool(z)).flatten(1), _CONV, "Conv", {}),
        ("1x1 Conv, then pooling", lambda m, z: m.pool(m.fc(z)).flatten(1), _CONV, "Conv", {}),
        ("1x1 Conv without bias, then mean", lambda m, z: m.fc(z).mean((2, 3)), _BARE_CONV,
         "Conv", {}),
        # As in SqueezeNet: what is pooled is no longer linear in the embedding.
        ("1x1 Conv, ReLU, pooling", lambda m, z: m.pool(m.fc(z).relu()).flatten(1), _CONV, "",
         {"refused": "Relu"}),
    ]
    for row in _both(name, _cnn(end, head), kind, 8, samples=_IMAGES_12, **more)
]  # fmt: skip

_TOKEN_HEADS = [
    row
    for name, make, kind, neurons, more in [
        ("head on token 0", _mlp(lambda net, x: net.fc(net.body(x)[:, 0])), "Gemm", 16, {}),
        ("head on the mean", _mlp(lambda net, x: net.fc(net.body(x).mean(1))), "Gemm", 16, {}),
        ("token 0 after the head", _after(lambda z: z[:, 0]), "MatMul + Add", 16, {}),
        ("mean after the head", _after(lambda z: z.mean(1)), "MatMul + Add", 16, {}),
        ("class per token", _mlp(), "", 16, _PER_TOKEN),
        ("LSTM", _LSTM, "Gemm", 16, {}),
        ("TransformerEncoder", _transformer_encoder, "Gemm", 12, {}),
    ]
    for row in _both(name, make, kind, neurons, samples=_sequences, **more)
]


# -- model libraries ----------------------------------------------------------------------------


def _torchvision(name, *args, **kwargs):
    def make():
        from torchvision import models

        return getattr(models, name)(*args, num_classes=3, **kwargs)

    return make


def _resnet18():
    """Its first stage: the others have up to 512 channels, which no argument changes."""
    from torch import nn

    module = _torchvision("resnet18")()
    module.layer2 = module.layer3 = module.layer4 = nn.Identity()
    module.fc = nn.Linear(64, 3)
    return module


def _squeezenet():
    from torch import nn

    module = _torchvision("squeezenet1_1")()
    module.features = module.features[:4]
    module.classifier[1] = nn.Conv2d(128, 3, 1)
    return module


def _efficientnet():
    from torchvision.models.efficientnet import MBConvConfig

    stage = MBConvConfig(1, 3, 1, 8, 8, 1)  # not expanded, kernel 3, stride 1, 8 channels, once
    return _torchvision("EfficientNet", [stage], dropout=0.2, last_channel=32)()


def _shufflenet():
    return _torchvision("ShuffleNetV2", [1, 1, 1], [8, 8, 16, 32, 64])()


def _vit():
    size = {"image_size": 16, "patch_size": 8, "hidden_dim": 16, "mlp_dim": 32}
    return _torchvision("VisionTransformer", num_layers=1, num_heads=2, **size)()


def _swin():
    size = {"patch_size": [4, 4], "embed_dim": 8, "window_size": [2, 2]}
    return _torchvision("SwinTransformer", depths=[1, 1], num_heads=[1, 2], **size)()


def _convnext():
    from torchvision.models.convnext import CNBlockConfig

    return _torchvision("ConvNeXt", [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)])()


def _timm(name, **kwargs):
    def make():
        import timm

        return timm.create_model(name, pretrained=False, num_classes=3, **kwargs)

    return make


def _mobilenetv4():
    """With 32 neurons: no argument makes them fewer than 1280."""
    from timm.layers import BatchNormAct2d
    from torch import nn

    module = _timm("mobilenetv4_conv_small_035")()
    module.conv_head = nn.Conv2d(module.conv_head.in_channels, 32, 1, bias=False)
    module.norm_head = BatchNormAct2d(32)
    module.classifier = nn.Linear(32, 3)
    return module


def _transformers(name, **config):
    """The class ``name`` of transformers, for a small configuration."""

    def make():
        import transformers

        model = getattr(transformers, name)
        return model(model.config_class(num_labels=3, **config))

    return make


_STAGES = {"channels": (8, 8, 16, 16), "layers": (1, 1, 1, 1)}
_VIT_SIZE = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
_ENCODER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32}  # fmt: skip

_MOBILENETV2 = _torchvision("mobilenet_v2", width_mult=0.1)
_MOBILENETV3 = _torchvision("mobilenet_v3_small", width_mult=0.1)
_DENSENET = _torchvision("DenseNet", 4, (1, 1), 8)

_RESNET10T = _timm("resnet10t", stem_width=8, **_STAGES)
_EFFICIENTNET = _timm("test_efficientnet", channel_multiplier=0.25)
_TINY_VIT = _timm("vit_tiny_patch16_224", **_VIT_SIZE)
_RESNETV2 = _timm("resnetv2_50", stem_chs=8, **_STAGES)
_DEIT = _timm("deit_tiny_distilled_patch16_224", **_VIT_SIZE)
_LEVIT = _timm("levit_128s", embed_dim=(16, 16, 16), num_heads=(2, 2, 2), depth=(1, 1, 1),
               key_dim=8, img_size=32)  # fmt: skip
_MEAN_VIT = _timm("vit_tiny_patch16_224", global_pool="avg", **_VIT_SIZE)
_TIMM_CONVNEXT = _timm("convnext_atto", dims=(8, 8, 16, 16), depths=(1, 1, 1, 1))

_BERT = _transformers("BertForSequenceClassification", vocab_size=50, **_ENCODER)
_ROBERTA = _transformers("RobertaForSequenceClassification", vocab_size=50, **_ENCODER)
_TAGGER = _transformers("BertForTokenClassification", vocab_size=50, **_ENCODER)
_HF_VIT = _transformers("ViTForImageClassification", image_size=16, patch_size=8, **_ENCODER)
_HF_DEIT = _transformers("DeiTForImageClassification", image_size=16, patch_size=8, **_ENCODER)
_HF_CONVNEXT = _transformers(
    "ConvNextForImageClassification", hidden_sizes=[8, 16], depths=[1, 1], num_stages=2
)
_LANGUAGE = {"vocab_size": 50, "pad_token_id": 1, "use_cache": False}
_GPT2 = _transformers(
    "GPT2ForSequenceClassification", n_embd=16, n_layer=1, n_head=2, n_positions=32, **_LANGUAGE
)
_LLAMA = _transformers("LlamaForSequenceClassification", **_ENCODER, **_LANGUAGE)
_QWEN2 = _transformers(
    "Qwen2ForSequenceClassification", num_key_value_heads=2, **_ENCODER, **_LANGUAGE
)
_DISTILBERT = _transformers("DistilBertForSequenceClassification", vocab_size=50, dim=16,
                            n_layers=1, n_heads=2, hidden_dim=32)  # fmt: skip


def _of(producer, *rows):
    """Rows of one library: exporters, name, module, neurons, samples and what else is expected."""
    return [
        export(name, make, samples=samples, producer=producer, **{"neurons": neurons, **more})
        for exports, name, make, neurons, samples, more in rows
        for export in exports
    ]


_D, _T, _DT = (_dyn,), (_ts,), (_dyn, _ts)
_BENT = {"refused": "Relu"}

ROWS = [
    *_ENDINGS,
    *_WEIGHTS,
    *_PIXEL_HEADS,
    *_TOKEN_HEADS,
    *_of(
        "torchvision",
        (_DT, "ResNet-18", _resnet18, 64, _IMAGES_32, {}),
        (_T, "MobileNetV2", _MOBILENETV2, 1280, _IMAGES_32, {}),
        (_D, "MobileNetV3", _MOBILENETV3, 104, _IMAGES_32, {}),
        (_T, "DenseNet", _DENSENET, 10, _IMAGES_32, {}),
        (_D, "EfficientNet", _efficientnet, 32, _IMAGES_16, {}),
        (_T, "ShuffleNetV2", _shufflenet, 64, _IMAGES_32, {}),
        (_DT, "SqueezeNet", _squeezenet, 128, _IMAGES_32, _BENT),
        (_DT, "ViT", _vit, 16, _IMAGES_16, {}),
        (_D, "Swin", _swin, 16, _IMAGES_16, {}),
        (_DT, "ConvNeXt", _convnext, 16, _IMAGES_16, {}),
    ),
    *_of(
        "timm",
        (_D, "resnet10t", _RESNET10T, 16, _IMAGES_32, {}),
        (_DT, "resnetv2", _RESNETV2, 16, _IMAGES_32, {"kind": "Conv"}),
        (_T, "efficientnet", _EFFICIENTNET, 64, _IMAGES_32, {}),
        (_DT, "mobilenetv4", _mobilenetv4, 32, _IMAGES_32, {}),
        (_D, "vit, opset 23", _TINY_VIT, 16, _IMAGES_16, {"opset_version": 23}),
        (_D, "vit", _TINY_VIT, 16, _IMAGES_16, {}),
        (_T, "vit, mean of tokens", _MEAN_VIT, 16, _IMAGES_16, {}),
        (_D, "deit, distilled", _DEIT, 32, _IMAGES_16, {"kind": REGION}),
        (_DT, "levit", _LEVIT, 32, _IMAGES_32, {"kind": REGION}),
        (_D, "convnext", _TIMM_CONVNEXT, 16, _IMAGES_32, {}),
    ),
    *_of(
        "transformers",
        (_DT, "BertForSequenceClassification", _BERT, 16, _PAIRS, {}),
        (_D, "DistilBertForSequenceClassification", _DISTILBERT, 16, _MASKED, {}),
        (_D, "RobertaForSequenceClassification", _ROBERTA, 16, _MASKED, {}),
        (_D, "BertForTokenClassification", _TAGGER, 16, _PAIRS, _PER_TOKEN),
        (_DT, "GPT2ForSequenceClassification", _GPT2, 16, _MASKED, {"kind": "MatMul"}),
        (_D, "LlamaForSequenceClassification", _LLAMA, 16, _MASKED, {"kind": "MatMul"}),
        (_T, "Qwen2ForSequenceClassification", _QWEN2, 16, _MASKED, {"kind": "MatMul"}),
        (_D, "ViTForImageClassification", _HF_VIT, 16, _PIXELS, {}),
        (_D, "DeiTForImageClassification", _HF_DEIT, 16, _PIXELS, {}),
        (_DT, "ConvNextForImageClassification", _HF_CONVNEXT, 16, _PIXELS, {}),
    ),
]
