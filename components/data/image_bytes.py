"""What the bytes of an image file say before any pixel is decoded: its format, and its end.

Only the bytes that hold pixels are handed to a decoder: text, foreign pictures and films behind the
image are left out, and a file that ends before its image does is told from a whole one.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

MOST_PROFILE_BYTES = 16 * 2**20
_PNG = b"\x89PNG\r\n\x1a\n"
# In PNG: what changes no pixel. The profile is taken out as well, and applied by ourselves.
_PNG_LEFT_OUT = frozenset(
    [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"tIME", b"sPLT", b"hIST", b"acTL", b"fcTL", b"fdAT"]
)
# In the compressed part of a JPEG, FF is followed by 00 or a restart mark; else a marker begins.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START_OF_SCAN, _END = 0xDA, 0xD9
_PROGRESSIVE = frozenset([0xC2, 0xC6, 0xCA, 0xCE])
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class Found:
    """The bytes of one image.

    Attributes:
        data: what a decoder should see.
        is_cut: whether the file ends before the image does.
        profile: a colour profile that was taken out of `data`, b"" for none.
        is_progressive: JPEG in several scans.
    """

    data: bytes
    is_cut: bool = False
    profile: bytes = b""
    is_progressive: bool = False


def sniff(data: bytes) -> str | None:
    """Return "JPEG", "PNG", "WEBP", "GIF" or "AVIF" by the first bytes; None for all else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "AVIF"
    return None


def look_at(data: bytes, kind: str) -> Found:
    """Return the image's own bytes in a file of a kind that `sniff` told."""
    return _LOOKS[kind](data)


def _png(data: bytes) -> Found:
    kept, profile, at, changed = [_PNG], b"", len(_PNG), False
    while at + 12 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        stop = at + 12 + length
        if stop > len(data):
            return Found(data, is_cut=True)
        if name in _PNG_LEFT_OUT:
            changed = True
            if name == b"iCCP":
                profile = _unpacked(data[at + 8 : stop - 4])
        else:
            kept.append(data[at:stop])
        if name == b"IEND":
            return Found(b"".join(kept) if changed or stop < len(data) else data, False, profile)
        at = stop
    return Found(data, is_cut=True)


def _unpacked(chunk: bytes) -> bytes:
    """Return the profile of an iCCP chunk, b"" when it is broken or too large."""
    _, _, packed = chunk.partition(b"\0")
    try:
        opened = zlib.decompressobj()
        profile = opened.decompress(packed[1:], MOST_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if opened.eof else b""


def _jpeg(data: bytes) -> Found:
    """Walk from marker to marker to the end of the first image.

    Of APP2, pictures of a multi-picture file (MPF) are left out: they lie behind that end.
    """
    at, progressive = 2, False
    drop: list[tuple[int, int]] = []
    scans: list[tuple[bytes, int, int, int]] = []
    components: bytes = b""
    while match := _JPEG_MARKER.search(data, at):
        code, at = data[match.start() + 1], match.end()
        if code == _END:
            whole = not progressive or _is_complete(components, scans)
            return Found(_without(data[:at], drop), not (scans and whole), b"", progressive)
        if code in (0x01, 0xD8):  # no length follows
            continue
        if at + 2 > len(data):
            break
        length = int.from_bytes(data[at : at + 2], "big")
        body = data[at + 2 : at + length]
        if code in _FRAMES:
            progressive = code in _PROGRESSIVE
            components = body[6 : 6 + 3 * (body[5] if len(body) > 5 else 0) : 3]
        elif code == _START_OF_SCAN and body:
            ids, last = body[1 : 1 + 2 * body[0] : 2], body[1 + 2 * body[0] :]
            if len(last) >= 3:
                scans.append((ids, last[0], last[1], last[2] & 15))
        elif code == 0xE2 and body.startswith(b"MPF\0"):
            drop.append((match.start(), at + length))
        at += max(2, length)
    return Found(data, is_cut=True, is_progressive=progressive)


def _is_complete(components: bytes, scans: list[tuple[bytes, int, int, int]]) -> bool:
    """Tell whether the scans of a progressive JPEG bring every coefficient to its last bit."""
    for component in components:
        missing = set(range(64))
        for ids, first, last, low in scans:
            if component in ids and low == 0:
                missing -= set(range(first, last + 1))
        # An image may leave out frequencies that are nowhere; the lowest ones never.
        if 0 in missing:
            return False
    return bool(components)


def _without(data: bytes, pieces: list[tuple[int, int]]) -> bytes:
    for start, stop in reversed(pieces):
        data = data[:start] + data[stop:]
    return data


def _webp(data: bytes) -> Found:
    size = struct.unpack("<I", data[4:8])[0] + 8 if len(data) >= 16 else 0
    return Found(data[:size] if size else data, is_cut=not 16 <= size <= len(data))


def _gif(data: bytes) -> Found:
    """Walk the blocks to the end of the first frame."""
    if len(data) < 13:
        return Found(data, is_cut=True)
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while at < len(data):
        frame = data[at] == 0x2C
        if data[at] == 0x21:
            at += 2
        elif frame and at + 10 <= len(data):
            packed = data[at + 9]
            at += 10 + (3 << ((packed & 7) + 1) if packed & 0x80 else 0) + 1
        else:
            return Found(data, is_cut=data[at] != 0x3B)
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
        if at > len(data):
            break
        if frame:
            return Found(data[:at] + b"\x3b")
    return Found(data, is_cut=True)


def _avif(data: bytes) -> Found:
    """Walk the boxes of the file to its end."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1 and at + 16 <= len(data):
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:  # to the end of the file
            return Found(data)
        if size < 8 or at + size > len(data):
            return Found(data, is_cut=True)
        at += size
    return Found(data, is_cut=at < len(data))


_LOOKS = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "GIF": _gif, "AVIF": _avif}
