"""A real browser, headless: Chromium, spoken to in its own protocol (the DevTools Protocol) by a pair of pipes.

    with Browser() as browser:
        page = browser.open("http://127.0.0.1:9600/", width=360, height=740, dark=True)
        page.run("document.title")             # JavaScript, and what it gives
        page.until("document.title === 'x'")   # waits for it to be true
        page.picture("build/page/x.png")
        page.complaints, page.requests         # what the console says; the addresses that were asked for
"""
import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

from tools import SLOW

PROGRAM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
LIMIT = 60 * SLOW  # seconds for one answer

# The browser reads commands from descriptor 3, and answers on 4.
LAUNCH = "import os, sys; r, w = map(int, sys.argv[1:3]); os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"


class Browser:
    def __init__(self):
        self._folder = tempfile.mkdtemp(prefix="browser-")
        ours, theirs = os.pipe(), os.pipe()  # each (read, write); what the browser gets lies above 3 and 4
        read, write = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (ours[0], theirs[1]))
        command = [PROGRAM, "--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--hide-scrollbars",
                   "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
                   f"--user-data-dir={self._folder}"]  # fmt: skip
        if os.getuid() == 0:
            command.append("--no-sandbox")
        self._log = open(os.path.join(self._folder, "log"), "wb")
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-c", LAUNCH, str(read), str(write), *command], pass_fds=(read, write), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env={**os.environ, "HOME": self._folder})  # fmt: skip
        for end in (read, write, ours[0], theirs[1]):
            os.close(end)
        self._to, self._from = ours[1], theirs[0]
        self._buffer, self._number, self._pages = b"", 0, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._to)  # it ends when nobody speaks to it
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._from)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, url, **look):
        """A page of its own; `look` as in Page.look."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.look(**look)
        page.go(url)
        return page

    def call(self, method, parameters=None, session=None):
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + LIMIT
        while True:
            answer = self._next(end, method)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self, end, what):
        while b"\0" not in self._buffer:
            ready = select.select([self._from], [], [], max(0, end - time.monotonic()))[0]
            more = os.read(self._from, 1 << 20) if ready else b""
            assert more, f"{what}: no answer of {PROGRAM}\n{self._said()}"
            self._buffer += more
        text, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(text)
        if message.get("sessionId") in self._pages and "method" in message:
            self._pages[message["sessionId"]]._heard(message["method"], message["params"])
        return message

    def _said(self):
        with open(os.path.join(self._folder, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()[-3000:]


class Page:
    def __init__(self, browser, session, target):
        self._browser, self._session, self._target = browser, session, target
        self.complaints, self.requests = [], []

    def call(self, method, parameters=None):
        return self._browser.call(method, parameters, self._session)

    def close(self):
        self._browser.call("Target.closeTarget", {"targetId": self._target})

    def _heard(self, method, said):
        if method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([a.get("value", a.get("description")) for a in said["args"]]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(said["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])

    def look(self, width=1280, height=900, dark=False, zone="Europe/Berlin"):
        """How the page is looked at. Every width has a device's own pixels: pictures are as large as that."""
        self.call("Emulation.setDeviceMetricsOverride",
                  {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})  # fmt: skip
        self.call("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        self.call("Emulation.setTimezoneOverride", {"timezoneId": zone})

    def go(self, url):
        done = self.call("Page.navigate", {"url": url})
        assert "errorText" not in done, f"{url}: {done['errorText']}"
        self.until("document.readyState === 'complete'")

    def run(self, script):
        """What the script gives, once it is there if it is a promise."""
        done = self.call("Runtime.evaluate", {"expression": script, "awaitPromise": True, "returnByValue": True})
        assert "exceptionDetails" not in done, f"{script}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def until(self, condition, timeout=30):
        end = time.monotonic() + timeout * SLOW
        while True:
            value = self.run(condition)
            if value:
                return value
            assert time.monotonic() < end, f"not within {timeout * SLOW} s: {condition}\n{self.text()}"
            time.sleep(0.05)

    def text(self, selector="body"):
        """What a reader sees, of the first element that is meant, or None."""
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText")

    def texts(self, selector):
        """Likewise, of all that can be seen."""
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].filter(e => e.checkVisibility()).map(e => e.innerText)")

    def key(self, name):
        """A key is pressed and let go: Tab, Enter, ArrowLeft, ..."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
        key = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **({"text": "\r"} if name == "Enter" else {}), **key})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **key})

    def point(self, x, y):
        self.call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})

    def picture(self, path):
        """The whole page as a PNG."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 6000), "scale": 1}
        shot = self.call("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        with open(path, "wb") as f:
            f.write(base64.b64decode(shot["data"]))
