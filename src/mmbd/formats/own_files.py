"""Files that mmbd writes beside models: tensors in safetensors, and JSON in the `mmbd` metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.reading import finite_number, said
from mmbd.base.text import clean_text
from mmbd.formats import files, table
from mmbd.formats.format import Contents


def contents(path: Path) -> Contents:
    """What a safetensors file holds; Failed or Refused for any other."""
    file = files.read(path)
    if file.kind != "safetensors":
        raise Failed(f"expected a safetensors file, found {file.kind}")
    return table.contents(file.data, file.kind)


def metadata(text: str | None) -> Any:
    """The JSON of a file's own metadata, with finite numbers alone; None where there is none."""
    try:
        return json.loads(
            "null" if text is None else text, parse_constant=finite_number, parse_float=finite_number
        )
    except (ValueError, RecursionError) as error:
        words = "nested too deeply" if isinstance(error, RecursionError) else said(error)
        raise Failed(f"the mmbd metadata is not JSON: {clean_text(words)}") from None
