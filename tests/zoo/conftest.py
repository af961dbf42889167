"""Keeps what the zoo's test run found, and writes it as the table of the documentation."""

import os
from importlib import metadata
from pathlib import Path

import pytest

FOUND = pytest.StashKey[list]()
HEADER = (
    "| producer | model | head | neurons → logits | after the head | largest difference |\n"
    "|---|---|---|---|---|---|"
)


@pytest.fixture
def record_row(request):
    """Keep a row's outcome: what was found and the difference, or the sentence of a refusal."""

    def record(row, found, outcome):
        request.config.stash.setdefault(FOUND, []).append((row, found, outcome))

    return record


def pytest_sessionfinish(session):
    """Write the table to the file that ``ZOO_TABLE`` names, if it does."""
    target, found = os.environ.get("ZOO_TABLE"), session.config.stash.get(FOUND, [])
    if target and found:
        Path(target).write_text(table(found), encoding="utf-8")


def table(found):
    rows = [line(*entry) for entry in sorted(found, key=lambda f: (f[0].producer, f[0].name))]
    n_refused = sum(f is None for _, f, _ in found)
    summary = (
        f"ntkit rewrote {len(found) - n_refused} of {len(found)} models and rightly refused "
        f"{n_refused}. Exporters: {versions(found)}."
    )
    return "\n".join([summary, "", HEADER, *rows, ""])


def line(row, found, outcome):
    if found is None:
        cells = [row.producer, row.name, "refused", "–", reason(outcome), "–"]
    else:
        after = ", ".join([*found["positions"], *found["post_processing"]]) or "–"
        width = f"{found['neurons']} → {row.n_classes}"
        cells = [row.producer, row.name, found["head"], width, after, f"{outcome:.0e}"]
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def reason(sentence):
    """The part of a refusal that tells why."""
    return (
        sentence.removeprefix("No linear last layer was found: ")
        .split(". Name the")[0]
        .split(". ntkit audit")[0]
    )


def versions(found):
    names = sorted({name.partition(".")[0] for row, _, _ in found for name in row.needs})
    shown = []
    for name in names:
        for distribution in metadata.packages_distributions().get(name, [])[:1]:
            shown.append(f"{distribution} {metadata.version(distribution)}")
    return ", ".join(shown)
