"""Find the last linear layer of an ONNX classifier, cut it off, replace it by another one.

The input and output are graphs: no session runs here, and only ``FrozenModel.save`` writes.
"""

from ntkit.graph.tensors import TensorInfo as TensorInfo
from ntkit.model._layers import Layer as Layer
from ntkit.model._model import PREPROCESSING as PREPROCESSING
from ntkit.model._model import FrozenModel
from ntkit.model._model import inspected as inspected  # for other packages
from ntkit.model._model import loaded as loaded
from ntkit.model._model import name_of as name_of
from ntkit.model._model import recorded_preprocessing as recorded_preprocessing
from ntkit.model._scores import COMMANDS as COMMANDS
from ntkit.model.class_names import folders_of as folders_of

__all__ = [
    "FrozenModel",
]
