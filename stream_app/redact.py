"""URLs as people may see them."""

from __future__ import annotations

import re

# Up to the last @, as a password may hold / or @ by mistake; three slashes begin a path, which holds no user.
_USER = re.compile(r"://(?!/)[^\s'\"]*@")


def redacted(text: str) -> str:
    """The text without the users and passwords of its URLs: redis://user:password@host becomes redis://***@host."""
    return _USER.sub("://***@", text)
