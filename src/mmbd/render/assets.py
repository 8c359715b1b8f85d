"""What every page is made with: its style sheet, its security policy, its template."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template


def asset(name: str) -> str:
    """A text file of this package."""
    return files("mmbd.render").joinpath(name).read_text(encoding="utf-8")


def policy(css: str, sounds: bool = False, script: str = "") -> str:
    """A content security policy that allows this one style sheet and embedded pictures, no more.

    Args:
        css: the style sheet.
        sounds: whether the page has sounds embedded, which it then allows too.
        script: the one script that it allows, if any.
    """
    heard = " media-src data:;" if sounds else ""
    run = f" script-src {_hash(script)};" if script else ""
    return (
        f"default-src 'none'; img-src data:;{heard}{run} style-src {_hash(css)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def template(name: str) -> Template:
    """A template that escapes whatever is put in, and knows no undefined names."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(asset(name))
