"""ONNX graphs and their files: read and written, searched, rewritten, constants evaluated.

No session runs here, and only ``write_model`` writes.
"""

from ntkit.graph._files import (
    data_folder,
    deserialised,
    external_files,
    model_file,
    model_fingerprint,
    read_model,
    serialised,
    sound,
    write_model,
)
from ntkit.graph._rewrite import (
    Nodes,
    along,
    forget,
    free_name,
    new_initializer,
    pooled_tokens,
    remove_unused,
    takes_place_of,
    tensor,
)
from ntkit.graph._tensors import (
    Shape,
    Shapes,
    TensorInfo,
    ancestors,
    attribute,
    axes_of,
    constant_of,
    dtype_of,
    evaluator,
    extract_up_to,
    float_type,
    infer_shapes,
    info_of,
    inlined_size,
    is_constant,
    is_standard,
    largest_size,
    opset_of,
    outputs_after,
    tensor_named,
)
