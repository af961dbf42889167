"""One run reads the model's file once, looks for its head once, and hands its sessions on."""

import shutil
import sys
from collections import Counter
from contextlib import contextmanager

import pytest

from ntkit import audit_model, debias
from ntkit.datasets import marked_digits_model_path

OPENED = []
sys.addaudithook(lambda event, args: OPENED.append(str(args[0])) if event == "open" else None)


@contextmanager
def counted(path):
    """How often the file is opened, and the functions that search and make sessions are called."""
    calls = Counter()

    def note(frame, event, argument):
        if event == "call":
            calls[frame.f_code.co_name] += 1

    OPENED.clear()
    before = sys.getprofile()
    sys.setprofile(note)
    found = {}
    try:
        yield found
    finally:
        sys.setprofile(before)
    found["opened"] = OPENED.count(str(path))
    found["searched"] = calls["find_head"]
    found["sessions"] = calls["make_session"]


@pytest.fixture
def given(tmp_path):
    return shutil.copy(marked_digits_model_path(), tmp_path / "given.onnx")


@pytest.fixture
def sets(digits):
    d = digits
    return (d.X_train[:400], d.y_train[:400]), (d.X_validation[:400], d.y_validation[:400])


def test_an_audit_reads_the_model_once(given, sets):
    with counted(given) as found:
        audit_model(given, sets[1], device="cpu")
    assert found == {"opened": 1, "searched": 1, "sessions": 3}


def test_a_repair_reads_the_model_once(given, sets, digits, tmp_path):
    test = (digits.X_test, digits.y_test, digits.groups_test)
    with counted(given) as found:
        looked = debias(given, *sets, device="cpu", out=tmp_path / "looked")
    assert found == {"opened": 1, "searched": 1, "sessions": 3}
    answers = looked.audit.answers(looked.open[0].name)
    with counted(given) as found:
        result = debias(
            given, *sets, test=test, answers=answers, device="cpu", out=tmp_path / "repaired"
        )
    assert result.written
    # The graph with the new head is searched too, and the written file, when it is read back.
    assert found == {"opened": 1, "searched": 3, "sessions": 5}
