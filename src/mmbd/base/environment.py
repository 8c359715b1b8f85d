"""Where figures were made: versions and the machine, to be kept beside every figure."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import scipy
import torch

from mmbd.base.version import __version__


def versions() -> dict[str, str]:
    """The versions that a result depends on: mmbd, torch and python."""
    return {"mmbd": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


def hardware(device: str) -> dict[str, Any]:
    """A device and its name, and how many processor cores there are and threads are used."""
    chosen = torch.device(device)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else processor()
    return {"device": device, "name": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()}


@cache
def environment() -> dict[str, str]:
    """Versions, the processor and how many of it, and the GPU where there is one."""
    found = versions() | {
        "scipy": scipy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": f"{processor()}, {os.cpu_count()} cores",
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


@cache
def processor() -> str:
    """What the maker calls the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine() or "unknown processor"
