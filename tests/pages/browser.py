"""Chromium without a window, driven by its own protocol over two pipes: no driver, no port."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

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
PATIENCE = 60  # seconds
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
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self):
        rest = b""
        while part := os.read(self._read, 1 << 16):
            *messages, rest = (rest + part).split(b"\0")
            with self._news:
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers[message["id"]] = message
                    else:
                        self.events.append(message)
                self._news.notify_all()

    def send(self, method, session=None, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        number = self._number
        with self._news:
            assert self._news.wait_for(lambda: number in self._answers, PATIENCE), method
            answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def event(self, name, session):
        """The first event of a kind, waited for."""

        def got():
            events = self.events
            return next((e for e in events if e["method"] == name and e["sessionId"] == session), 0)

        with self._news:
            assert self._news.wait_for(got, PATIENCE), name
            return got()["params"]

    def close(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        self._reader.join(PATIENCE)
        os.close(self._read)

    @contextmanager
    def page(self, url, width=1100, height=800, downloads=None, clear=False):
        """A tab that has loaded a page, perhaps as if for the first time."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.send(f"{domain}.enable")
        page.resize(width, height)
        if downloads:
            self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        page.go(url)
        if clear:
            page.clear()
        try:
            yield page
        finally:
            self.send("Target.closeTarget", targetId=target)


class Page:
    """A tab."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def send(self, method, **params):
        return self.browser.send(method, self.session, **params)

    def _mine(self, method):
        events = [*self.browser.events]
        return [
            e["params"] for e in events if e["method"] == method and e["sessionId"] == self.session
        ]

    def go(self, url=None):
        """Load a page, or the same once more; that it is there is seen by its own document."""
        self.browser.events[:] = [
            e for e in self.browser.events if e.get("method") != "Page.loadEventFired"
        ]
        if url is None:
            self.send("Page.reload")
        else:
            self.send("Page.navigate", url=url)
        self.browser.event("Page.loadEventFired", self.session)

    reload = go

    def clear(self):
        """Forget what the browser kept of pages; what an earlier test kept may be on its way."""
        while self.run("localStorage.clear(); localStorage.length"):
            pass
        self.reload()

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def run(self, expression):
        """The value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, *keys):
        """Press keys, one after another: a letter, a digit, or a name as ArrowRight."""
        for key in keys:
            code = {"Enter": 13, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, " ": 32}.get(key)
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


def downloaded(folder, name):
    """A file that a page saves, waited for."""
    path = folder / name
    for _ in range(PATIENCE * 20):
        if path.exists() and not [*folder.glob("*.crdownload")] and path.stat().st_size:
            return path
        time.sleep(0.05)
    raise AssertionError(f"{name} was not saved; there are {[*folder.iterdir()]}")


def read_aloud(page):
    """Role and name of all that a screen reader reads."""
    page.send("Accessibility.enable")
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    seen = [node for node in tree if not node["ignored"]]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in seen]
