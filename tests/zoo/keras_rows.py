"""Models that Keras 3 and tf2onnx write, from both back ends that can export ONNX."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from tests.zoo.building import samples
from tests.zoo.row import REGION, Row

ROOT = Path(__file__).parents[2]
N_FEATURES, IMAGE = (6,), (12, 12, 3)


def _trained_bias():
    """Keras starts with biases of zero, which tf2onnx leaves out of the graph."""
    from keras import initializers

    return initializers.RandomNormal(stddev=0.5)


def _dense(layers, units=3, activation=None):
    return layers.Dense(units, activation=activation, bias_initializer=_trained_bias())


def _mlp(layers, *tail):
    return [
        layers.Input(N_FEATURES),
        layers.Dense(10, activation="relu"),
        *(tail or (_dense(layers, activation="softmax"),)),
    ]


def _mlp_ending(*tail):
    """The MLP with other last layers, each a function of ``keras.layers``."""
    return lambda layers: _mlp(layers, *(end(layers) for end in tail))


_LOGITS = _mlp_ending(_dense)
_ACTIVATION_LAYER = _mlp_ending(
    _dense, lambda layers: layers.Dropout(0.5), lambda layers: layers.Softmax()
)
_ZERO_BIAS = _mlp_ending(lambda layers: layers.Dense(3, activation="softmax"))
_NO_BIAS = _mlp_ending(lambda layers: layers.Dense(3, use_bias=False))
_SIGMOID = _mlp_ending(lambda layers: _dense(layers, 1, "sigmoid"))


def _cnn(layers):
    return [
        layers.Input(IMAGE),
        layers.Conv2D(4, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(10, activation="relu"),
        _dense(layers, activation="softmax"),
    ]


def _pooled(layers):
    return [
        layers.Input(IMAGE),
        layers.Conv2D(10, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.2),
        _dense(layers, activation="softmax"),
    ]


def _conv_head(layers):
    """SqueezeNet's ending: the head is a convolution over every position, then averaged."""
    return [
        layers.Input(IMAGE),
        layers.Conv2D(10, 3, activation="relu"),
        layers.Conv2D(3, 1, bias_initializer=_trained_bias()),
        layers.GlobalAveragePooling2D(),
        layers.Softmax(),
    ]


def _pooled_then_conv_head(layers):
    """MobileNet's ending: average first, then a 1x1 convolution on one position."""
    return [
        layers.Input(IMAGE),
        layers.Conv2D(10, 3, activation="relu"),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Conv2D(3, 1, bias_initializer=_trained_bias()),
        layers.Flatten(),
        layers.Softmax(),
    ]


def _export(architecture: Callable, path: Path, writer: str) -> None:
    import keras

    keras.backend.clear_session()  # names count from one, whichever model comes first
    keras.utils.set_random_seed(0)
    model = keras.Sequential(architecture(keras.layers))
    shape = model.input_shape[1:]
    model(np.zeros((1, *shape), np.float32))  # export refuses a model never called
    if writer == "from_function":
        import tensorflow as tf
        import tf2onnx

        signature = [tf.TensorSpec((None, *shape), tf.float32, name="x")]
        function = tf.function(lambda x: model(x, training=False))
        tf2onnx.convert.from_function(function, signature, opset=17, output_path=str(path))
        return
    signature = None
    if writer == "static":  # torch's newer exporter is taken where no axis is dynamic
        signature = [keras.InputSpec(shape=(8, *shape), dtype="float32")]
    model.export(path, format="onnx", verbose=False, input_signature=signature)


def _export_all(backend: str, folder: str) -> None:
    """Write every model of one back end, or the reason why it could not be."""
    for row in ROWS:
        about = row.build.keywords
        if about["backend"] != backend:
            continue
        path = Path(folder, about["file"])
        try:
            _export(about["architecture"], path, about["writer"])
        except Exception:
            path.unlink(missing_ok=True)
            path.with_suffix(".txt").write_text(traceback.format_exc())


@cache
def _exported(backend: str) -> Path:
    """A folder with the models of one back end.

    Keras takes its back end once per process, and takes long to start: hence one process for all
    models of a back end.
    """
    folder = Path(tempfile.mkdtemp(prefix="keras_rows_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, backend, str(folder)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return folder


def _build(folder: Path, architecture: Callable, backend: str, writer: str, file: str):
    import onnx

    source, path = _exported(backend) / file, folder / "model.onnx"
    if not source.is_file():
        raise RuntimeError(source.with_suffix(".txt").read_text())
    shutil.copyfile(source, path)
    (x,) = onnx.load(path).graph.input
    return {x.name: samples(*(d.dim_value for d in x.type.tensor_type.shape.dim[1:]))}


NEEDS = {
    "torch": ("torch", "onnxscript"),
    "tensorflow": ("tensorflow", "tf2onnx"),
    "jax": ("jax", "jax2onnx"),
}


def _row(name, backend, architecture, kind="MatMul + Add", writer="export", **keywords) -> Row:
    return Row(
        name=name,
        producer="tf2onnx" if writer == "from_function" else "Keras 3",
        needs=("keras", *NEEDS[backend]),
        build=partial(
            _build,
            architecture=architecture,
            backend=backend,
            writer=writer,
            file=f"{name}.onnx".replace(" ", "_"),
        ),
        kind=kind,
        n_neurons=10,
        **keywords,
    )


TF = "tensorflow"
ROWS: list[Row] = [
    _row("Keras 3 on torch, MLP", "torch", _mlp),
    _row("Keras 3 on torch, CNN", "torch", _cnn),
    _row("Keras 3 on torch, batch norm", "torch", _pooled),
    _row("Keras 3 on torch, sigmoid unit", "torch", _SIGMOID, n_classes=2),
    _row("Keras 3 on torch, fixed batch", "torch", _mlp, writer="static"),
    _row("Keras 3 on TensorFlow, MLP", TF, _mlp),
    _row("Keras 3 on TensorFlow, MLP, logits", TF, _LOGITS),
    _row("Keras 3 on TensorFlow, zero bias", TF, _ZERO_BIAS, "MatMul"),
    _row("Keras 3 on TensorFlow, no bias", TF, _NO_BIAS, "MatMul"),
    _row("Keras 3 on TensorFlow, CNN (NHWC)", TF, _cnn),
    _row("Keras 3 on TensorFlow, batch norm", TF, _pooled),
    _row("Keras 3 on TensorFlow, conv head", TF, _conv_head, "Conv"),
    _row("Keras 3 on TensorFlow, pooled conv head", TF, _pooled_then_conv_head, "Conv"),
    _row("Keras 3 on TensorFlow, sigmoid unit", TF, _SIGMOID, n_classes=2),
    _row("Keras 3 on JAX, MLP", "jax", _mlp),
    # Not _cnn: jax2onnx pools over axes that ONNX Runtime does not.
    _row("Keras 3 on JAX, batch norm", "jax", _pooled),
    # Conv, Transpose to NHWC, Add of a reshaped bias, mean.
    _row("Keras 3 on JAX, conv head", "jax", _conv_head, REGION),
    _row("tf2onnx from_function, MLP", TF, _ACTIVATION_LAYER, writer="from_function"),
    _row("tf2onnx from_function, CNN", TF, _pooled, writer="from_function"),
]

if __name__ == "__main__":
    _export_all(*sys.argv[1:])
