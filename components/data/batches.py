"""The endless, seeded stream of training samples, read from Parquet shards.

The stream is cut into epochs, each a permutation of all rows: row groups from all shards are put in
random order, a window of consecutive ones is read and shuffled. Sample number `position` is
therefore a function of (data, seed, position) alone; any rank may compute any piece, and seeking
costs nothing. Memory holds a few windows, however large the data. A shard is compared with the hash
in the manifest before its first rows are used. Legend: N samples, D width of the
text embedding, T token ids of a caption.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from components.data.other_captions import with_other_captions
from components.data.shard_store import StoredShards
from components.data.shards import check_shard, read_manifest, rows_per_group
from components.errors import DataError
from models.interfaces import Batch, Condition, ConditionShape

_WINDOWS_KEPT = 2
_FILES_OPEN = 16
_FACTS = {"content_hash", "embedding_dim", "num_labels", "resolution_px", "splits"}


@dataclass(frozen=True)
class _Epoch:
    """Order of one pass: row groups in random order, and where windows of them begin.

    groups: index of the row group at each place. starts: first position of each window, and the
    end.
    bounds: window w holds places [bounds[w], bounds[w + 1]).
    """

    number: int
    groups: np.ndarray
    starts: np.ndarray
    bounds: np.ndarray


class BatchSource:
    """Samples of one split of a training set, as micro-batches.

    Args:
        folder: what the filter stage wrote.
        split: "train" or "heldout".
        resolution: side of the images wanted; at most the stored one, to which they are averaged
            down.
        seed: of the order.
        shrink: above 1, a condition holds its image shrunk so many times, by area averages.
    """

    def __init__(
        self, folder: Path, split: str, resolution: int, seed: int, shrink: int = 1
    ) -> None:
        manifest = read_manifest(folder)
        if missing := sorted(_FACTS - manifest.keys()):
            what = f"the manifest lacks {', '.join(missing)}"
            raise DataError(what, str(folder), "filter again")
        stored = manifest["resolution_px"]
        if resolution > stored:
            what = f"{resolution} px wanted, images are stored at {stored} px"
            raise DataError(what, str(folder), "raise filter.resolution_px and filter again")
        self.folder, self.resolution, self.seed = folder, resolution, seed
        self.shrink = shrink
        self.content_hash: str = manifest["content_hash"]
        self.shape = ConditionShape(
            pooled_dim=manifest["embedding_dim"], num_labels=manifest["num_labels"]
        )
        self.label_names: list[str] = manifest.get("label_names", [])
        shards = manifest["splits"][split]["shards"]
        self._files = [folder / shard["file"] for shard in shards]
        self._unchecked = {n: str(shard["sha256"]) for n, shard in enumerate(shards)}
        self._stored = StoredShards.of(folder)
        self._open_files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        rows = [shard["rows"] for shard in manifest["splits"][split]["shards"]]
        self._groups = self._list_groups(rows, rows_per_group(stored))
        self.num_rows = int(self._groups[:, 2].sum())
        if self.num_rows != manifest["splits"][split]["rows"]:
            raise DataError("rows differ from the manifest", str(folder), "filter again")
        # About 50 MiB of pixels: enough to mix, little enough to hold.
        self._window_rows = max(512, min(4_096, 2**24 // stored**2))
        self._epoch: _Epoch | None = None
        self._windows: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def atom(self, position: int, size: int) -> Batch:
        """Return samples [position, position + size) of the stream.

        Raises:
            DataError: the split is empty.
        """
        if not self.num_rows:
            raise DataError("no rows in the split", str(self.folder), "loosen the filter")
        with self._lock:
            pieces = list(self._pieces(position, size))
        return self._batch(pa.concat_tables(pieces))

    def first(self, count: int) -> Batch:
        """Return the first `count` rows in stored order, fewer if there are not as many."""
        pieces: list[pa.Table] = []
        with self._lock:
            for group in range(len(self._groups)):
                missing = count - sum(len(piece) for piece in pieces)
                if missing <= 0:
                    break
                pieces.append(self._read_group(group).slice(0, missing))
        if not pieces:
            raise DataError("no rows in the split", str(self.folder), "loosen the filter")
        return self._batch(pa.concat_tables(pieces))

    def _list_groups(self, rows: list[int], group_rows: int) -> np.ndarray:
        """Return [G, 3]: file, row group in it, rows.

        The manifest tells the rows of each file. Only where the first file is not cut as this
        version cuts, every footer is read.
        """
        found = []
        usual = not rows or self._sizes(0) == _cut(rows[0], group_rows)
        for number, count in enumerate(rows):
            sizes = _cut(count, group_rows) if usual else self._sizes(number)
            found += [(number, i, size) for i, size in enumerate(sizes) if size]
        return np.array(found, dtype=np.int64).reshape(-1, 3)

    def _sizes(self, number: int) -> list[int]:
        """Return the rows of each row group of a file, from its footer or the store's list."""
        if self._stored is not None:
            return self._stored.sizes(self._files[number].name)
        facts = self._file(number).metadata
        return [facts.row_group(i).num_rows for i in range(facts.num_row_groups)]

    def _file(self, number: int) -> pq.ParquetFile:
        if number not in self._open_files:
            path = self._files[number]
            try:
                self._open_files[number] = pq.ParquetFile(path, memory_map=False)
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(path, error) from None
            if len(self._open_files) > _FILES_OPEN:
                self._open_files.popitem(last=False)[1].close()
        self._open_files.move_to_end(number)
        return self._open_files[number]

    def _read_group(self, group: int) -> pa.Table:
        number, row_group, _ = self._groups[group].tolist()
        if self._stored is not None:
            return self._stored.read(self._files[number].name, row_group)
        if number in self._unchecked:
            check_shard(self._files[number], self._unchecked[number])
            del self._unchecked[number]
        try:
            return self._file(number).read_row_group(row_group, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self._files[number], error) from None

    def _pieces(self, position: int, size: int) -> Iterator[pa.Table]:
        """Yield the rows of [position, position + size), window by window."""
        while size > 0:
            number, at = divmod(position, self.num_rows)
            epoch = self._order(number)
            window = int(np.searchsorted(epoch.starts, at, side="right")) - 1
            offset = at - int(epoch.starts[window])
            piece = self._window(epoch, window).slice(offset, size)
            yield piece
            position, size = position + len(piece), size - len(piece)

    def _order(self, number: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != number:
            order = np.random.default_rng((self.seed, number)).permutation(len(self._groups))
            ends = np.cumsum(self._groups[order, 2])
            # A window closes with the group that fills it.
            window_of = (ends - self._groups[order, 2]) // self._window_rows
            bounds = np.flatnonzero(np.diff(window_of, prepend=-1))
            starts = np.concatenate([(ends - self._groups[order, 2])[bounds], ends[-1:]])
            self._epoch = _Epoch(number, order, starts, np.append(bounds, len(order)))
        return self._epoch

    def _window(self, epoch: _Epoch, window: int) -> pa.Table:
        place = (epoch.number, window)
        if place not in self._windows:
            groups = epoch.groups[epoch.bounds[window] : epoch.bounds[window + 1]]
            table = pa.concat_tables([self._read_group(int(group)) for group in groups])
            rng = np.random.default_rng((self.seed, epoch.number, window + 1))
            mixed = table.take(rng.permutation(len(table)))
            self._read_ahead(epoch, window + 1)
            self._windows[place] = with_other_captions(mixed, self.seed, epoch.number)
            if len(self._windows) > _WINDOWS_KEPT:
                self._windows.popitem(last=False)
        self._windows.move_to_end(place)
        return self._windows[place]

    def _read_ahead(self, epoch: _Epoch, window: int) -> None:
        """Let a store's next window come while this one is trained on."""
        if self._stored is not None and window + 1 < len(epoch.bounds):
            groups = epoch.groups[epoch.bounds[window] : epoch.bounds[window + 1]]
            places = self._groups[groups][:, :2].tolist()
            self._stored.read_ahead((self._files[number].name, at) for number, at in places)

    def _batch(self, table: pa.Table) -> Batch:
        images = np.stack([_pixels(file) for file in table["image"].to_pylist()])
        pooled = ids = label = None
        if self.shape.pooled_dim:
            pooled = torch.from_numpy(self._lists(table, "text_embedding").astype(np.float32))
            ids = torch.from_numpy(self._lists(table, "token_ids").astype(np.int64))
        if self.shape.num_labels:
            label = torch.from_numpy(table["label"].to_numpy().astype(np.int64))
        image_NCHW = as_images(torch.from_numpy(images), self.resolution)
        small = F.avg_pool2d(image_NCHW, self.shrink) if self.shrink > 1 else None
        return Batch(
            size=len(table),
            image_NCHW=image_NCHW,
            condition=Condition(pooled_ND=pooled, ids_NT=ids, label_N=label, picture_NCHW=small),
            captions=tuple(table["caption"].to_pylist()),
            keys=tuple(table["key"].to_pylist()),
        )

    def _lists(self, table: pa.Table, column: str) -> np.ndarray:
        """Return a column of lists of fixed length as [N, length]."""
        if column not in table.column_names:
            what = f"shards without {column}, as an earlier version wrote them"
            raise DataError(what, str(self.folder), "filter again")
        flat = table[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(table), -1)


def _unreadable(path: Path, error: Exception) -> DataError:
    what = f"unreadable shard: {' '.join(str(error).split())[:160]}"
    return DataError(what, str(path), "filter again")


def _cut(rows: int, group_rows: int) -> list[int]:
    return [min(group_rows, rows - at) for at in range(0, rows, group_rows)]


def as_images(pixels_NHWC: Tensor, resolution: int) -> Tensor:
    """Turn uint8 pixels into images in [-1, 1], averaged down to `resolution`, NCHW."""
    image_NCHW = pixels_NHWC.permute(0, 3, 1, 2).to(torch.float32, copy=True)
    image_NCHW = image_NCHW.contiguous().div_(127.5).sub_(1)
    if image_NCHW.shape[-1] == resolution:
        return image_NCHW
    return F.interpolate(image_NCHW, size=(resolution, resolution), mode="area")


def _pixels(file: bytes) -> np.ndarray:
    # Not convert: a stored image is RGB, and anything else is a fault that shows.
    return np.asarray(Image.open(io.BytesIO(file), formats=("PNG", "JPEG", "WEBP")))
