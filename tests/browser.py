"""A headless Chromium without a network, driven over its debugging pipe."""

import base64
import contextlib
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",  # as root it starts no other way
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing outside this machine has an address
    "--window-size=1200,800",
    "--remote-debugging-pipe",
)
CHILD_READS, CHILD_WRITES = 3, 4
"""The file descriptors over which Chromium speaks when it is debugged by a pipe."""


class Chromium:
    """One browser with one page.

    Parameters
    ----------
    executable : str
        Chromium's.
    profile : Path
        A new folder.
    """

    def __init__(self, executable: str, profile: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self._unread, self._last, self._session = b"", 0, ""
        to_child, self._to = os.pipe()
        self._from, from_child = os.pipe()

        def hand_over() -> None:
            # Moved out of the way first: either may already have the other's number.
            read, written = os.dup(to_child), os.dup(from_child)
            while min(read, written) <= CHILD_WRITES:
                read, written = os.dup(read), os.dup(written)
            os.dup2(read, CHILD_READS)
            os.dup2(written, CHILD_WRITES)

        self._process = subprocess.Popen(
            [executable, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,  # descriptors that Python made are not inherited anyhow
            preexec_fn=hand_over,
        )
        os.close(to_child)
        os.close(from_child)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            self._session = ""
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the DevTools protocol and return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self._from, 1 << 16)
            if not part:
                raise EOFError("Chromium has ended")
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))

    def open(self, address: str) -> None:
        """Load a page afresh, also where only the part behind # changes."""
        self.call("Page.navigate", url="about:blank")
        self.wait_for("location.href == 'about:blank' && document.readyState == 'complete'")
        self.events.clear()
        self.call("Page.navigate", url=address)
        self.wait_for("location.href != 'about:blank' && document.readyState == 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of JavaScript in the page, or fail with what it threw."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 20.0) -> None:
        """Return as soon as JavaScript in the page gives something true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"not within {seconds} s: {expression}; the page is "
                    f"{self.evaluate('location.href')} and threw {self.thrown()}"
                )
            time.sleep(0.05)

    def requested(self) -> list[str]:
        """Return the addresses that the page has asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def thrown(self) -> list[str]:
        """Return the errors that the page's scripts did not catch."""
        return [
            event["params"]["exceptionDetails"]["exception"]["description"]
            for event in self.events
            if event["method"] == "Runtime.exceptionThrown"
        ]

    def screenshot(self, path: Path) -> None:
        """Write what the page looks like, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
