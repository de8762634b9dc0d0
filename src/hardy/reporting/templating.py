"""The templates of pages and cards, and how they are filled."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def templates(*, autoescape: bool) -> Environment:
    """The templates of this room. A name that is not given is an error. autoescape: whether all
    that is not the template's own is escaped, as HTML."""
    return Environment(
        loader=PackageLoader("hardy.reporting", "templates"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
