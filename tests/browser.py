"""A real browser for tests: headless Chromium, driven through chromedriver's WebDriver protocol."""

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]


class Browser:
    """One page; use as a context manager."""

    def __init__(self, profile: Path) -> None:
        chromium = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
        driver = shutil.which("chromedriver")
        if chromium is None or driver is None:
            pytest.skip("no chromium and chromedriver on PATH (Debian: apt-get install chromium chromium-driver)")
        self._options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        self._driver = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Browser":
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                self._address = f"http://127.0.0.1:{found[1]}/session"
                break
        else:
            pytest.fail("chromedriver did not start")
        capabilities = {"goog:chromeOptions": self._options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self._call("", {"capabilities": {"alwaysMatch": capabilities}})
        self._address += f"/{answer['sessionId']}"
        return self

    def __exit__(self, *_: object) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(self._address, method="DELETE"), timeout=20)
        finally:
            self._driver.terminate()
            self._driver.wait(10)

    def _call(self, path: str, content: dict) -> Any:
        request = urllib.request.Request(
            self._address + path, json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, file: Path) -> None:
        """Load a file from disk."""
        self._call("/url", {"url": file.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """What ``script`` (the body of a function) returns."""
        return self._call("/execute/sync", {"script": script, "args": []})

    def devtools(self, command: str, **arguments: Any) -> Any:
        """One command of Chrome's own protocol."""
        return self._call("/goog/cdp/execute", {"cmd": command, "params": arguments})

    def messages(self) -> list[str]:
        """Warnings and errors on the console since the last call."""
        entries = self._call("/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def size(self, width: int, height: int) -> None:
        """Set the size of the viewport in CSS pixels."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Save what is seen, or the whole page, as PNG."""
        answer = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _clip(self, whole: bool) -> dict:
        if not whole:
            return {}
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
