"""HTML and SVG as text, in which all content is escaped.

Knows elements and attributes. Must not know what a page says.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final, TypeAlias

from smssim.escaping import escape


class Html(str):
    """Text that is markup already. Any other text is escaped."""

    __slots__ = ()


Content: TypeAlias = "str | float | Iterable[Content] | None"

_NAMES: Final = {"class_": "class", "for_": "for"}
_KEPT: Final = ("viewBox", "preserveAspectRatio", "clipPath", "gradientTransform")  # the case of names matters in SVG


def tag(name: str, /, *content: Content, **attributes: str | float | None) -> Html:
    """Return an element with this content. Attributes that are None are left out; `_` in their names becomes `-`."""
    return Html(f"<{name}{_attributes(attributes)}>{joined(content)}</{name}>")


def void(name: str, /, **attributes: str | float | None) -> Html:
    """Return an element that has no content and no end, such as `meta`."""
    return Html(f"<{name}{_attributes(attributes)}>")


def joined(content: Content) -> Html:
    """Return content as markup: text is escaped, None is nothing."""
    if content is None:
        return Html("")
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return Html(html.escape(clean(content)))
    if isinstance(content, int | float):
        return Html(html.escape(short(content)))
    return Html("".join(joined(part) for part in content))


def clean(text: str) -> str:
    """Return foreign text without characters that can't be shown or that change the direction of the text around it."""
    return escape(text, None)


def short(number: float) -> str:
    """Return a number with at most one decimal, as coordinates need it."""
    return f"{number:.1f}".removesuffix(".0")


def _attributes(attributes: dict[str, str | float | None]) -> str:
    return "".join(
        f' {_NAMES.get(name) or (name if name in _KEPT else name.replace("_", "-"))}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )


def _value(value: str | float) -> str:
    return html.escape(clean(value) if isinstance(value, str) else short(value))
