"""What few need is in a settings file; former options say where they went."""

import json
import tomllib

import pytest

from tests.cases import done, ntkit, refused, settings

CPU = ("--device", "cpu", "--quiet")


def written(folder):
    return tomllib.loads((folder / "settings.toml").read_text(encoding="utf-8"))


def test_a_run_writes_its_settings_and_the_next_command_takes_them(user, tmp_path):
    given = tmp_path / "given.toml"
    given.write_text(
        "batch_size = 7\nseed = 3\n[preprocessing]\nmean = [0.1]\nscale = 0.01\n"
        "[debias]\nC = 0.1\n",
        encoding="utf-8",
    )
    model, data = user / "model.onnx", user / "validation"
    audit = ("audit", model, data, "--changes", "0", *CPU)
    steps = ("--preprocessing", "mean=0.2 std=2")
    done(*audit, "-o", tmp_path / "a", "--settings", given, *steps)
    kept = written(tmp_path / "a")
    assert (kept["batch_size"], kept["device"], kept["seed"]) == (7, "cpu", 3)
    # The option goes before the file, step by step.
    assert kept["preprocessing"] == {"mean": "0.2", "std": "2", "scale": 0.01}
    again = ("--settings", tmp_path / "a" / "settings.toml")
    done(*audit, "-o", tmp_path / "b", *again)
    first, second = ((tmp_path / n / "audit.json").read_text("utf-8") for n in "ab")
    assert first == second
    assert written(tmp_path / "b") == kept
    _, err = done("predict", model, data, "-o", tmp_path / "p.csv", *again, *CPU)
    assert "0.2" in err


def test_keys_of_other_commands_are_left_alone(user, tmp_path):
    file = settings("debias", C=3)
    done("predict", user / "model.onnx", user / "validation.npz", "-o", tmp_path / "p.csv", *file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("batchsize = 3", "unknown key 'batchsize'; did you mean 'batch_size'?"),
        ("[debias]\nCC = 3", "unknown key 'CC'"),
        ('[debias]\nspurious = "word:a"', "spurious is an option. Pass --spurious."),
        ("batch_size = true", "batch_size must be a number, a text or a list. Got True."),
        ("skip_bad = 1", "skip_bad must be true or false. Got 1."),
        ("debias = 1", "debias is a table. Write its keys below [debias]."),
        ("batch_size = ", "is not a readable TOML file"),
        ("[debias]\nthreshold = 0.5", "Order it with --method neurontune"),
    ],
)
def test_broken_settings_are_refused(user, tmp_path, content, says):
    file = tmp_path / "settings.toml"
    file.write_text(content, encoding="utf-8")
    job = ("debias", user / "model.onnx", user / "validation.npz", "-o", tmp_path / "out")
    refused(*job, "--settings", file, says=says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "option", "says"),
    [
        ("debias", "--resize 9", '--preprocessing "resize=…"'),
        ("debias", "--C 1", "C = … below [debias] in a settings file, and pass --settings FILE"),
        ("debias", "--trust-inputs", "trust_inputs = true below [debias]"),
        ("audit", "--delimiter ;", "delimiter = … in a settings file"),
        ("audit", "--no-changes", "Write --changes 0."),
        ("audit", f"--preprocessor {__file__}", "--preprocessing FILE"),
        ("label", "--pooling mean", "--embedding NAME,mean"),
        ("label", "--text-pair-column b", "--text-column FIRST,SECOND"),
    ],
)
def test_former_options_of_debias_audit_and_label_are_refused(
    user, tmp_path, command, option, says
):
    job = (command, user / "model.onnx", user / "validation.npz", "-o", tmp_path / "out")
    refused(*job, *option.split(), says=[f"no longer an option of ntkit {command}", says])


def test_former_options_of_check_and_predict_are_taken_with_a_note(user, tmp_path):
    model, data = user / "model.onnx", user / "validation.npz"
    _, out, err = ntkit("check", model, model, data, "--device", "cpu", "--alpha", "0.01")
    assert "Note: --device is no longer an option of ntkit check. Write device = …" in err
    assert "Write alpha = 0.05 in the file of --limits. It is still taken" in err
    assert "99 % bound" in out
    predict = ("predict", model, user / "validation", "-o", tmp_path / "p.csv")
    _, err = done(*predict, "--mean", "0.2", "--quiet")
    assert '--preprocessing "mean=…"' in err


def test_an_error_that_names_a_former_option_says_its_place(user, tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "1.png").write_bytes(b"no image")
    job = ("embed", user / "model.onnx", tmp_path / "images", "-o", tmp_path / "out")
    refused(*job, says=["--skip-bad", "For --skip-bad write skip_bad = true in a settings file"])


def test_a_file_of_preprocessing_goes_before_the_whole_table(user, tmp_path):
    (tmp_path / "s.toml").write_text("[preprocessing]\nmean = [0.1]\nscale = 0.01\n", "utf-8")
    steps = {"do_resize": False, "do_rescale": True, "rescale_factor": 1 / 255}
    steps |= {"do_normalize": True, "image_mean": [0.2], "image_std": [2.0]}
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(steps), encoding="utf-8")
    predict = ("predict", user / "model.onnx", user / "validation", "--quiet", "-o")
    options = ("--preprocessing", file), ("--settings", tmp_path / "s.toml")
    for i, both in enumerate((options[:1], options, options[::-1])):
        done(*predict, tmp_path / f"{i}.csv", *(word for option in both for word in option))
    alone, *with_table = ((tmp_path / f"{i}.csv").read_text("utf-8") for i in range(3))
    assert with_table == [alone, alone]


def test_settings_of_a_run_are_taken_by_its_other_verbs(user, tmp_path):
    model, data, out = user / "model.onnx", user / "validation.npz", tmp_path / "out"
    steps = settings("debias", C=0.5, keep_original=True)
    ordered = ("--method", "class-balanced", "--even-if-worse")
    ntkit("debias", model, data, "-o", out, *ordered, *steps, *CPU)
    assert written(out)["debias"] == {"C": 0.5, "keep_original": True}
    again = ("--settings", out / "settings.toml")
    _, err = done("debias", "--from", out, "--method", "auto", "-o", tmp_path / "b", *again)
    assert "Not used here, of the settings file: C, keep_original." in err
    _, _, err = ntkit("debias", model, data, "--keep", data, "-o", tmp_path / "c", *again, *CPU)
    assert "Not used here, of the settings file: C, keep_original." in err
    refused("debias", model, data, "--keep", data, "-o", tmp_path / "d", "--method", "auto",
            says="--method cannot be combined with --keep")  # fmt: skip


def test_one_label_is_a_key(tmp_path):
    """Also for ntkit label, whose name it has."""
    (tmp_path / "s.toml").write_text('label = "urgent"\nseed = 1\n', encoding="utf-8")
    model = tmp_path / "model.onnx"
    for job in (("audit", "-o", tmp_path / "a"), ("label", "-o", tmp_path / "b")):
        name, *out = job
        refused(name, model, tmp_path, *out, "--settings", tmp_path / "s.toml", says="model.onnx")
