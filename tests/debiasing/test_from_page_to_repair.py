"""From the page of an audit to a repaired model: what is saved there is what the job reads."""

import html
import json
import re

import ntkit
from ntkit import FrozenModel, OnnxEmbedder, debias
from ntkit.auditing import write_audit
from ntkit.datasets import marked_digits_model_path
from ntkit.metrics import worst_group_accuracy


def test_an_answer_about_a_neuron_repairs_by_the_picture(digits, tmp_path):
    """The first suspicion is a neuron; what the pictures say of it is read by the main job."""
    held = (digits.X_heldout, digits.y_heldout)
    found = ntkit.audit_model(marked_digits_model_path(), held, device="cpu")
    write_audit(found, tmp_path / "audit")
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    entry = json.loads(html.unescape(re.findall(r'data-entry="([^"]*)"', page)[0]))
    assert entry["name"].startswith("layer:")
    saved = {"ntkit": "answers", "version": 1, "answers": [entry | {"answer": "spurious"}]}
    (tmp_path / "answers.json").write_text(json.dumps(saved))
    result = debias(
        marked_digits_model_path(),
        (digits.X_train[:800], digits.y_train[:800]),
        held,
        answers=tmp_path / "answers.json",
        device="cpu",
    )
    assert result.balanced_over.startswith("picture:top left brightness")
    assert f"stands for {entry['name']}" in " ".join(result.notes)
    model = FrozenModel.load(marked_digits_model_path())
    Z = OnnxEmbedder(model, device="cpu").transform(digits.X_test)
    before, after = (
        worst_group_accuracy(digits.y_test, head.predict(Z), groups=digits.groups_test)
        for head in (model.head, result.head)
    )
    assert after > before + 0.1
