"""The file systems of stores: which one an address means, and how it is opened.

Keys and endpoint come from the environment, as each store's own tools read them.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

ANSWER_S = 30.0  # an S3 server that says nothing for so long has failed

TRIED_S = 10  # Google's own client tries so long; tries are counted beside that (`again`)


def system_of(uri: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it.

    Raises:
        OSError, ValueError: pyarrow cannot read such an address.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        inside = unquote(f"{parts.netloc.rpartition('@')[2]}{parts.path}")
        return _s3(parts.query, parts.netloc.rpartition("@")[0]), inside
    query = f"?{parts.query}" if parts.query else ""
    if parts.scheme in ("gs", "gcs") and "retry_limit_seconds" not in query:  # its own: 15 minutes
        query += f"{'&' if query else '?'}retry_limit_seconds={TRIED_S}"
    system, root = _system(f"{parts.scheme}://{parts.netloc}/{query}")
    return system, root.rstrip("/") + unquote(parts.path)


def _s3(query: str, keys: str) -> Any:
    """Return S3, at the endpoint of the address or of the environment.

    pyarrow's own way from an address has no time limits, and asks Amazon for the region.
    """
    told, around = dict(parse_qsl(query)), os.environ
    endpoint = told.get("endpoint_override", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"{told.get('scheme', 'https')}://{endpoint}"
    endpoint = endpoint or around.get("AWS_ENDPOINT_URL_S3", around.get("AWS_ENDPOINT_URL", ""))
    region = around.get("AWS_REGION", around.get("AWS_DEFAULT_REGION", "us-east-1"))
    return _s3_at(endpoint, told.get("region", region), keys, told.get("anonymous") == "true")


@lru_cache(maxsize=8)
def _s3_at(endpoint: str, region: str, keys: str, anonymous: bool) -> Any:
    from pyarrow import fs

    # Its checksums beside the content are more than many stores understand; ours are in the names.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    # Tries are counted here (`again`), not once more below.
    wanted: dict[str, Any] = {"retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=1)}
    wanted["allow_delayed_open"] = True  # small objects in one request
    wanted |= {"region": region, "request_timeout": ANSWER_S, "connect_timeout": ANSWER_S}
    if endpoint:
        scheme, _, host = endpoint.partition("://")
        wanted |= {"scheme": scheme, "endpoint_override": host.rstrip("/")}
    if keys:
        wanted["access_key"], _, wanted["secret_key"] = unquote(keys).partition(":")
    if anonymous:
        wanted["anonymous"] = True
    return fs.S3FileSystem(**wanted)


@lru_cache(maxsize=8)
def _system(uri: str) -> tuple[Any, str]:
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri(uri)
    return system, path
