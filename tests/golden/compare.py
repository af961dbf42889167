"""Compare what a run left with its recording, field by field.

``NTKIT_GOLDEN=exact`` compares floats to 1e-9 and texts to the letter, for the machine that made
the recordings. Without it, floats may differ as they do between processors, and so may the last
digit of a decimal in a text. Counts, verdicts, names and all other words are compared exactly.
"""

import json
import math
import os
import re
from pathlib import Path

MODE = os.environ.get("NTKIT_GOLDEN", "")
EXACT = 1e-9
ROUNDED, ROUNDED_MORE = 1e-6, {"aucs": 1e-3, "coef": 1e-4, "intercept": 1e-4}
"""Between OpenBLAS's kernels Haswell, Zen, SkylakeX and Prescott, weights differed by 1.1e-5, areas
under a curve by 7.5e-5 (two samples in the other order), other floats by 2.5e-7; nothing else did.
Outputs of ONNX Runtime that differ by 1e-7 made it 1.9e-5, 3.1e-5 and 2.8e-7."""
RENAMED = {}
"""Fields that were renamed on purpose, such as ``{"result.json.change.what": "measure"}``.

The path is that of the recording and starts at the file, without folders and positions in lists.
None stands for a field that is gone.
"""
OTHER_EACH_TIME = {
    "answers_sha256", "at", "by", "embedding_difference", "latency", "logit_difference", "model",
    "original_latency", "output_difference", "read", "side_difference", "source_sha256", "version",
}  # fmt: skip
"""Fields whose values are times, versions, hashes of files, or the rounding of a processor."""
ROUNDING = re.compile(r"(difference of logits) \S+")
NUMBER = re.compile(r"\d+\.\d+(?:e[-+]?\d+)?|\d+e-\d+")
SHOWN = 20


def normalised(value, name=""):
    """A recording without what differs each time, its floats with twelve digits."""
    if name.removeprefix("ntkit.") in OTHER_EACH_TIME and value is not None:
        return "not compared"
    if isinstance(value, dict):
        return {key: normalised(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [normalised(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.12g}") + 0.0  # no negative zero
    return ROUNDING.sub(r"\1 …", value) if isinstance(value, str) else value


def differences(old, new, path="", place="", exact=MODE == "exact", renamed=None, within=ROUNDED):
    """Sentences on the fields that differ, each with its path."""
    renamed = RENAMED if renamed is None else renamed
    rest = {"exact": exact, "renamed": renamed, "within": within}
    if isinstance(old, dict) and isinstance(new, dict):
        inside = {key: inside_of(path, key) for key in old}
        names = {key: renamed.get(inside[key], key) for key in old}
        more = sorted(new.keys() - {*names.values()})
        found = [f"{place}.{key}: new, {short(new[key])}" for key in more]
        for key, name in names.items():
            if name in new:
                rest["within"] = ROUNDED_MORE.get(key, within)
                where = f"{place}.{name}"
                found += differences(old[key], new[name], inside[key], where, **rest)
            elif name is not None:
                found.append(f"{place}.{name}: missing, recorded as {short(old[key])}")
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        each = (differences(*pair, path, f"{place}[{i}]", **rest) for i, pair in pairs)
        return [sentence for part in each for sentence in part]
    if same(old, new, exact, EXACT if exact else within):
        return []
    start = 0
    if isinstance(old, str) and isinstance(new, str):  # show where two long texts part
        letters = enumerate(zip(old, new, strict=False))
        start = max(next((i for i, (a, b) in letters if a != b), 0) - 40, 0)
        old, new = old[start:], new[start:]
    return [f"{place}: {'… ' * (start > 0)}{short(new)}, recorded as {short(old)}"]


def inside_of(path, key):
    """The path of a field, which starts at its file."""
    if key.endswith((".json", ".onnx")):
        return key.rpartition("/")[2]
    return f"{path}.{key}" if path else key


def same(old, new, exact, within):
    """Whether two values differ by rounding at most."""
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=within, abs_tol=within)
    if isinstance(old, str) and isinstance(new, str) and not exact:
        return same_words(old, new)
    return type(old) is type(new) and old == new


def same_words(old, new):
    """Whether texts differ by one in the last digit of decimals, and the width of columns."""
    words = [re.sub(r" +|--+", " ", NUMBER.sub("#", text)) for text in (old, new)]
    numbers = zip(NUMBER.findall(old), NUMBER.findall(new), strict=False)
    return words[0] == words[1] and all(
        abs(float(a) - float(b)) <= 1.01 * max(last_digit(a), last_digit(b)) for a, b in numbers
    )


def last_digit(number):
    """What one in the last digit is worth."""
    digits, _, power = number.partition("e")
    return 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))


def short(value):
    """The first part of a value."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:120]} …"


def lines(value, width=140):
    """JSON in which a list or dict that is short is one line; without indents, which are long."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= width or not isinstance(value, dict | list):
        return text
    mapping = isinstance(value, dict)
    names = [f"{json.dumps(key)}: " for key in value] if mapping else [""] * len(value)
    values = value.values() if mapping else value
    parts = [name + lines(each, width) for name, each in zip(names, values, strict=True)]
    return "[{"[mapping] + "\n" + ",\n".join(parts) + "\n" + "]}"[mapping]


def path_of(name):
    """The recording of a run."""
    return Path(__file__).with_name(f"{name}.json")


def record(name, found):
    """Write the recording of a run."""
    path_of(name).write_text(lines(normalised(found)) + "\n", encoding="utf-8")


def assert_as_recorded(name, found):
    """Fail with the fields that differ from the recording of a run."""
    old = json.loads(path_of(name).read_text(encoding="utf-8"))
    found = differences(old, json.loads(json.dumps(normalised(found))), place=name)
    more = f"\n… and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    assert not found, "\n".join([f"{len(found)} fields differ", *found[:SHOWN]]) + more
