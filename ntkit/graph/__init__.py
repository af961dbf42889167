"""ONNX graphs and their files: read and written, searched, rewritten, constants evaluated.

No session runs here, and only ``write_model`` writes.
"""

from ntkit._extras import install_extra
from ntkit.exceptions import MissingDependencyError

try:
    import onnx
    import onnx_ir
except ModuleNotFoundError as error:
    raise MissingDependencyError(
        "Reading a model needs ONNX and a build of ONNX Runtime; install them with: "
        f"{install_extra('onnx', 'onnxruntime')}"
    ) from error
