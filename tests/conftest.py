"""Settings of all tests: one thread, and property tests that do not depend on the clock."""

from __future__ import annotations

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("mmbd", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("mmbd")
