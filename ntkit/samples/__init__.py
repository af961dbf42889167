"""What a user has: image folders, tables, arrays, as samples with labels."""

from ntkit.samples._arrays import samples_from_npy
from ntkit.samples._columns import DEFAULT_LABEL, Columns
from ntkit.samples._columns import named_like_a_prediction as named_like_a_prediction
from ntkit.samples._digests import combined, sample_digests, shared_samples, sum_of_digests
from ntkit.samples._files import input_paths, samples_from_file, with_plain_texts
from ntkit.samples._image_folder import samples_from_image_folder
from ntkit.samples._samples import ReadTable as ReadTable
from ntkit.samples._samples import Samples
from ntkit.samples._samples import as_classes as as_classes
from ntkit.samples._table import Table as Table
from ntkit.samples._table import is_aside as is_aside
from ntkit.samples._table_files import (
    TABLES,
    named_delimiter,
    open_parquet,
    read_parquet,
    read_table,
)

__all__ = [
    "DEFAULT_LABEL",
    "TABLES",
    "Columns",
    "Samples",
    "combined",
    "input_paths",
    "named_delimiter",
    "open_parquet",
    "read_parquet",
    "read_table",
    "sample_digests",
    "samples_from_file",
    "samples_from_image_folder",
    "samples_from_npy",
    "shared_samples",
    "sum_of_digests",
    "with_plain_texts",
]
