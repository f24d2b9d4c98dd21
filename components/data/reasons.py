"""The closed list of reasons why a sample is not kept.

Every input sample has exactly one reason, or none.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Where it happened, then what: `filter` writes the last group, `score` the others."""

    SHARD_UNREADABLE = "shard.unreadable"  # not a tar, no regular file, or an empty one
    SHARD_UNREACHABLE = "shard.unreachable"  # the store did not give it, whole, in several tries
    SHARD_COMPRESSED = "shard.compressed"  # a tar inside gzip or the like
    SHARD_EMPTY = "shard.empty"  # a tar without a member
    SHARD_TRUNCATED = "shard.truncated"  # no end mark: samples before the cut are kept
    SHARD_TRAILING_DATA = "shard.trailing_data"  # more behind the end mark, such as a second tar
    SHARD_UNSAFE_MEMBER = "shard.unsafe_member"  # link, device, absolute name or ".."

    FOLDER_UNREADABLE = "folder.unreadable"  # no permission
    FOLDER_LOOP = "folder.loop"  # a link to a folder above, or more than 200 inside one another
    ENTRY_HIDDEN = "entry.hidden"  # no data and no row: counted beside the rows

    SAMPLE_NOT_A_FILE = "sample.not_a_file"  # a pipe, a device, a broken link, no permission
    SAMPLE_BAD_ROW = "sample.bad_row"  # a row of a table with another number of cells
    SAMPLE_MISSING_IMAGE = "sample.missing_image"
    SAMPLE_MISSING_CAPTION = "sample.missing_caption"
    SAMPLE_MISSING_LABEL = "sample.missing_label"
    SAMPLE_UNKNOWN_LABEL = "sample.unknown_label"  # held out, of a class that is not trained on
    SAMPLE_BAD_JSON = "sample.bad_json"
    SAMPLE_DUPLICATE_KEY = "sample.duplicate_key"  # the key was met before, in any shard

    CAPTION_EMPTY = "caption.empty"
    CAPTION_ENCODING = "caption.encoding"  # not UTF-8
    CAPTION_TYPE = "caption.type"  # in JSON or Parquet: neither a text nor a list of texts

    IMAGE_FORMAT = "image.format"  # not JPEG, PNG, WebP, GIF or AVIF by its first bytes
    IMAGE_TRUNCATED = "image.truncated"
    IMAGE_BROKEN = "image.broken"
    IMAGE_TOO_MANY_BYTES = "image.too_many_bytes"  # a file of more than 256 MiB
    IMAGE_TOO_MANY_PIXELS = "image.too_many_pixels"

    FILTER_TOO_SMALL = "filter.too_small"
    FILTER_ASPECT = "filter.aspect"
    FILTER_CAPTION_SHORT = "filter.caption_short"
    FILTER_CAPTION_LONG = "filter.caption_long"
    FILTER_SCORE_NAN = "filter.score_nan"
    FILTER_CLIP_SIMILARITY = "filter.clip_similarity"
    FILTER_EXACT_DUPLICATE = "filter.exact_duplicate"
    FILTER_NEAR_DUPLICATE = "filter.near_duplicate"
    FILTER_SEMANTIC_DUPLICATE = "filter.semantic_duplicate"
    FILTER_WEIGHT = "filter.weight"  # good, but more than its source's share
