"""Values of a configuration file, each checked to be what it should be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ntkit.exceptions import InputError
from ntkit.preprocessing._pixels import filter_of

__all__ = ["channels_of", "flag", "number", "refuse_unknown", "resample_of", "side"]

Config = Mapping[str, Any]


def refuse_unknown(config: Config, known: Iterable[str]) -> None:
    """Refuse a key that might change the pixels; one without a value does nothing."""
    for key in sorted(config.keys() - set(known)):
        if config[key] is not None:
            raise ValueError(
                f"ntkit does not know what its key {key!r} ({_short(config[key])}) does to an image"
            )


def flag(config: Config, key: str, default: bool | None) -> bool:
    """True or false; the default for null or nothing, where there is one."""
    value = default if config.get(key) is None else config[key]
    if not isinstance(value, bool):
        raise ValueError(f"its key {key!r} is {_short(config.get(key))}, not true or false")
    return value


def number(config: Config, key: str, default: float) -> float:
    """A number above zero; the default for null or nothing."""
    value = default if config.get(key) is None else config[key]
    if not _is_number(value) or value <= 0:
        raise ValueError(f"its key {key!r} is {_short(config[key])}, not a number above 0")
    return float(value)


def side(value: Any, key: str) -> int:
    """A length in pixels."""
    if not _is_number(value) or value != int(value) or value < 1:
        raise ValueError(f"its key {key!r} has {_short(value)}, not a number of pixels")
    return int(value)


def channels_of(config: Config, key: str) -> tuple[float, ...]:
    """One number for each channel, or one for all."""
    value = config.get(key)
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(map(_is_number, values)):
        raise ValueError(f"its key {key!r} is {_short(value)}, not a number a channel")
    return tuple(map(float, values))


def resample_of(value: Any, key: str) -> int:
    """Pillow's number of a filter."""
    try:
        return filter_of(value)
    except (InputError, AttributeError, TypeError):
        raise ValueError(f"its key {key!r} is {_short(value)}, no filter of Pillow's") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any, most: int = 40) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}…"
