"""The settings of a search as one comparable text: numbers compare where it agrees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from mmbd.search import marks
from mmbd.search.ascent import Ascent
from mmbd.search.universal_data_free import Search

# Below this many classes a model's own statistics tell too little of each other.
MIN_CLASSES = 5


def margins_key(method: str, settings: Mapping[str, Any]) -> str:
    """Method and settings of a search for margins as one comparable text.

    Settings at their defaults are left out, so that a new one voids no table and no reference.
    """
    return json.dumps([method, _without_defaults(settings, Ascent)], sort_keys=True)


def gains_key(settings: Mapping[str, Any]) -> str:
    """The settings of a search for universal perturbations, as `margins_key`."""
    return json.dumps(_without_defaults(settings, Search), sort_keys=True)


def marks_key(search: marks.Search) -> str:
    """The settings of a search for marks on made-up inputs as one comparable text: all of them."""
    return json.dumps(asdict(search), sort_keys=True)


def joint_key(margins: str, gains: str) -> str:
    """The settings of both searches as one text."""
    return json.dumps([margins, gains])


def comparable(key: str) -> str:
    """A key as the functions above write it now, whichever defaults it was written with."""
    try:
        found: Any = json.loads(key)
        match found:
            case [str(method), dict(settings)]:
                return margins_key(method, settings)
            case [str(margins), str(gains)]:
                return joint_key(comparable(margins), comparable(gains))
            case dict():
                return gains_key(found)
            case _:
                return key
    except ValueError:  # a text of the user's own
        return key


def _without_defaults(settings: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    defaults = {item.name: item.default for item in fields(kind)}
    return {name: value for name, value in settings.items() if value != defaults.get(name, ...)}
