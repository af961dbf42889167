"""Chromium without a window, driven by its own protocol over two pipes: no driver, no port."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # as root, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-pipe",
)
CODES = {"Enter": 13, "Tab": 9, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
PATIENCE = 600  # seconds until a condition counts as never true; a busy machine takes some
WIDE = """[...document.querySelectorAll("main *, .bar *")].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width && (box.right > innerWidth + 1 || box.left < -1);
}).map((e) => e.outerHTML.slice(0, 80))"""
INJECT = """document.body.insertAdjacentHTML("beforeend",
    `<img src="x" onerror="window.hacked = 5"><img src="http://127.0.0.1:9/a.png">`);
    const script = document.createElement("script");
    script.textContent = "window.hacked = 6";
    document.body.append(script);
    fetch("http://127.0.0.1:9/").catch(() => {});"""


def found():
    """Chromium's program; None where there is none. NTKIT_CHROMIUM names another."""
    named = os.environ.get("NTKIT_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


class NavigatedError(Exception):
    """The page that was asked went away for another one."""


def until(condition):
    """Wait for a condition; its value. A page that goes away fulfils none."""
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(NavigatedError):
            if value := condition():
                return value
        assert time.monotonic() < end, f"not true within {PATIENCE} s"
        time.sleep(0.05)


def _above(descriptor):
    """The same pipe under a number that no other use wants."""
    import fcntl  # not everywhere

    higher = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return higher


class Browser:
    """A running Chromium; its commands are those of the DevTools protocol."""

    def __init__(self, profile):
        to_it, self._write = os.pipe()
        self._read, from_it = os.pipe()
        to_it, from_it = _above(to_it), _above(from_it)
        # It reads commands from descriptor 3 and writes answers to 4.
        start = f"import os, sys; os.dup2({to_it}, 3); os.dup2({from_it}, 4); "
        start += "os.execv(sys.argv[1], sys.argv[1:])"
        chromium = [found(), *FLAGS, f"--user-data-dir={profile}"]
        program = [sys.executable, "-c", start, *chromium]
        self._process = subprocess.Popen(
            program,
            pass_fds=(to_it, from_it),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_it)
        os.close(from_it)
        self._number, self._answers, self.events = 0, {}, []
        self.news = threading.Condition()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self):
        rest = b""
        while part := os.read(self._read, 1 << 16):
            *messages, rest = (rest + part).split(b"\0")
            with self.news:
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers[message["id"]] = message
                    else:
                        self.events.append(message)
                self.news.notify_all()

    def send(self, method, session=None, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        number = self._number
        with self.news:
            assert self.news.wait_for(lambda: number in self._answers, PATIENCE), method
            answer = self._answers.pop(number)
        if "navigated or closed" in answer.get("error", {}).get("message", ""):
            raise NavigatedError
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def event(self, method, session, values):
        """The first event of a kind with these values, waited for."""

        def got():
            return any(
                e["method"] == method
                and e.get("sessionId") == session
                # It may have more values.
                and e["params"] == e["params"] | values
                for e in self.events
            )

        with self.news:
            assert self.news.wait_for(got, PATIENCE), method

    def close(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        self._reader.join(PATIENCE)
        os.close(self._read)

    @contextmanager
    def page(self, url, width=1100, height=800, downloads=None):
        """A tab that has loaded a page, in a profile of its own: no page was there before."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        own = {"browserContextId": context}
        target = self.send("Target.createTarget", url="about:blank", **own)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.send(f"{domain}.enable")
        page.send("Page.setLifecycleEventsEnabled", enabled=True)
        page.resize(width, height)
        if downloads:
            save = {"behavior": "allow", "downloadPath": str(downloads)}
            self.send("Browser.setDownloadBehavior", **save, **own)
        page.go(url)
        try:
            yield page
        finally:
            self.send("Target.disposeBrowserContext", **own)


class Page:
    """A tab."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def send(self, method, **params):
        return self.browser.send(method, self.session, **params)

    def _mine(self, method):
        with self.browser.news:
            events = [*self.browser.events]
        of_page = (e for e in events if e.get("sessionId") == self.session)
        return [e["params"] for e in of_page if e["method"] == method]

    def go(self, url):
        """Load a page, or the same once more."""
        self.url = url
        loader = self.send("Page.navigate", url=url)["loaderId"]
        self.browser.event(
            "Page.lifecycleEvent", self.session, {"name": "load", "loaderId": loader}
        )

    def reload(self):
        """Load the page once more, as a person does who presses the key for it."""
        frame = self.send("Page.getFrameTree")["frameTree"]["frame"]

        def loads():
            events = self._mine("Page.lifecycleEvent")
            return sum(e["frameId"] == frame["id"] and e["name"] == "load" for e in events)

        before = loads()
        self.send("Page.reload")
        until(lambda: loads() > before)

    def reload_until(self, condition):
        """Load the page again until it is as wanted: the browser keeps storage a moment later."""

        def reloaded():
            self.go(self.url)
            return condition()

        until(reloaded)

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        until(lambda: self.run("[innerWidth, innerHeight]") == [width, height])

    def run(self, expression):
        """The value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, *keys):
        """Press keys, one after another: a letter, a digit, or a name as ArrowRight."""
        for key in keys:
            code = CODES.get(key)
            code = ord(key.upper()) if code is None and len(key) == 1 else code or 0
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            down = {"type": "keyDown" if text else "rawKeyDown", "key": key, "text": text}
            common = {"windowsVirtualKeyCode": code}
            self.send("Input.dispatchKeyEvent", **{**down, **common})
            self.send("Input.dispatchKeyEvent", type="keyUp", key=key, **common)

    @property
    def requests(self):
        """Addresses of all that was asked for."""
        return [params["request"]["url"] for params in self._mine("Network.requestWillBeSent")]

    @property
    def complaints(self):
        """Errors that the browser logged, such as what the page's policy forbade."""
        logged = [p["entry"]["text"] for p in self._mine("Log.entryAdded")]
        thrown = [p["exceptionDetails"]["text"] for p in self._mine("Runtime.exceptionThrown")]
        return logged + thrown

    @property
    def forbidden(self):
        """Number of complaints about what the page's policy forbade."""
        return sum("Content Security Policy" in text for text in self.complaints)


def downloaded(folder, name):
    """A file that a page saves, waited for."""
    path = folder / name
    until(lambda: path.exists() and not [*folder.glob("*.crdownload")] and path.stat().st_size)
    return path


def read_aloud(page):
    """Role and name of all that a screen reader reads."""
    page.send("Accessibility.enable")
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    seen = [node for node in tree if not node["ignored"]]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in seen]
