"""Train the Keras model of 02_no_pytorch.ipynb: ``python make_keras_model.py keras_model.onnx``.

Needs Keras 3 with TensorFlow, and tf2onnx: ``pip install keras tensorflow tf2onnx``. Plain training
on the training set of the marked digits: no group labels, and neither the held-out nor the test set
plays a part.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # on the CPU, sums come out alike on every run
os.environ["TF_DETERMINISTIC_OPS"] = "1"

import keras
from keras import layers

from ntkit.datasets import load_marked_digits


def main(path: str) -> None:
    data = load_marked_digits()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((20, 20, 1), name="image"),  # Keras's own layout: channels last
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(5e-3), loss="sparse_categorical_crossentropy")
    images = data.X_train.transpose(0, 2, 3, 1)
    model.fit(images, data.y_train, batch_size=64, epochs=12, verbose=0)
    model.export(path, format="onnx", verbose=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
