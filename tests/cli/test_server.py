"""The server of a run in the browser: whom it answers, what it refuses, and what it leaves."""

import http.client
import json
import os
import socket
import stat
import sys
import tempfile
import threading
import webbrowser
from contextlib import ExitStack, contextmanager
from itertools import count
from urllib.parse import urlsplit

import pytest

from ntkit.cli._server import SECRET, TAB, Server
from ntkit.cli._window import Window
from tests.cases import ntkit, refused
from tests.pages.browser import PATIENCE, until

ALLOWED = "gpu.example"
PAGE, CONTENT, WHERE = "<p>empty page", "<p>content", "/home/ada/secret"
MUST_HAVE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Running:
    """A server and what it heard."""

    def __init__(self):
        self.words = []
        page = PAGE, "default-src 'none'; frame-ancestors 'none'"
        given = lambda tab, version: {"phase": "asking"}, lambda: CONTENT, self.hear
        self.server = Server(*page, *given, hosts=[ALLOWED.upper()])
        self.port, self.secret = self.server.port, self.server.secret

    def hear(self, word, values):
        if word == "refused":
            raise ValueError(f"{WHERE} is wrong")
        self.words.append((word, values))

    def headers(self, others):
        """Headers of a window of ours, some of them replaced; None leaves one out."""
        host = f"127.0.0.1:{self.port}"
        ours = {"Host": host, "Origin": f"http://{host}", SECRET: self.secret, TAB: "one"}
        return {name: value for name, value in (ours | others).items() if value is not None}

    def ask(self, path="/state", body=None, method=None, **others):
        """Status, headers and text of the answer to a request."""
        named = {name.replace("_", "-"): value for name, value in others.items()}
        if body is not None:
            named.setdefault("Content-Length", str(len(body)))
        lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers(named).items()]
        return self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))

    def send(self, request):
        """Send bytes; status, headers and text of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(request)
            method = request.split(b" ")[0].decode("latin-1")
            answer = http.client.HTTPResponse(connection, method=method)
            answer.begin()
            return answer.status, answer.headers, answer.read().decode()


@contextmanager
def started():
    made = Running()
    made.server.start()
    try:
        yield made
    finally:
        made.server.close()


@pytest.fixture(scope="module")
def one_for_all():
    with started() as made:
        yield made
        assert made.ask()[0] == 200  # whatever happened to it


@pytest.fixture
def running(one_for_all):
    one_for_all.words.clear()
    return one_for_all


@pytest.fixture
def fresh():
    with started() as made:
        yield made


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """What a browser would have opened; no test opens one."""
    addresses = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    monkeypatch.delenv("CI", raising=False)
    return addresses


def is_answered(running, **others):
    """Whether a window with these headers gets the page, the state and the content, and may act."""
    origin = {"Origin": None} | others
    answers = [
        running.ask("/", **origin),
        running.ask("/page", **others),
        running.ask("/state", **others),
        running.ask("/answer", b'{"a": 1}', **others),
    ]
    heard, running.words[:] = [*running.words], []
    right = [PAGE, CONTENT] + 2 * [{"phase": "asking", "writes": True}]
    said = [text if n < 2 else json.loads(text) for n, (_, _, text) in enumerate(answers)]
    fine = {status for status, _, _ in answers} == {200}
    assert fine == (said == right) == (heard == [("answer", {"a": 1})])
    return fine


def is_refused(running, **others):
    """Whether such a window gets neither state nor content, and cannot act."""
    answers = [
        running.ask("/page", **others),
        running.ask("/state", **others),
        running.ask("/answer", b"{}", **others),
        running.ask("/answer?x", b"{}", **others),
    ]
    assert not running.words
    assert not any("asking" in text or CONTENT in text for _, _, text in answers)
    return {status for status, _, _ in answers} == {403}


# -- who is answered ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:{}", "localhost:{}", "[::1]:{}", "localhost:8888", "127.0.0.1", "LOCALHOST:1",
     f"{ALLOWED}:8888", f"{ALLOWED}:{{}}", "GPU.Example"],
)  # fmt: skip
def test_windows_of_this_machine_are_answered_also_through_another_port(host, running):
    host = host.format(running.port)
    assert is_answered(running, Host=host, Origin=f"http://{host}")
    assert is_answered(running, Host=host, Origin=None)


HOSTS = [
    None, "", "evil.com", "evil.com:{}", "127.0.0.1.evil.com", "localhost.evil.com:{}",
    "127.0.0.2:{}", "0.0.0.0:{}", "[::2]:{}", "::1", f"x.{ALLOWED}", f"{ALLOWED}.", "127.1:{}",
    "evil.com@127.0.0.1:{}", "127.0.0.1:{}@evil.com", "127.0.0.1:{}/evil.com", "127.0.0.1#evil.com",
    "127.0.0.1:{},evil.com", "2130706433:{}", "127.0.0.1:{}:80", "127.0.0.1%00.evil.com",
    "[127.0.0.1]", "[::1", "[::1]x",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_no_other_name_leads_here(host, running):
    host = host and host.format(running.port)
    assert is_refused(running, Host=host)
    assert is_refused(running, Host=host, Origin=f"http://{host}")
    assert is_refused(running, Host=host, Origin=None)
    assert running.ask("/", Host=host, Origin=None)[0] == 403


ORIGINS = [
    "http://evil.com", "null", "", "file://", "http://127.0.0.1", "http://127.0.0.1:1", "http://[",
    "http://127.0.0.1:{}.evil.com", "http://evil.com#127.0.0.1:{}", "http://evil.com@127.0.0.1:{}",
    "http://localhost:{}", "127.0.0.1:{}", "http://127.0.0.1:{}, http://evil.com",
    "chrome-extension://abc", "ftp://127.0.0.1:{}",
]  # fmt: skip


@pytest.mark.parametrize("origin", ORIGINS)
def test_no_other_site_is_answered_even_if_it_knows_the_secret(origin, running):
    assert is_refused(running, Origin=origin.format(running.port))


def test_nobody_is_answered_without_the_secret(running):
    right = running.secret
    for wrong in (None, "", "wrong", right[:-1], f"{right}x", right.swapcase(), f"{right}é"):
        assert is_refused(running, **{SECRET: wrong})
    elsewhere = {"Cookie": f"{SECRET}={right}", "Authorization": f"Bearer {right}"}
    assert is_refused(running, **{SECRET: None}, **elsewhere)
    for path in (f"/state?{SECRET}={right}", f"/state?secret={right}", f"/state#{right}"):
        status, _, text = running.ask(path, **{SECRET: None})
        assert (status, "asking" in text) == (403, False)
    assert len(right) >= 32
    with started() as another:
        assert right != another.secret


@pytest.mark.parametrize("tab", [None, "", "x" * 65])
def test_a_window_says_its_number(tab, running):
    assert is_refused(running, **{TAB: tab})


# -- what is answered --------------------------------------------------------------------------

PATHS = [
    "/../etc/passwd", "/page/../../etc/passwd", "/%2e%2e/", "/%2e%2e%2fetc%2fpasswd", "/..%5c..%5c",
    "//etc/passwd", "//evil.com/state", "///", "//", "/./", "/state/", "/state?", "/STATE",
    "/page/../state", "http://127.0.0.1:{}/state", "http://evil.com/", "file:///etc/passwd", "*",
    "/audit.html", "/.ntkit.json", "/answers.json", "/favicon.ico", "/page.html", "/answer",
    "/" + "a" * 60_000, "/<script>", "\\..\\", "state", "/state%00",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_only_three_paths_exist(path, running):
    status, _, text = running.ask(path.format(running.port))
    # Several slashes are one for Python: that is the empty page, which holds no secret.
    assert (status, text == PAGE) in ((403, False), (200, not path.strip("/")))
    for told in ("asking", CONTENT, "root:", "passwd", "<script>", "Traceback", os.sep + "tmp"):
        assert told not in text


LARGE = str(100 << 20)


@pytest.mark.parametrize(
    ("lengths", "status"),
    [
        ({}, 411),
        ({"Content-Length": "many"}, 411),
        ({"Content-Length": "-1"}, 413),
        ({"Content-Length": LARGE}, 413),
        ({"Content-Length": "9" * 4000}, 413),
        ({"Content-Length": "9" * 5000}, 411),  # Python reads no such number
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Transfer-Encoding": "chunked", "Content-Length": "2"}, 411),
    ],
)
def test_a_body_is_refused_unread_if_it_is_large_or_of_unknown_length(lengths, status, running):
    # Not one byte of it was sent when the answer comes.
    answer = running.ask("/answer", method="POST", **lengths)
    assert (answer[0], answer[1]["Connection"], running.words) == (status, "close", [])


def test_who_sends_a_large_body_all_the_same_is_cut_off(running):
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as connection:
        head = [f"{k}: {v}" for k, v in running.headers({"Content-Length": LARGE}).items()]
        connection.sendall("\r\n".join(["POST /answer HTTP/1.1", *head, "", ""]).encode())
        with pytest.raises(OSError):  # noqa: PT011  # broken pipe, or reset
            connection.sendall(bytes(int(LARGE)))
    assert running.ask()[0] == 200
    assert not running.words


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"3", b"null", b'"a"', b"\xff\xfe", b"[" * 60_000, b'{"a":' * 10_000,
     b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 1} {}', b"a=1&b=2"],
)  # fmt: skip
def test_only_values_with_names_are_heard(body, running):
    status, _, text = running.ask("/answer", body)
    assert (status, json.loads(text).keys()) == (400, {"error"})
    assert not running.words
    assert running.ask()[0] == 200


def test_an_error_tells_nothing_of_the_run(running):
    status, _, text = running.ask("/refused", b"{}")
    assert (status, WHERE in text) == (400, False)


def every_answer(running):
    """An answer of each kind."""
    yield running.ask("/", Origin=None)
    yield running.ask("/state")
    yield running.ask("/page")
    yield running.ask("/answer", b"{}")
    yield running.ask("/answer", b"{")
    yield running.ask("/answer", b"{}", **{TAB: "two"})
    yield running.ask("/answer", method="POST")
    yield running.ask("/answer", method="POST", Content_Length=LARGE)
    yield running.ask("/state", **{SECRET: None})
    yield running.ask("/", Host="evil.com")
    for method in ("HEAD", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH", "<script>", "get"):
        yield running.ask("/state", method=method)
    site = {"Origin": "http://evil.com", "Access-Control-Request-Headers": SECRET}
    yield running.ask("/answer", method="OPTIONS", **site, Access_Control_Request_Method="POST")
    yield running.ask("/answer", b"{}", **site)
    yield running.ask("/" + "a" * 70_000)
    yield running.ask("/", **{f"X-{i}": "x" for i in range(200)})
    yield running.ask("/", X_Long="x" * 70_000)
    for line in (b"GET", b"GET / HTTP/9.9", b"GET / <script>", b"POST /", b"GET / x HTTP/1.1"):
        yield running.send(line + b"\r\n\r\n")


def test_each_answer_is_kept_nowhere_framed_nowhere_and_read_by_no_other_site(running):
    n_refused = 0
    for status, headers, text in every_answer(running):
        assert {name: headers[name] for name in MUST_HAVE} == MUST_HAVE
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert not [name for name in headers if name.lower().startswith("access-control")]
        assert "Python" not in headers["Server"]
        assert headers["Set-Cookie"] is None
        assert "<script>" not in text
        n_refused += status >= 400
        assert (headers["Connection"] == "close") == (status >= 400)
    assert n_refused > 20


# -- who may write -----------------------------------------------------------------------------


def writes(running, tab):
    return json.loads(running.ask("/state", **{TAB: tab})[2])["writes"]


def test_the_second_window_only_reads_until_the_first_is_gone(fresh, monkeypatch):
    running = fresh
    assert [writes(running, tab) for tab in ("one", "two", "one", "two")] == [True, False] * 2
    status, _, text = running.ask("/answer", b"{}", **{TAB: "two"})
    assert (status, "only reads" in text, running.words) == (409, True, [])
    assert running.ask("/page", **{TAB: "two"})[2] == CONTENT
    with monkeypatch.context() as patch:
        patch.setattr("ntkit.cli._server._PATIENCE", 0)  # the first one is gone
        assert writes(running, "two")
    assert running.ask("/answer", b"{}", **{TAB: "two"})[0] == 200
    assert not writes(running, "one")


def test_of_windows_that_come_at_once_one_writes(fresh):
    start, found = threading.Barrier(20), []

    def come(tab):
        start.wait()
        found.append(writes(fresh, f"{tab}"))

    threads = [threading.Thread(target=come, args=(tab,)) for tab in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False] * 19 + [True]


# -- the machine -------------------------------------------------------------------------------


def test_connections_that_are_held_open_block_nobody(running):
    begun = (b"", b"GET /sta", b"POST /answer HTTP/1.1\r\nContent-Length: 9\r\n")
    with ExitStack() as held:
        for _, part in zip(range(50), (each for _ in count() for each in begun), strict=False):
            connection = socket.create_connection(("127.0.0.1", running.port), PATIENCE)
            held.enter_context(connection).sendall(part)
        assert is_answered(running)
        assert is_refused(running, **{SECRET: "wrong"})


def test_too_many_connections_are_closed_and_then_all_is_as_before(fresh):
    def closed(connection):
        connection.settimeout(0)
        try:
            return connection.recv(1) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    with ExitStack() as held:
        several = [
            held.enter_context(socket.create_connection(("127.0.0.1", fresh.port), PATIENCE))
            for _ in range(150)
        ]
        until(lambda: sum(map(closed, several)) >= 50)

    def answered():
        try:
            return fresh.ask()[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    assert until(answered)


def test_it_listens_on_this_machine_alone_and_asks_no_name_server(monkeypatch):
    def asks(*_):
        raise AssertionError("asked for a name")

    for name in ("getfqdn", "gethostbyaddr", "gethostbyname", "getnameinfo"):
        monkeypatch.setattr(socket, name, asks)
    with started() as running:
        assert running.ask()[0] == 200
        # 127.0.0.2 is this machine too, on Linux; a server of all addresses would answer.
        for address in ("127.0.0.2", "::1"):
            with pytest.raises(OSError):  # noqa: PT011  # refused, or there is no such address
                socket.create_connection((address, running.port), 1)
        for options in ([], ["SO_REUSEADDR"], ["SO_REUSEADDR", "SO_REUSEPORT"]):
            with socket.socket() as other:
                for option in options:
                    if hasattr(socket, option):
                        other.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
                with pytest.raises(OSError):  # noqa: PT011  # in use, or forbidden
                    other.bind(("127.0.0.1", running.port))
    with pytest.raises(OSError):  # noqa: PT011  # refused
        running.ask()


def test_who_kept_a_connection_is_not_answered_after_the_end():
    with started() as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)
        connection.request("GET", "/")
        assert connection.getresponse().read().decode() == PAGE
        kept = connection.sock
        assert kept is not None
    try:
        kept.sendall(f"GET / HTTP/1.1\r\nHost: localhost:{running.port}\r\n\r\n".encode())
        assert kept.recv(1) == b""
    except OSError:
        pass
    finally:
        connection.close()


def test_nothing_is_logged(running, capfd):
    assert is_answered(running)
    assert len([*every_answer(running)]) > 20
    socket.create_connection(("127.0.0.1", running.port)).close()
    assert capfd.readouterr() == ("", "")


# -- the window --------------------------------------------------------------------------------


@contextmanager
def a_window(tmp_path, monkeypatch, browser="firefox"):
    """A window for which a browser of that name seems to be there; the folder of what it opens."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(webbrowser, "get", lambda: type("Found", (), {"name": browser})())
    monkeypatch.setenv("DISPLAY", ":0")
    with Window(tmp_path / "out", "model.onnx") as window:
        yield window, folder


def test_only_this_user_can_read_the_secret_that_opens_the_browser(
    tmp_path, monkeypatch, capsys, opened
):
    before = os.umask(0)
    try:
        with a_window(tmp_path, monkeypatch) as (window, folder):
            secret = window.server.secret
            (place,) = folder.iterdir()
            (file,) = place.iterdir()
            assert f"http://127.0.0.1:{window.server.port}/#{secret}" in file.read_text()
            if sys.platform != "win32":
                modes = [stat.S_IMODE(path.stat().st_mode) for path in (place, file)]
                assert modes == [0o700, 0o600]
            until(lambda: opened)  # by a thread
    finally:
        os.umask(before)
    assert opened == [file.as_uri()]  # a list of processes shows it
    assert not [*folder.iterdir()]
    assert not (tmp_path / "out").exists()
    told = capsys.readouterr()
    assert told.out == ""
    assert f"http://127.0.0.1:{window.server.port}/#{secret}" in told.err
    assert f"ssh -L {window.server.port}:127.0.0.1:{window.server.port} " in told.err


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_secret_is_gone_as_well(error, tmp_path, monkeypatch):
    with (  # noqa: PT012
        pytest.raises(error),
        a_window(tmp_path, monkeypatch) as (window, folder),
    ):
        assert [*folder.iterdir()]
        raise error
    assert not [*folder.iterdir()]
    with pytest.raises(OSError):  # noqa: PT011  # refused
        socket.create_connection(("127.0.0.1", window.server.port), 1)


@pytest.mark.parametrize("browser", ["w3m", "lynx", "links", "/usr/bin/www-browser", None])
def test_without_a_browser_of_windows_the_address_is_printed_and_nothing_opens(
    browser, tmp_path, monkeypatch, capsys, opened
):
    def nothing_there():
        raise webbrowser.Error

    with a_window(tmp_path, monkeypatch, browser or "") as (window, _):
        pass
    if browser is None:
        opened.clear()
        monkeypatch.setattr(webbrowser, "get", nothing_there)
        with Window(tmp_path / "out", "model.onnx") as window:
            pass
    assert f"http://127.0.0.1:{window.server.port}/#" in capsys.readouterr().err
    assert opened == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a display is named on Linux")
def test_without_a_display_nothing_opens(tmp_path, monkeypatch, capsys, opened):
    monkeypatch.setattr(webbrowser, "get", lambda: type("Found", (), {"name": "firefox"})())
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with Window(tmp_path / "out", "model.onnx"):
        pass
    assert "In your browser: http://127.0.0.1:" in capsys.readouterr().err
    assert opened == []


def test_the_policy_of_the_window_names_its_scripts_and_lets_nothing_else_in(tmp_path):
    with Window(tmp_path, "<script>alert(1)</script>") as window:
        asked = http.client.HTTPConnection("127.0.0.1", window.server.port, timeout=PATIENCE)
        asked.request("GET", "/")
        answer = asked.getresponse()
        page, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
        asked.close()
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == parts["frame-ancestors"] == parts["base-uri"] == "'none'"
    assert (parts["connect-src"], parts["img-src"]) == ("'self'", "data:")
    for kind in ("script-src", "style-src"):
        assert all(each.startswith("'sha256-") for each in parts[kind].split())
    assert "alert(1)" not in page  # who has no secret learns nothing
    assert window.server.secret not in page
    assert str(tmp_path) not in page


# -- the commands ------------------------------------------------------------------------------


def debias(user, out):
    sets = ["--train", user / "train.npz", "--validation", user / "validation.npz"]
    return ["debias", user / "model.onnx", *sets, "-o", out, "--device", "cpu", "--quiet"]


@pytest.mark.parametrize(
    "against", [("--json",), ("--settings",), {"CI": "1"}, {"CI": "true"}], ids=str
)
def test_browser_is_an_error_where_no_person_is(against, user, tmp_path, monkeypatch, opened):
    out, options, commands = tmp_path / "out", [], [debias(user, tmp_path / "out")]
    if isinstance(against, dict):
        for name, value in against.items():
            monkeypatch.setenv(name, value)
    elif against == ("--settings",):
        (tmp_path / "settings.toml").write_text("[debias]\nno_input = true\n")
        options = ["--settings", tmp_path / "settings.toml"]
    else:
        options = [*against]
    if against != ("--settings",):
        commands.append(["demo", "-o", out])
    for command in commands:
        code, printed, err = ntkit(*command, "--browser", *options)
        assert (code, printed) == (2, "")
        assert "--browser waits for a person" in err
        assert "http" not in err
    assert not out.exists()
    assert opened == []


def test_a_demo_in_the_browser_needs_a_folder_of_its_own(tmp_path, opened):
    refused("demo", "--browser", says="--browser needs -o FOLDER")
    (tmp_path / "notes.txt").write_text("mine")
    assert "http" not in refused("demo", "--browser", "-o", tmp_path, says="exists")
    assert opened == []


def test_a_run_that_nobody_answers_ends_open_and_writes_no_model(user, tmp_path, monkeypatch):
    monkeypatch.setenv("CI", "false")
    out = tmp_path / "out"
    code, printed, err = ntkit(*debias(user, out), "--browser", "--idle", "0")
    assert (code, printed) == (3, f"Nobody answered. Continue: ntkit open {out}\n")
    assert urlsplit(err.split()[3]).hostname == "127.0.0.1"
    files = {path.name for path in out.iterdir()}
    assert {"audit.html", "run.json"} <= files
    assert not {"answers.json", "report.html"} & files
    assert not [*out.glob("**/*.onnx")]
    code, printed, _ = ntkit("open", out, "--idle", "0")  # the line that it printed
    assert (code, printed) == (3, f"Nobody answered. Continue: ntkit open {out}\n")
    assert {path.name for path in out.iterdir()} == files


def test_questions_on_samples_that_nobody_answers_end_open_too(user, tmp_path, monkeypatch):
    monkeypatch.setenv("CI", "false")
    model, train = user / "model.onnx", user / "train.npz"
    code, _, err = ntkit(
        "label", model, train, "-o", tmp_path / "out", "--question", "Is it 1?", "--browser",
        "--idle", "0", "--quiet",
    )  # fmt: skip
    assert code == 3, err
    assert not [*tmp_path.glob("out/labels*.csv")]


@pytest.mark.more
def test_a_demo_that_nobody_answers_ends_open_too(tmp_path):
    code, printed, err = ntkit("demo", "--browser", "--idle", "0", "-o", tmp_path / "out")
    assert (code, "Nobody answered." in printed) == (3, True), err
    assert not [*tmp_path.glob("**/*.onnx")]
