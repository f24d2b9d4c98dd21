"""Choose one of several captions of an image, another one in each epoch.

Which one is a function of seed, epoch and key: neither a restart nor the number of workers changes
it. Legend: N rows.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa


def with_other_captions(table: pa.Table, seed: int, epoch: int) -> pa.Table:
    """Return rows of a training set with the captions of this epoch; itself where each has one.

    Caption, embedding and token ids go together.
    """
    if "more_captions" not in table.column_names:
        return table
    more = table["more_captions"].to_pylist()
    chosen = [
        _choice(key, seed, epoch, 1 + len(others)) if others else 0
        for key, others in zip(table["key"].to_pylist(), more, strict=True)
    ]
    captions = table["caption"].to_pylist()
    for row, number in enumerate(chosen):
        if number:
            captions[row] = more[row][number - 1]
    changed = {"caption": pa.array(captions, pa.string())}
    for name, others in (("text_embedding", "more_embeddings"), ("token_ids", "more_token_ids")):
        changed[name] = _replaced(table, name, others, chosen)
    for name, column in changed.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), column)
    return table.drop_columns(["more_captions", "more_embeddings", "more_token_ids"])


def _choice(key: str, seed: int, epoch: int, count: int) -> int:
    mark = hashlib.blake2b(f"{seed}:{epoch}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(mark, "big") % count


def _replaced(table: pa.Table, name: str, others: str, chosen: list[int]) -> pa.Array:
    """Return a column of lists of fixed length with the chosen rows' other values."""
    kind = table.schema.field(name).type
    width = kind.list_size
    flat = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    value_NW = flat.reshape(len(table), width).copy()
    column = table[others].combine_chunks()
    starts = column.offsets.to_numpy()
    pool = column.values.to_numpy(zero_copy_only=False)
    for row, number in enumerate(chosen):
        if number:
            at = starts[row] + (number - 1) * width
            value_NW[row] = pool[at : at + width]
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(value_NW), kind.value_type), width)
