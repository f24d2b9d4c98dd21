"""Names of files and members as text that can be written, and found again from that text.

A name on disk is a row of bytes; a key in a table of scores must be UTF-8. Distinct names stay
distinct.
"""

from __future__ import annotations

import re
import unicodedata

_LOW, _HIGH = 0xDC80, 0xDCFF  # where Python keeps bytes of a name that are not UTF-8
_HIDDEN = frozenset(
    ["@eadir", "__macosx", "$recycle.bin", "#recycle", "lost+found", "thumbs.db", "desktop.ini"]
) | {"system volume information", "icon\r"}


def written(name: str) -> str:
    r"""Return a name as text that can be written: a byte that is not UTF-8 becomes `\xNN`.

    Such names, and those that hold `\x` themselves, have their backslashes doubled.
    """
    if name.isascii() and "\\x" not in name:
        return name
    odd = any(0xD800 <= ord(c) <= 0xDFFF for c in name)
    if not odd and "\\x" not in name:
        return name
    return "".join(map(_escaped, name))


def restored(text: str) -> str:
    """Return the name that `written` was given."""
    if "\\x" not in text:
        return text
    return re.sub(r"\\\\|\\x([0-9a-f]{2})", _plain, text)


def plain_form(name: str) -> str:
    """Return a path in the one form by which two spellings are told to be the same.

    Composed letters (NFC), slashes forward, no "./" and no doubled slash.
    """
    text = unicodedata.normalize("NFC", name).replace("\\", "/")
    return "/".join(part for part in text.split("/") if part not in ("", "."))


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder of this name is the system's and no data: `.x`, `@eaDir`."""
    return name.startswith(".") or name.lower() in _HIDDEN


def shown(name: str, width: int = 60) -> str:
    """Return a name for a message: written, without control characters, not long."""
    text = "".join(c if c.isprintable() else "?" for c in written(name))
    return text if len(text) <= width else text[: width - 3] + "..."


def _escaped(character: str) -> str:
    code = ord(character)
    if _LOW <= code <= _HIGH:
        return f"\\x{code - 0xDC00:02x}"
    if 0xD800 <= code <= 0xDFFF:  # half of a pair, from a table in UTF-16
        return f"\\x{{{code:04x}}}"
    return "\\\\" if character == "\\" else character


def _plain(match: re.Match[str]) -> str:
    if match[1]:
        code = int(match[1], 16)
        return chr(code + 0xDC00) if code >= 0x80 else chr(code)
    return "\\"
