"""A run in the browser as a person uses it: answers, steps to choose from, the result."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from ntkit import OnnxEmbedder
from ntkit.cli._server import SECRET, TAB
from ntkit.datasets import load_scanned_digits
from tests.cases import ntkit
from tests.pages.browser import WIDE, until

ROOT = Path(__file__).parents[2]
MODEL = "debiased.onnx"


class Run:
    """A command of ntkit in a process of its own, and the address that it printed."""

    def __init__(self, folder, *arguments):
        number = len([*folder.glob("stdout-*")])
        self.out, self.err = (folder / f"{name}-{number}" for name in ("stdout", "stderr"))
        # A text browser, which does not open.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "BROWSER": "w3m", "CI": ""}
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from ntkit.cli import main; main()", *map(str, arguments)],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip
        self.address = ""

    def started(self):
        """The same run, as soon as it has printed its address."""

        def printed():
            found = re.search(r"http://127\S+(?=\s)", self.err.read_text("utf-8"))
            self.address = found[0] if found else ""
            return found or self.process.poll() is not None

        until(printed)
        assert self.address, self.err.read_text("utf-8")
        return self

    def code(self):
        """The exit code, waited for."""
        until(lambda: self.process.poll() is not None)
        return self.process.returncode

    @property
    def printed(self):
        return self.out.read_text("utf-8")


@pytest.fixture
def start(tmp_path):
    """Start commands in the test's folder; they end with the test."""
    runs = []

    def begun(*arguments):
        runs.append(Run(tmp_path, *arguments))
        return runs[-1]

    yield begun
    for run in runs:
        run.process.kill()
        run.process.wait()


PARTS = {"train": 1500, "validation": 1200, "test": 1000}


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """The model and samples of the demo as files; there are several questions about them."""
    folder, digits = tmp_path_factory.mktemp("scanned"), load_scanned_digits()
    shutil.copy(digits.model_path, folder / "model.onnx")
    for part, n in PARTS.items():
        np.savez(folder / f"{part}.npz", X=digits[f"X_{part}"][:n], y=digits[f"y_{part}"][:n])
    return folder


@pytest.fixture(scope="module")
def audited(scanned, tmp_path_factory):
    """A run whose questions are open, with its embeddings."""
    out = tmp_path_factory.mktemp("audited") / "out"
    sets = [word for part in PARTS for word in (f"--{part}", scanned / f"{part}.npz")]
    options = ["-o", out, "--device", "cpu", "--quiet"]
    code, _, err = ntkit("debias", scanned / "model.onnx", *sets, *options)
    assert code == 3, err
    return out


@pytest.fixture
def opened(audited, start, tmp_path):
    """That run, gone on with in the browser: its folder and process."""
    out = shutil.copytree(audited, tmp_path / "out")
    return out, start("open", out).started()


@contextmanager
def window(browser, run, width=1280, height=800):
    with browser.page(run.address, width, height) as page:
        yield View(page)


class View:
    """The window of a run in a tab."""

    def __init__(self, page):
        self.page = page

    def inside(self, code):
        """The value of an expression of the page inside; its document is d."""
        document = "document.getElementById('page').contentDocument"
        return self.page.run(f"((d) => {{ return {code}; }})({document})")

    @property
    def phase(self):
        return self.page.run("window.ntkit?.state?.phase")

    @property
    def said(self):
        return self.page.run("document.getElementById('said').textContent")

    def until(self, phase, what):
        """Wait until the run is so far, and its page is seen."""
        seen = f"d?.querySelector('{what}')?.checkVisibility()"
        until(lambda: self.phase == phase and self.inside(f"Boolean({seen})"))

    def asks(self):
        self.until("asking", ".finding")
        until(lambda: self.inside("Boolean(d.querySelector('[data-answer]:not(:disabled)'))"))

    def decides(self):
        self.until("deciding", "#step")
        until(lambda: not self.inside("d.getElementById('original').disabled"))

    def ends(self):
        until(lambda: self.phase == "ended")
        until(lambda: self.inside("Boolean(d?.querySelector('h1')?.checkVisibility())"))
        # Said when all of the page is there, which is later than its first heading.
        until(lambda: self.said.startswith(self.page.run("ntkit.state.message || 'ntkit has'")))

    def click(self, what):
        self.inside(f"d.querySelector('{what}').click()")

    def answer(self, value, number=0):
        self.inside(f"d.querySelectorAll('.finding [data-answer={value}]')[{number}].click()")

    def hears(self, n):
        """Wait until the window knows of so many answers that are kept."""
        until(lambda: self.page.run("Object.keys(ntkit.state.answers).length") == n)

    def slide(self, step):
        slider = "d.getElementById('step')"
        self.inside(f"({slider}.value = {step}, {slider}.dispatchEvent(new Event('input')))")

    def pressed(self):
        each = "[...d.querySelectorAll('.finding [aria-pressed=true]')]"
        return self.inside(f"{each}.map((b) => b.dataset.answer)")

    def say(self, word, values="{}"):
        """What the run answers if a window says something: an empty text, or why it refuses."""
        says = f"ntkit.say({json.dumps(word)}, {values})"
        heard = "() => { got = ''; }, (error) => { got = error.message; }"
        self.page.run(f"window.got = null; {says}.then({heard})")
        until(lambda: self.page.run("window.got !== null"))
        return self.page.run("window.got")


def kept(out):
    """Answers that the folder of a run holds, by the names of the findings."""
    file = out / "answers.json"
    if not file.exists():
        return {}
    answers = json.loads(file.read_text("utf-8"))["answers"]
    return {each["name"]: each["answer"] for each in answers}


def persons(out):
    """Who gave these answers."""
    return [each["by"] for each in json.loads((out / "answers.json").read_text("utf-8"))["answers"]]


def values(out):
    return [*kept(out).values()]


# -- from start to end -------------------------------------------------------------------------


@pytest.mark.more
def test_the_demo_from_its_start_to_the_saved_model_by_clicks_alone(browser, start, tmp_path):
    run = start("demo", "--browser", "-o", "out").started()
    with window(browser, run) as view:
        view.asks()
        server, secret = run.address.split("#")
        assert view.page.run("location.href") == server
        assert view.page.run("history.length") == 2  # the empty tab's first page, and this one
        assert "border" in view.inside("d.querySelector('h1').textContent")
        assert view.inside("d.getElementById('save').textContent") == "End without a repair"
        view.answer("spurious")
        until(lambda: values(tmp_path / "out") == ["spurious"])
        assert view.inside("d.getElementById('save').textContent") == "Repair the model"
        view.click("#save")
        view.decides()
        assert not [*tmp_path.glob("**/*.onnx")]
        assert "ntkit’s choice" in view.inside("d.getElementById('share').textContent")
        view.click("#keep")
        view.ends()
        assert view.said == "Better. ntkit has ended."
        assert "Better" in view.inside("d.querySelector('h1').textContent")
        assert view.page.complaints == []
        asked = {url for url in view.page.requests if not url.startswith(("data:", "about:"))}
        paths = {url.split("#")[0].removeprefix(server) for url in asked}
        assert paths == {"", "state", "page", "answer", "repair", "keep"}
        assert not any(secret in url for url in asked - {run.address})
    assert run.code() == 0
    assert run.printed.splitlines()[4].startswith("Better. Wrote out")
    assert "Passed: the new model compared with" in run.printed
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {MODEL, "repair-limits.toml", "report.html", "README.md", "answers.json"} <= files


def predicted(path, X):
    """What ONNX Runtime predicts."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    return np.asarray(session.run(None, {name: X})[0]).argmax(axis=1)


def of_step(out, scanned, share, X):
    """Classes by the logits of a step: old ones at the new ones' spread, and new ones."""
    chosen = json.loads((out / "result.json").read_text("utf-8"))["chosen"]
    differences = []
    with np.load(out / "heads.npz") as heads:
        names = heads["names"].tolist()
        for i in (0, names.index(chosen)):
            parts = [heads[f"{part}_{i}"].astype(float) for part in ("coef", "intercept")]
            # Of two logits the difference decides.
            differences.append(
                [each[-1] - each[0] if len(each) == 2 else each[0] for each in parts]
            )
    with np.load(scanned / "train.npz") as train:
        embedder = OnnxEmbedder(scanned / "model.onnx", device="cpu").fit()
        Z_train, Z = (embedder.transform(each).astype(float) for each in (train["X"], X))
    old, new = (Z @ coef + intercept for coef, intercept in differences)
    spread = [np.sqrt(np.mean((Z_train @ coef + b) ** 2)) for coef, b in differences]
    return ((1 - share) * spread[1] / spread[0] * old + share * new > 0).astype(int)


@pytest.mark.more
@pytest.mark.parametrize("step", [0, 5, 10])
def test_the_saved_model_is_that_of_the_step_on_the_slider(step, opened, browser, scanned):
    out, run = opened
    with window(browser, run) as view:
        view.asks()
        view.answer("spurious")
        view.click("#save")
        view.decides()
        view.slide(step)
        assert view.inside("d.getElementById('share').textContent").startswith(f"{10 * step} %")
        shown = "[...d.querySelectorAll('.at')].filter((e) => e.checkVisibility())"
        assert view.inside(f"{shown}.length") == 1
        told = view.inside(f"{shown}[0].textContent")
        assert view.inside("d.getElementById('keep').disabled") == (step == 0)
        view.click("#keep" if step else "#original")
        view.ends()
        assert view.page.complaints == []
        if not step:
            assert "Nothing is changed." in told
            assert view.said.startswith("Kept the original model")
    code = run.code()
    if not step:
        assert not [*out.glob("**/*.onnx")]
        assert json.loads((out / "result.json").read_text("utf-8"))["state"] == "kept"
        return
    assert code == 0, run.err.read_text("utf-8")
    cost = json.loads((out / "result.json").read_text("utf-8"))["accuracy_cost"]
    assert cost["t"] == step / 10
    assert f"{cost['n_fixed']} errors fixed, {cost['n_new_errors']} new errors" in told
    with np.load(scanned / "test.npz") as test:
        X = test["X"]
    right = of_step(out, scanned, step / 10, X)
    assert (predicted(out / MODEL, X) == right).all()
    assert (predicted(scanned / "model.onnx", X) != right).any()
    assert (of_step(out, scanned, 0, X) == predicted(scanned / "model.onnx", X)).all()


# -- answers -----------------------------------------------------------------------------------


def test_each_answer_is_kept_at_once_and_can_be_changed_until_the_repair(opened, browser):
    out, run = opened
    with window(browser, run) as view:
        view.asks()
        for said, file in (
            ("spurious", ["spurious"]),
            ("spurious", ["unsure"]),  # taken back
            ("unsure", ["unsure"]),
            ("legitimate", ["legitimate"]),
        ):
            view.answer(said)
            until(lambda file=file: values(out) == file)
            assert view.pressed() == ([] if (said, file) == ("spurious", ["unsure"]) else [said])
        typed = "(d.getElementById('name').value = ' Ada <b> ')"
        view.inside(typed)
        view.answer("spurious", 1)
        until(lambda: values(out) == ["legitimate", "spurious"])
        assert persons(out)[1] == "Ada <b>"
        view.page.reload()  # in the middle
        view.asks()
        assert view.pressed() == ["legitimate", "spurious"]
        assert view.page.run("location.href") == run.address.split("#")[0]
        assert view.page.complaints == []
        # What no page of ours says, the run does not take.
        names = [*kept(out)]
        for refused in (
            {"name": ["x"], "answer": "spurious"}, {"name": {}, "answer": "spurious"},
            {"name": "word:unheard", "answer": "spurious"}, {"answer": "spurious"}, {"name": None},
            {"name": names[0], "answer": ["spurious"]}, {"name": names[0], "answer": "invariant"},
            {"name": names[0], "answer": "yes"},
        ):  # fmt: skip
            assert view.say("answer", json.dumps(refused)) == "This cannot be done now."
        for word in ("keep", "labels", "", "state", "../answers.json", "__class__"):
            assert view.say(word, '{"step": 1}') == "This cannot be done now."
        assert values(out) == ["legitimate", "spurious"]
        for by in (
            '"\\ud800"',
            '"x".repeat(9000)',
            "7",
            '"\\u0000\\n<script>"',
        ):  # names of persons
            says = f'{{name: {json.dumps(names[1])}, answer: "unsure", by: {by}}}'
            assert view.say("answer", says) == ""
        assert values(out) == ["legitimate", "unsure"]
        assert len(persons(out)[1]) <= 200
        assert view.page.forbidden == 0
        view.click("#save")
        view.ends()
    assert run.code() == 3
    assert not [*out.glob("**/*.onnx")]


@pytest.mark.more
def test_a_second_window_only_reads_and_says_so(opened, browser, start):
    out, run = opened
    only = "Another window answers; this one only reads."
    with window(browser, run) as first, window(browser, run) as second:
        first.asks()
        second.until("asking", ".finding")
        until(lambda: only in second.said)
        assert only not in first.said
        assert second.inside("d.querySelectorAll('[data-answer]:not(:disabled)').length") == 0
        assert second.inside("d.getElementById('save').disabled")
        first.answer("legitimate")
        until(lambda: second.pressed() == ["legitimate"])
        assert (
            second.say("answer", json.dumps({"name": next(iter(kept(out))), "answer": None}))
            == only
        )
        assert values(out) == ["legitimate"]
        # A run of the same folder, at the same time.
        other = start("open", out)
        assert other.code() == 2
        assert str(out) in other.err.read_text("utf-8").splitlines()[-1]
        assert values(out) == ["legitimate"]
        first.click("#save")
        for view in (first, second):  # each has the last page
            view.ends()
            assert view.said.startswith("No decision yet")
    assert run.code() == 3


@pytest.mark.more
def test_a_tab_whose_clock_stands_still_has_the_last_page(opened, browser):
    """Browsers slow down the clocks of tabs in the background."""
    _, run = opened
    with window(browser, run) as first, window(browser, run) as second:
        first.asks()
        second.until("asking", ".finding")
        for view in (first, second):
            view.page.run("window.setTimeout = () => 0")
        for answer in ("legitimate", "unsure", "legitimate"):
            first.answer(answer)
            until(lambda answer=answer: second.pressed() == [answer])
        first.click("#save")
        for view in (first, second):
            view.ends()
            assert view.said.startswith("No decision yet")
            assert not view.inside("d.querySelector('[data-answer]:not(:disabled)')")
    assert run.code() == 3


@pytest.mark.more
def test_the_second_window_answers_when_the_first_is_closed(opened, browser):
    out, run = opened
    with window(browser, run) as second:
        second.asks()
        with window(browser, run) as first:
            first.until("asking", ".finding")
            until(lambda: "only reads" in first.said)
        with window(browser, run) as third:
            third.until("asking", ".finding")
            second.page.go("about:blank")  # closed
            third.asks()  # by itself
            third.answer("unsure")
            until(lambda: values(out) == ["unsure"])
            assert "only reads" not in third.said


def test_an_address_without_its_secret_shows_nothing_until_the_whole_one_is_typed(opened, browser):
    _, run = opened
    bare, secret = run.address.split("#")
    with browser.page(bare) as page:
        view = View(page)
        until(
            lambda: view.said == "This address is not valid. Open the one that ntkit printed last."
        )
        assert view.phase is None
        page.run(f"location.hash = {json.dumps(secret)}")
        view.asks()
        assert page.run("location.href") == bare


# -- labels ------------------------------------------------------------------------------------


LABELLED = "d.querySelectorAll('.sample.given').length"


@pytest.mark.more
def test_labels_are_kept_at_once_and_the_next_samples_follow(scanned, browser, start, tmp_path):
    out = tmp_path / "out"
    run = start(
        "label", scanned / "model.onnx", scanned / "train.npz", "-o", out, "--question", "Is it?",
        "--batch", "3", "--browser", "--device", "cpu", "--quiet",
    )  # fmt: skip
    cells = "[...d.querySelectorAll('.sample')].map((e) => e.dataset.cell)"
    with window(browser, run.started()) as view:
        view.until("labelling", ".sample.current")
        first = view.inside(cells)
        view.page.press("1", "2", "u", "1", "0")
        until(lambda: (out / "labels-1.csv").is_file() and view.inside(LABELLED) == 3)
        view.page.reload()  # in the middle
        view.until("labelling", ".sample.current")
        until(lambda: view.inside(LABELLED) == 3)
        view.page.press("s")
        until(lambda: view.phase == "labelling" and view.inside(cells) not in (None, first))
        second = view.inside(cells)
        assert not {*first} & {*second}
        view.page.press("2")
        until(lambda: (out / "labels-2.csv").is_file())
        view.click("#end")
        until(lambda: view.phase == "ended")
        assert view.page.complaints == []
    assert run.code() == 0, run.err.read_text("utf-8")
    labels = json.loads((out / "answers.json").read_text("utf-8"))["answers"]
    assert [each["answer"] for each in labels] == ["yes", "yes", None, "no"]


# -- windows and processes that go away --------------------------------------------------------


OFTEN = f"""window.n = 0;
    for (let i = 0; i < 20; i++) fetch("/WORD", {{method: "POST", body: '{{"step": 7}}', headers: {{
        "{SECRET}": sessionStorage["ntkit-secret"], "{TAB}": sessionStorage["ntkit-tab"],
    }}}}).catch(() => null).finally(() => n++);"""


@pytest.mark.more
def test_a_window_that_is_closed_while_fitting_is_opened_again_by_its_address(opened, browser):
    out, run = opened
    with window(browser, run) as view:
        view.asks()
        view.answer("spurious")
        until(lambda: values(out) == ["spurious"])
        # As often as a key is pressed that is held down.
        view.page.run(OFTEN.replace("WORD", "repair"))
        until(lambda: view.page.run("window.n") == 20)
    with window(browser, run) as view:
        view.decides()
        assert view.page.complaints == []
        view.page.run(OFTEN.replace("WORD", "keep"))
        view.ends()
    assert run.code() == 0
    assert json.loads((out / "result.json").read_text("utf-8"))["accuracy_cost"]["t"] == 0.7


@pytest.mark.more
def test_a_run_that_is_killed_goes_on_with_its_answers(opened, browser, start):
    out, run = opened
    with window(browser, run) as view:
        view.asks()
        view.answer("spurious")
        view.hears(1)
        assert values(out) == ["spurious"]
        run.process.kill()
        until(
            lambda: view.said.startswith("ntkit has stopped. Continue in the terminal: ntkit open")
        )
        view.answer("legitimate", 1)
        until(
            lambda: "so this may not be kept" in view.inside("d.querySelector('.said').textContent")
        )
        assert view.pressed() == ["spurious"]
    again = start("debias", "--from", out)
    assert again.code() == 0, again.err.read_text("utf-8")
    record = json.loads((out / "result.json").read_text("utf-8"))
    assert (record["state"], [each["answer"] for each in record["answers"]]) == (
        "written",
        ["spurious"],
    )
    assert (out / MODEL).exists()
    # The repair after that has a folder of its own, inside the first one.
    more = start("open", out).started()
    with window(browser, more) as view:
        view.asks()
        assert view.pressed() == ["spurious"]
        view.click("#save")
        view.decides()
        view.click("#keep")
        view.ends()
        seen = "[...document.querySelectorAll('#repairs dt')].map((e) => e.textContent)"
        assert [Path(each).name for each in view.page.run(seen)] == ["out", "repair-2"]
    assert more.code() == 0
    assert (out / "repair-2" / MODEL).exists()


# -- keys --------------------------------------------------------------------------------------


@pytest.mark.more
@pytest.mark.parametrize("press", ["Enter", " "])
def test_all_of_it_by_keyboard(press, opened, browser):
    out, run = opened
    with window(browser, run) as view:
        view.asks()
        view.page.press("j", "y")
        until(lambda: values(out) == ["spurious"])
        view.page.press("j")
        button = "d.activeElement.matches('.finding [data-answer=spurious]')"
        for _ in range(9):  # past what else the finding has
            if not view.inside(button):
                view.page.press("Tab")
        assert view.inside(button)
        view.page.press(press)
        until(lambda: len(values(out)) == 2)
        view.page.press(press)  # taken back
        until(lambda: values(out) == ["spurious", "unsure"])
        view.page.press("s")
        view.decides()
        until(lambda: view.inside("d.activeElement.id") == "step")
        view.page.press("Home")
        at = "d.getElementById('share').textContent"
        assert view.inside(at).startswith("0 %")
        view.page.press("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft")
        assert view.inside(at).startswith("20 %")
        view.page.press("End", "ArrowLeft")
        assert view.inside(at).startswith("90 %")
        view.page.press("Tab")
        assert view.inside("d.activeElement.id") == "keep"
        view.page.press(press)
        view.ends()
        assert view.page.complaints == []
    assert run.code() == 0
    assert json.loads((out / "result.json").read_text("utf-8"))["accuracy_cost"]["t"] == 0.9


# -- others ------------------------------------------------------------------------------------


@contextmanager
def a_site(page):
    """The address of another site that has one page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


SITE = """<!doctype html><iframe src="SERVER#SECRET"></iframe><iframe src="SERVER"></iframe>
<form method="post" enctype="text/plain" action="SERVERrepair"><input name="a"></form>
<script>
    const got = [], headers = HEADERS, post = {method: "POST", body: "{}"};
    for (const options of [{}, {headers}, {mode: "no-cors"}, {...post, headers},
                           {...post, mode: "no-cors"}, {headers, credentials: "include"}])
        for (const path of ["", "state", "page", "repair"])
            fetch("SERVER" + path, options)
                .then((answer) => answer.text())
                .then((text) => got.push(text), () => got.push("no"));
    const opened = open("SERVER#SECRET");
    const seen = () => { try { return opened.ntkit; } catch { return null; } };
</script>"""


def test_a_page_of_another_site_shows_nothing_and_learns_nothing(opened, browser):
    """It may even know the secret."""
    out, run = opened
    server, secret = run.address.split("#")
    page = SITE.replace("HEADERS", json.dumps({SECRET: secret, TAB: "theirs"}))
    page = page.replace("SERVER", server).replace("SECRET", secret)
    with a_site(page) as site, browser.page(site) as page:
        until(lambda: page.run("got.length") == 24)
        assert {*page.run("got")} <= {"no", ""}  # no script can read what it gets without CORS
        framing = "frame-ancestors 'none'"
        until(lambda: sum(framing in each for each in page.complaints) == page.run("length") == 2)
        assert page.run("seen() ?? null") is None
        page.run("document.forms[0].submit()")
        told = "Open the address that ntkit printed."
        until(lambda: told in (page.run("document.body?.textContent") or ""))
    with window(browser, run) as view:
        view.asks()  # it waits as before
    assert values(out) == []


NAMES = ("<script>window.hacked = 1</script>", '"><img src=x onerror="window.hacked = 2">')
FILE = "<img src=x onerror=window.hacked=3>.onnx"


@pytest.mark.skipif(sys.platform == "win32", reason="no file has such a name")
@pytest.mark.more
def test_names_of_classes_files_and_persons_with_script_do_nothing(
    browser, start, scanned, tmp_path
):
    shutil.copy(scanned / "model.onnx", tmp_path / FILE)
    (tmp_path / "classes.txt").write_text("\n".join(NAMES) + "\n")
    sets = []
    for part in ("train", "validation", "test"):
        with np.load(scanned / f"{part}.npz") as arrays:
            np.savez(tmp_path / f"{part}.npz", X=arrays["X"], y=np.array(NAMES)[arrays["y"]])
        sets += [f"--{part}", f"{part}.npz"]
    run = start(
        "debias",
        FILE,
        *sets,
        "--classes",
        "classes.txt",
        "-o",
        "out",
        "--browser",
        "--device",
        "cpu",
    )
    with window(browser, run.started()) as view:
        view.asks()

        def harmless():
            for document in ("document", "document.getElementById('page').contentDocument"):
                found = f"{document}.querySelectorAll('[onerror], main script, img[src=x]').length"
                assert view.page.run(found) == 0
            assert view.page.run("window.hacked") is None
            assert view.inside("d.defaultView.hacked") is None
            assert view.page.complaints == []

        harmless()
        assert FILE in view.page.run("document.title")
        assert NAMES[0] in view.inside("d.querySelector('main').textContent")
        view.inside("(d.getElementById('name').value = '<script>window.hacked = 4</script>')")
        view.answer("spurious")
        until(lambda: values(tmp_path / "out") == ["spurious"])
        view.click("#save")
        view.decides()
        harmless()
        assert NAMES[1] in view.inside("d.querySelector('main').textContent")
        view.click("#keep")
        view.ends()
        harmless()
        # The policies of window and page forbid what would get in all the same.
        for document in ("document", "document.getElementById('page').contentDocument"):
            view.page.run(f"""(() => {{
                const image = `<img src="x" onerror="top.hacked = 5">`;
                {document}.body.insertAdjacentHTML("beforeend", image);
                const script = {document}.createElement("script");
                script.textContent = "top.hacked = 6";
                {document}.body.append(script);
                {document}.defaultView.fetch("http://127.0.0.1:9/").catch(() => {{}});
            }})()""")
        until(lambda: view.page.forbidden >= 6)
        assert view.page.run("window.hacked") is None
    assert run.code() == 0


# -- looks -------------------------------------------------------------------------------------


@pytest.mark.more
@pytest.mark.parametrize("width", [1280, 400, 320])
def test_nothing_is_wider_than_the_window(width, opened, browser):
    _, run = opened
    wide = WIDE.replace("document", "d").replace("innerWidth", "d.defaultView.innerWidth")
    with window(browser, run, width, 800) as view:

        def fits():
            assert view.inside("d.documentElement.scrollWidth <= d.defaultView.innerWidth")
            assert view.inside(wide) == []
            assert view.page.run("document.documentElement.scrollWidth <= innerWidth")
            assert view.page.run("document.documentElement.scrollHeight <= innerHeight")

        view.asks()
        fits()
        view.answer("spurious")
        view.click("#save")
        view.decides()
        fits()
        view.click("#keep")
        view.ends()  # tables of the report scroll by themselves
        assert view.inside("d.documentElement.scrollWidth <= d.defaultView.innerWidth")
