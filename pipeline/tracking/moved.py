"""Follow a project folder that was moved: MLflow's sqlite store holds absolute paths of artifacts.

Only a store of our own (sqlite in the runs folder) is touched, only rows that lie in the folder's
old place, and only when that place is gone: a copy beside the original keeps pointing at it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlparse

# table -> columns that hold a URI or a path of artifacts
PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
DATABASE, ARTIFACTS = "mlflow.db", "mlflow"


def follow_move(runs: Path) -> str:
    """Point the store in a runs folder at where the folder is now; return its old place, or "".

    Args:
        runs: the runs folder, absolute.
    """
    database = runs / DATABASE
    if not database.is_file():
        return ""
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as store:
        old = _old_place(store, runs)
        if not old:
            return ""
        for table, columns in PLACES.items():
            known = {row[1] for row in store.execute(f"PRAGMA table_info({table})")}
            for column in known.intersection(columns):
                for before, after in ((old.as_uri(), runs.as_uri()), (str(old), str(runs))):
                    store.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (f"{after}/", len(before) + 2, len(before) + 1, f"{before}/"),
                    )
        store.commit()
    return str(old)


def _old_place(store: sqlite3.Connection, runs: Path) -> Path | None:
    """Return the runs folder that the experiments name, when it is another one and is gone."""
    try:
        rows = store.execute("SELECT artifact_location FROM experiments").fetchall()
    except sqlite3.DatabaseError:
        return None  # not made yet
    for (location,) in rows:
        parts = urlparse(str(location or ""))
        path = Path(unquote(parts.path))
        if parts.scheme in ("file", "") and path.parent.name == ARTIFACTS:
            old = path.parent.parent
            if old != runs and not old.exists():
                return old
    return None
