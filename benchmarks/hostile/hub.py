"""Imports what a hub's loader takes seconds to import in every child; see `loaders.MODULES`."""

from __future__ import annotations

from importlib import import_module

from mmbd.formats.networks.shim import torchvision_usable

torchvision_usable()
import_module("transformers.models.vit.modeling_vit")
