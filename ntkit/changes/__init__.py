"""Changes of raw samples that must not alter the right answer, and their copies."""

from ntkit.changes.change import Change, change_from, change_named

__all__ = ["Change", "change_from", "change_named"]
