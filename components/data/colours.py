"""Bring the colours of an image to sRGB by the profile that came with it.

A profile that is broken, or of another colour space than the pixels, is not used: the pixels are
kept as they are.
"""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image, ImageCms

_MODES = {"RGB ": ("RGB", "RGBA", "RGBX"), "GRAY": ("L",), "CMYK": ("CMYK",)}


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the image in sRGB: mode RGB, or RGBA where it was; itself where nothing changes."""
    if not profile:
        return image
    transform = _transform(profile, image.mode)
    if transform is None:
        return image
    try:
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, ValueError, OSError):
        return image


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way to sRGB; None for sRGB itself and for a profile that cannot be used."""
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space
        if mode not in _MODES.get(space, ()):
            return None
        name = ImageCms.getProfileDescription(source).strip().lower()
        if space == "RGB " and name.startswith(("srgb", "c2")):
            return None
        out = "RGBA" if mode == "RGBA" else "RGB"
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        return ImageCms.buildTransform(source, _srgb(), mode, out, intent, flags)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
