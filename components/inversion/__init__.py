"""Find the code of an image, and tune the generator to it if asked; no data set is read.

Example:

    from components.inversion import ImageDistance, InversionConfig, invert_image, read_target
    from components.sampling import from_uint8, write_code

    pixels, _ = read_target(Path("photo.png"), card["resolution_px"])
    distance = ImageDistance(from_uint8(pixels[None]), frozen_net)
    result = invert_image(model, card, "cat", distance, InversionConfig(steps=500))
    write_code(Path("code.safetensors"), result.code)
"""

from components.inversion.distance import Distances, ImageDistance
from components.inversion.find_code import FoundCode, Step, find_code
from components.inversion.invert_image import Inversion, invert_image
from components.inversion.pivotal import tune_around
from components.inversion.start import guess_label
from components.inversion.target import read_target
from components.requests.inversion import InversionConfig

__all__ = [
    "Distances",
    "FoundCode",
    "ImageDistance",
    "Inversion",
    "InversionConfig",
    "Step",
    "find_code",
    "guess_label",
    "invert_image",
    "read_target",
    "tune_around",
]
