"""A real Chromium without a window, asked over a pipe by its own protocol (DevTools)."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import tool

_SECONDS = 60
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root, and open their own files alone
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Browser:
    """One page. What it asks for and what it complains of is kept."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, of: int) -> None:
        self._process, self._to, self._of = process, to, of
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._of], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._of, 1 << 20) if ready else b""
            assert data, f"chromium says nothing, or is gone: {self._process.poll()}"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Page.javascriptDialogOpening":
                self.complaints.append(json.dumps(params))

    def start(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, *, width: int, scheme: str = "light", media: str = "") -> None:
        """Load a file in a window of that width and a colour scheme, and wait until it is complete."""
        self.requests, self.complaints = [], []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        self.call("Page.navigate", url=path.as_uri())
        end = time.monotonic() + _SECONDS
        while self.value("document.readyState + location.href") != "complete" + path.as_uri():
            assert time.monotonic() < end, "the page is never complete"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, (expression, result)
        return result["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=9)

    def screenshot(self, path: Path) -> None:
        """The whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own, which is gone afterwards."""
    program = tool("chromium")
    to_read, to_write = os.pipe()
    of_read, of_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The protocol's pipes are 3 and 4.
        command = f"exec {program} {' '.join(_FLAGS)} --user-data-dir={profile} about:blank 3<&{to_read} 4>&{of_write}"
        environment = {**os.environ, "HOME": profile}
        process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(to_read, of_write), stderr=subprocess.DEVNULL, env=environment
        )
        os.close(to_read)
        os.close(of_write)
        try:
            page = Browser(process, to_write, of_read)
            page.start()
            yield page
        finally:
            process.kill()
            process.wait()
            os.close(to_write)
            os.close(of_read)
