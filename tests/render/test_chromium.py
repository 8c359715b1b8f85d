"""The page in a real headless Chromium: it renders, the console stays silent, nothing is fetched.

Every check comes with a page that fails it, so that a browser that reports nothing is no proof.
"""

from __future__ import annotations

import html as escape
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from helpers import example_reports
from mmbd.render.report_page import html

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-extensions",
    "--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars",
    "--disable-dev-shm-usage --enable-logging=stderr --v=0",
    # Nothing leaves the machine: no proxy answers at this port.
    "--proxy-server=127.0.0.1:9 --proxy-bypass-list=<-loopback>",
)
ARGUMENTS = " ".join(FLAGS).split()

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium on this machine; install Debian's package `chromium` to run these tests",
)


@dataclass(frozen=True)
class Visit:
    """What a headless visit left: the document after loading, console lines, URLs asked for."""

    document: str
    console: list[str]
    requests: list[str]


def chromium(page: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Load a page from a file in `folder`, with a fresh profile."""
    assert CHROMIUM is not None
    folder.mkdir(exist_ok=True)
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    return subprocess.run(
        [CHROMIUM, *ARGUMENTS, profile, *arguments, file.as_uri()],
        capture_output=True,
        timeout=600,
        check=True,
        stdin=subprocess.DEVNULL,
    )


def visit(page: str, folder: Path) -> Visit:
    """Load a page and listen in on its console and on the network stack."""
    log = folder / "network.json"
    done = chromium(page, folder, "--dump-dom", f"--log-net-log={log}")
    found = json.loads(log.read_text(encoding="utf-8"))
    started = found["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    requests = [
        event["params"]["url"]
        for event in found["events"]
        if event["type"] == started
        and "url" in event.get("params", {})
        # The browser asks for updates and the time on its own account, for no page.
        and event["params"].get("initiator") != "not an origin"
    ]
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    console = [line for line in lines if "CONSOLE" in line]
    return Visit(done.stdout.decode("utf-8", "replace"), console, requests)


def shot(page: str, folder: Path, width: int, height: int, *arguments: str) -> Image.Image:
    """A picture of the page."""
    picture = folder / "page.png"
    window = f"--window-size={width},{height}"
    chromium(page, folder, *arguments, window, f"--screenshot={picture}")
    with Image.open(picture) as image:
        return image.convert("RGB")


def share(image: Image.Image, colour: str) -> float:
    """The share of pixels that have exactly this colour."""
    wanted = tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))
    colours = image.getcolors(maxcolors=image.width * image.height) or []
    found = sum(count for count, pixel in colours if pixel == wanted)
    return found / (image.width * image.height)


@pytest.mark.parametrize(
    "name", ["backdoored", "hostile", "thousand", "sounds", "neural_cleanse", "pairs", "stretch", "window"]
)
def test_the_page_loads_without_an_error_or_a_request(name: str, tmp_path: Path):
    report = example_reports.ALL[name]()
    seen = visit(html(report), tmp_path / name)
    assert seen.console == []
    assert seen.requests == []
    assert "</html>" in seen.document
    assert "<script" not in seen.document.lower()
    assert f'<h1 id="verdict">{report.verdict.capitalize()}</h1>' in seen.document


def test_the_checks_would_notice(tmp_path: Path):
    page = html(example_reports.clean())
    forged = '<img src="http://example.invalid/x.png"><script>document.title = "run"</script>'
    # With the policy in place nothing gets out and nothing runs, but the console reports both.
    stopped = visit(page.replace("</main>", forged + "</main>"), tmp_path / "stopped")
    assert stopped.requests == []
    assert len(stopped.console) == 2
    assert all("Content Security Policy" in row for row in stopped.console)
    assert "<title>run</title>" not in stopped.document
    # Without it, the request arrives and the script runs.
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    loose = visit(open_page.replace("</main>", forged + "</main>"), tmp_path / "loose")
    assert loose.requests == ["http://example.invalid/x.png"]
    assert "<title>run</title>" in loose.document


def test_the_style_is_applied_light_and_dark(tmp_path: Path):
    page = html(example_reports.backdoored())
    light = shot(page, tmp_path / "light", 1000, 900)
    dark = shot(page, tmp_path / "dark", 1000, 900, "--force-dark-mode")
    assert share(light, "#ffffff") > 0.3  # cards
    assert share(light, "#fdf1f0") > 0.1  # the verdict's tint
    assert share(dark, "#1a2027") > 0.3
    assert share(dark, "#ffffff") < 0.01


def test_the_inputs_are_drawn_pixel_by_pixel(tmp_path: Path):
    report = example_reports.backdoored()
    image = shot(html(report), tmp_path / "inputs", 1000, 2600)
    tensor = next(one.tensor for one in report.finding.artifacts if one.label == 3)
    pixel = (tensor * 255).round().to(int)[:, 9, 20].tolist()
    wanted = "#" + "".join(f"{channel:02x}" for channel in pixel)
    # Any pixel of the enlarged input is a square of 7 x 7 pixels of one colour.
    assert round(share(image, wanted) * image.width * image.height) >= 49


@pytest.mark.parametrize(
    "name",
    [
        "thousand",
        "hostile",
        "reference",
        "vectors",
        "many_columns",
        "neural_cleanse",
        "many_pairs",
        "hostile_shown",
        "ball",
    ],
)
def test_no_width_scrolls_sideways(name: str, tmp_path: Path):
    # In frames of these widths, the policy taken out so that a script can measure them.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html(example_reports.ALL[name]()))
    widths = (320, 375, 768, 1280)
    frames = [f'<iframe width="{width}" srcdoc="{escape.escape(page)}"></iframe>' for width in widths]
    script = (
        "<script>onload = () => {"
        "  const root = frame => frame.contentDocument.documentElement;"
        "  const sizes = frame => [root(frame).clientWidth, root(frame).scrollWidth];"
        "  document.title = JSON.stringify([...document.querySelectorAll('iframe')].map(sizes))"
        "}</script>"
    )
    seen = visit("".join(frames) + script, tmp_path / "frames")
    measured = re.search(r"<title>(.*)</title>", seen.document)
    assert measured is not None
    assert json.loads(measured[1]) == [[width, width] for width in widths]
