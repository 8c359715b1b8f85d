"""A headless Chromium that is told what to do by its own protocol, over a pipe: keys, and what is asked."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "End": ("End", 35, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}


class Browser:
    """One page in one browser; close it, or use it as a context."""

    def __init__(self, program: str, arguments: list[str], folder: Path) -> None:
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        self.problems: list[str] = []

        def given() -> None:  # the protocol's descriptors are 3 and 4
            kept = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(kept[0], 3)
            os.dup2(kept[1], 4)

        profile = f"--user-data-dir={folder / 'profile'}"
        self._process = subprocess.Popen(
            [program, *arguments, profile, "--remote-debugging-pipe", "--window-size=1400,900"],
            preexec_fn=given,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number, self._rest, self._session = 0, b"", None
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.do("Page.enable")
        self.do("Log.enable")
        self.do("Runtime.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)
        os.close(self._from)
        self._process.kill()
        self._process.wait()

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command."""
        self._number += 1
        said: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            said["sessionId"] = self._session
        os.write(self._to, json.dumps(said).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._from, 1 << 16)
            assert more, "the browser has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        answer = json.loads(line)
        if answer.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
            self.problems.append(json.dumps(answer["params"])[:500])
        return answer

    def open(self, page: Path) -> None:
        """Load a page, to its end."""
        self.do("Page.navigate", url=page.as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        found = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after the other: by their names, or texts that are typed."""
        for key in keys:
            if key in KEYS:
                name, code, text = KEYS[key]
                said = {"key": name, "code": name, "windowsVirtualKeyCode": code, "text": text}
                self.do("Input.dispatchKeyEvent", type="keyDown", **said)
                self.do("Input.dispatchKeyEvent", type="keyUp", **said)
                continue
            for letter in key:
                self.do("Input.dispatchKeyEvent", type="keyDown", key=letter, text=letter)
                self.do("Input.dispatchKeyEvent", type="keyUp", key=letter)

    def tab_to(self, test: str, most: int = 60) -> None:
        """Press Tab until the focused element passes a test of JavaScript on `e`."""
        for _ in range(most):
            self.press("Tab")
            if self.ask(f"(e => {test})(document.activeElement)"):
                return
        raise AssertionError(f"no Tab leads to {test}")
