"""The page in a real headless Chromium: it renders, the console stays silent, nothing is fetched.

Every check comes with a page that fails it, so that a browser that reports nothing is no proof.
"""

from __future__ import annotations

import html as escape
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from mmbd.render.page import html
from render import examples

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-default-apps", "--disable-domain-reliability", "--no-pings", "--disable-dev-shm-usage", "--disable-features=OptimizationHints,MediaRouter,Translate,NetworkTimeServiceQuerying", "--enable-logging=stderr", "--v=0"]

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium on this machine; install Debian's package `chromium` to run these tests",
)


@dataclass(frozen=True)
class Visit:
    """What a headless visit left: the document after loading, console lines, connections."""

    document: str
    console: list[str]
    connections: list[bytes]


@contextmanager
def recorder() -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that answers nothing and writes down the first bytes of whoever calls."""
    calls: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    caller, _ = server.accept()
                except TimeoutError:
                    continue
                with caller:
                    caller.settimeout(2)
                    try:
                        calls.append(caller.recv(200))
                    except TimeoutError:
                        calls.append(b"")

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield server.getsockname()[1], calls
        finally:
            stop.set()
            thread.join()


def visit(page: str, folder: Path, *arguments: str) -> Visit:
    """Load a page from a file; every request of the browser goes to the recorder."""
    assert CHROMIUM is not None
    folder.mkdir(exist_ok=True)
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    with recorder() as (port, calls):
        proxy = [f"--proxy-server=127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>"]
        done = subprocess.run(
            [CHROMIUM, *FLAGS, *proxy, f"--user-data-dir={folder / 'profile'}", *arguments,
             "--dump-dom", file.as_uri()],
            capture_output=True, timeout=90, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    log = done.stderr.decode("utf-8", "replace")
    console = [row for row in log.splitlines() if "CONSOLE" in row]
    return Visit(done.stdout.decode("utf-8", "replace"), console, list(calls))


def shot(page: str, folder: Path, width: int, height: int, *arguments: str) -> Image.Image:
    """A picture of the page."""
    assert CHROMIUM is not None
    folder.mkdir(exist_ok=True)
    file, picture = folder / "page.html", folder / "page.png"
    file.write_text(page, encoding="utf-8")
    subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments,
         f"--window-size={width},{height}", f"--screenshot={picture}", file.as_uri()],
        capture_output=True, timeout=90, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    with Image.open(picture) as image:
        return image.convert("RGB")


def share(image: Image.Image, colour: str) -> float:
    """The share of pixels that have exactly this colour."""
    wanted = tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))
    colours = image.getcolors(maxcolors=image.width * image.height) or []
    found = sum(count for count, pixel in colours if pixel == wanted)
    return found / (image.width * image.height)


@pytest.mark.parametrize("name", ["backdoored", "hostile", "thousand", "sounds", "not_evaluable"])
def test_the_page_loads_without_an_error_or_a_request(name: str, tmp_path: Path):
    report = examples.ALL[name]()
    seen = visit(html(report), tmp_path / name)
    assert seen.console == []
    assert seen.connections == []
    assert "</html>" in seen.document
    assert "<script" not in seen.document.lower()
    assert f'<h1 id="verdict">{report.verdict.capitalize()}</h1>' in seen.document


def test_the_checks_would_notice(tmp_path: Path):
    page = html(examples.clean())
    forged = '<img src="http://example.invalid/x.png"><script>document.title = "run"</script>'
    # With the policy in place nothing gets out and nothing runs, but the console reports both.
    stopped = visit(page.replace("</main>", forged + "</main>"), tmp_path / "stopped")
    assert stopped.connections == []
    assert len(stopped.console) == 2
    assert all("Content Security Policy" in row for row in stopped.console)
    assert "<title>run</title>" not in stopped.document
    # Without it, the request arrives and the script runs.
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    loose = visit(open_page.replace("</main>", forged + "</main>"), tmp_path / "loose")
    assert any(b"example.invalid" in call for call in loose.connections)
    assert "<title>run</title>" in loose.document


def test_the_style_is_applied_light_and_dark(tmp_path: Path):
    page = html(examples.backdoored())
    light = shot(page, tmp_path / "light", 1000, 900)
    dark = shot(page, tmp_path / "dark", 1000, 900, "--force-dark-mode")
    assert share(light, "#ffffff") > 0.3  # cards
    assert share(light, "#fdf1f0") > 0.1  # the verdict's tint
    assert share(dark, "#1a2027") > 0.3
    assert share(dark, "#ffffff") < 0.01


def test_the_inputs_are_drawn_pixel_by_pixel(tmp_path: Path):
    report = examples.backdoored()
    image = shot(html(report), tmp_path / "inputs", 1000, 2600)
    pixel = (report.inputs[3] * 255).round().to(int)[:, 0, 0].tolist()
    wanted = "#" + "".join(f"{channel:02x}" for channel in pixel)
    # The upper left pixel of the enlarged input is a square of 7 x 7 pixels of one colour.
    assert round(share(image, wanted) * image.width * image.height) >= 45


@pytest.mark.parametrize("name", ["backdoored", "thousand", "hostile", "reference", "vectors"])
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_no_width_scrolls_sideways(name: str, width: int, tmp_path: Path):
    # A frame of that width, its policy taken out so that a script can measure it.
    page = html(examples.ALL[name]())
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    frame = (
        f'<iframe width="{width}" height="800" srcdoc="{escape.escape(page)}"></iframe>'
        "<script>onload = () => {"
        "  const root = document.querySelector('iframe').contentDocument.documentElement;"
        "  document.title = root.scrollWidth + ' of ' + root.clientWidth"
        "}</script>"
    )
    seen = visit(frame, tmp_path / "frame")
    measured = re.search(r"<title>(\d+) of (\d+)</title>", seen.document)
    assert measured is not None
    inside, outside = map(int, measured.groups())
    assert outside == width
    assert inside <= outside
