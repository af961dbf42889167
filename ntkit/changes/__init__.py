"""Changes of raw samples that must not alter the right answer, and their copies."""

from ntkit.changes._change import (
    Change,
    change_from,
    change_named,
)
from ntkit.changes._change import as_seen as as_seen  # for other packages
from ntkit.changes._change import bank_of as bank_of
from ntkit.changes._change import changes_given as changes_given
from ntkit.changes._change import control_of as control_of
from ntkit.changes._images import PARTS as PARTS
from ntkit.changes._images import has_black_and_white as has_black_and_white
from ntkit.changes._images import range_notes as range_notes
from ntkit.changes._texts import has_markup as has_markup

__all__ = ["Change", "change_from", "change_named"]
