"""Text that XML 1.0 can hold."""

from __future__ import annotations

import re
from xml.etree import ElementTree

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legal(text: str) -> str:
    """The text; a character that XML has no way to write becomes U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text)


def as_bytes(element: ElementTree.Element) -> bytes:
    """The element in UTF-8, without a declaration, and a new line."""
    return ElementTree.tostring(element, encoding="unicode").encode() + b"\n"
