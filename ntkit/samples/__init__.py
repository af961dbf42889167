"""Samples with names, notes and looks: of image folders, tables, arrays and stores."""

from ntkit.samples._columns import (
    DEFAULT_LABEL,
    Columns,
    by_column_names,
    copies_in,
    copy_note,
    every_label_in,
    named_labels,
    named_like_a_prediction,
    names_of_frame,
    ordered_inputs,
    with_known_labels,
)
from ntkit.samples._copies import (
    Distinct,
    Identified,
    Places,
    combined,
    contents_of,
    names_rows,
    note_on_copies,
    sample_digests,
    sets_without_copies,
    shared_samples,
    sum_of_digests,
    without_copies,
)
from ntkit.samples._join import (
    KEYS,
    MADE_OF_CLASSES,
    Metadata,
    check_order,
    left_out_in_words,
    named_by_column,
    names_of,
    positions_in,
    table_of,
)
from ntkit.samples._kinds import (
    Arrays,
    ColumnData,
    ImageArrays,
    SeveralInputs,
    TextData,
    by_input,
    first_rows,
    rows_of,
)
from ntkit.samples._looks import Images, Inputs, images_in_array
from ntkit.samples._read import (
    is_image_folder,
    preprocessing_for,
    read,
    read_samples,
    rows_of_files,
)
from ntkit.samples._samples import (
    Match,
    ReadTable,
    Samples,
    arrays_of,
    as_classes,
    input_notes,
    input_paths,
)
from ntkit.samples._stored import (
    EMBEDDINGS,
    IDENTITY,
    MANIFEST,
    StoredEmbeddings,
    array_header,
    check_alike,
    check_made_with,
    difference,
    facts_of,
    is_finished,
    kind_of_manifest,
    origin_of,
    origin_of_head,
    read_manifest,
    replace_file,
    write_manifest,
)
from ntkit.samples._table import (
    TABLES,
    Table,
    is_aside,
    is_empty,
    is_prose,
    labelled,
    named_delimiter,
    read_table,
)
