"""Find the last linear layer of an ONNX classifier, cut it off, put another one in its place.

Graph in, graph out: no session runs here, and nothing is written but by ``FrozenModel.save``.
"""

from ntkit.graph import TensorInfo
from ntkit.model._inspect import inspected as inspected  # for other rooms
from ntkit.model._model import FrozenModel
from ntkit.model._read_model import PREPROCESSING as PREPROCESSING
from ntkit.model._read_model import recorded_preprocessing as recorded_preprocessing

__all__ = ["FrozenModel", "TensorInfo"]
