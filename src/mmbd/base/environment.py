"""Where figures were made: versions and the machine, to be kept beside every figure."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import scipy
import torch

from mmbd.base.version import __version__


@cache
def environment() -> dict[str, str]:
    """Versions, the processor and how many of it, and the GPU where there is one."""
    found = {
        "mmbd": __version__,
        "torch": torch.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": f"{_processor()}, {os.cpu_count()} cores",
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
