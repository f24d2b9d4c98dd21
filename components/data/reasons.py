"""The closed list of reasons why a sample is not kept.

Every input sample has exactly one reason, or none.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Where it happened, then what: `score` writes the first four groups, `filter` the last."""

    SHARD_UNREADABLE = "shard.unreadable"  # not a tar, or an empty file
    SHARD_TRUNCATED = "shard.truncated"  # no end mark: samples before the cut are kept
    SHARD_UNSAFE_MEMBER = "shard.unsafe_member"  # link, device, absolute name or ".."

    SAMPLE_MISSING_IMAGE = "sample.missing_image"
    SAMPLE_MISSING_CAPTION = "sample.missing_caption"
    SAMPLE_MISSING_LABEL = "sample.missing_label"
    SAMPLE_UNKNOWN_LABEL = "sample.unknown_label"  # held out, of a class that is not trained on
    SAMPLE_BAD_JSON = "sample.bad_json"
    SAMPLE_DUPLICATE_KEY = "sample.duplicate_key"  # the key was met before, in any shard

    CAPTION_EMPTY = "caption.empty"
    CAPTION_ENCODING = "caption.encoding"  # not UTF-8

    IMAGE_FORMAT = "image.format"  # not JPEG, PNG or WEBP by its first bytes
    IMAGE_TRUNCATED = "image.truncated"
    IMAGE_BROKEN = "image.broken"
    IMAGE_TOO_MANY_PIXELS = "image.too_many_pixels"

    FILTER_TOO_SMALL = "filter.too_small"
    FILTER_ASPECT = "filter.aspect"
    FILTER_CAPTION_SHORT = "filter.caption_short"
    FILTER_CAPTION_LONG = "filter.caption_long"
    FILTER_SCORE_NAN = "filter.score_nan"
    FILTER_CLIP_SIMILARITY = "filter.clip_similarity"
    FILTER_EXACT_DUPLICATE = "filter.exact_duplicate"
    FILTER_NEAR_DUPLICATE = "filter.near_duplicate"
