"""Edit images by words, in codes or in styles; knows generators and CLIP, and no family.

Example:

    from components.editing import ClipText, OptimiseConfig, draw, edit_by_optimising

    text = ClipText(load_feature_net("artifacts/encoders/clip"))
    edit = edit_by_optimising(generator, ws, condition, text, "a blue ring", OptimiseConfig())
    images = draw(generator, edit, condition, strengths=[0.0, 0.5, 1.0])
"""

from components.editing.attributes import Channel, channels_of
from components.editing.captions import Captions
from components.editing.channels import Channels, ChannelSweep, read_channels, write_channels
from components.editing.clip_text import ClipText
from components.editing.edits import Edit, draw
from components.editing.methods import edit_by_channels, edit_by_mapper, edit_by_optimising
from components.editing.stored_mapper import StoredMapper, read_mapper, write_mapper
from components.editing.train_mapper import train_mapper
from components.requests.editing import MapperConfig, OptimiseConfig, SweepConfig

__all__ = [
    "Captions",
    "Channel",
    "ChannelSweep",
    "Channels",
    "ClipText",
    "Edit",
    "MapperConfig",
    "OptimiseConfig",
    "StoredMapper",
    "SweepConfig",
    "channels_of",
    "draw",
    "edit_by_channels",
    "edit_by_mapper",
    "edit_by_optimising",
    "read_channels",
    "read_mapper",
    "train_mapper",
    "write_channels",
    "write_mapper",
]
