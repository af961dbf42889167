"""Models that jax2onnx writes from flax and plain JAX."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.zoo.building import quietly, samples
from tests.zoo.row import Row


def _flax(make_layers: Callable, forward: Callable):
    """A flax.nnx module from a function that gives its layers and one that runs them."""
    from flax import nnx

    class Classifier(nnx.Module):
        def __init__(self, rngs):
            for name, layer in make_layers(nnx, rngs).items():
                setattr(self, name, layer)

        def __call__(self, x):
            return forward(nnx, self, x)

    return Classifier(nnx.Rngs(0))


def _head(nnx, rngs, **keywords):
    bias = nnx.initializers.normal(0.5)  # flax starts with zeros
    return nnx.Linear(10, 3, bias_init=bias, rngs=rngs, **keywords)


def _mlp_layers(nnx, rngs, **keywords):
    return {"hidden": nnx.Linear(6, 10, rngs=rngs), "head": _head(nnx, rngs, **keywords)}


def _mlp_forward(nnx, model, x):
    return model.head(nnx.relu(model.hidden(x)))


def _softmax_forward(nnx, model, x):
    return nnx.softmax(_mlp_forward(nnx, model, x))


def _argmax_forward(nnx, model, x):
    logits = _mlp_forward(nnx, model, x)
    return logits.argmax(-1), nnx.softmax(logits)


def _cnn_layers(nnx, rngs):
    return {
        "conv": nnx.Conv(3, 10, (3, 3), rngs=rngs),
        "norm": nnx.BatchNorm(10, use_running_average=True, rngs=rngs),
        "head": _head(nnx, rngs),
    }


def _pooled_forward(nnx, model, x):
    return model.head(nnx.relu(model.norm(model.conv(x))).mean(axis=(1, 2)))


def _flat_cnn_layers(nnx, rngs):
    return {
        "conv": nnx.Conv(3, 4, (3, 3), rngs=rngs),
        "hidden": nnx.Linear(144, 10, rngs=rngs),
        "head": _head(nnx, rngs),
    }


def _flat_forward(nnx, model, x):
    x = nnx.max_pool(nnx.relu(model.conv(x)), window_shape=(2, 2), strides=(2, 2))
    x = nnx.relu(model.hidden(x.reshape(x.shape[0], -1)))
    return nnx.log_softmax(model.head(x))


def _transformer_layers(nnx, rngs):
    return {
        "embed": nnx.Linear(6, 10, rngs=rngs),
        "attention": nnx.MultiHeadAttention(2, 10, decode=False, rngs=rngs),
        "norm": nnx.LayerNorm(10, rngs=rngs),
        "head": _head(nnx, rngs),
    }


def _first_token_forward(nnx, model, x):
    x = model.embed(x)
    return model.head(model.norm(x + model.attention(x))[:, 0])


def _plain_jax(layers, forward):
    """No flax: matrices closed over by a function."""
    import jax

    keys = jax.random.split(jax.random.key(0), 4)
    w1, b1, w2, b2 = (
        jax.random.normal(key, shape) / 2
        for key, shape in zip(keys, [(6, 10), (10,), (10, 3), (3,)], strict=True)
    )
    return lambda x: jax.nn.softmax(jax.nn.relu(x @ w1 + b1) @ w2 + b2)


def _equinox(layers, forward):
    """Equinox writes networks for one sample and maps them over the batch."""
    import equinox
    import jax

    return jax.vmap(equinox.nn.MLP(6, 3, 10, 1, key=jax.random.key(0)))


def _build(folder: Path, layers, forward, shape, fed=None, make=_flax, **keywords):
    with quietly():
        import jax2onnx

        keywords |= {"return_mode": "file", "output_path": str(folder / "model.onnx")}
        jax2onnx.to_onnx(make(layers, forward), [("B", *shape)], input_names=["x"], **keywords)
    return {"x": samples(*(fed or shape))}


def _row(name: str, layers, forward, shape, kind="Gemm", needs=(), **keywords) -> Row:
    build = partial(_build, layers=layers, forward=forward, shape=shape, **keywords)
    needs = ("jax2onnx", *(needs or ("flax",)))
    return Row(f"jax2onnx, {name}", "jax2onnx", needs, build, kind=kind, n_neurons=10)


IMAGE = (12, 12, 3)
ROWS: list[Row] = [
    _row("flax MLP", _mlp_layers, _mlp_forward, (6,)),
    _row("flax MLP, opset 17", _mlp_layers, _mlp_forward, (6,), opset=17),
    _row("flax MLP, softmax", _mlp_layers, _softmax_forward, (6,)),
    _row("flax MLP, no bias", partial(_mlp_layers, use_bias=False), _mlp_forward, (6,)),
    _row("flax MLP, argmax and softmax", _mlp_layers, _argmax_forward, (6,)),
    _row("flax CNN, pooled", _cnn_layers, _pooled_forward, IMAGE),
    _row("flax CNN, flattened, NCHW", _flat_cnn_layers, _flat_forward, IMAGE, fed=(3, 12, 12),
         inputs_as_nchw=[0]),
    _row("flax transformer, first token", _transformer_layers, _first_token_forward, (5, 6)),
    _row("plain JAX MLP", None, None, (6,), "Gemm + Add", make=_plain_jax),
    _row("Equinox MLP", None, None, (6,), needs=("equinox",), make=_equinox),
]  # fmt: skip
