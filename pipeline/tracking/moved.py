"""Mend MLflow's database after the project's folder was moved: it keeps absolute paths.

Left alone, new artifacts go to the old place, which is made again, and those of earlier runs are
lost to MLflow.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

# Where MLflow keeps places of files; a column that a version does not have is passed over.
PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
FOLDER = "mlflow"  # below the runs folder; one folder for each experiment


def mend(database: Path, runs: Path) -> list[str]:
    """Let every place below a runs folder of before point below this one.

    Args:
        database: MLflow's sqlite file; nothing happens without one.
        runs: the runs folder now, absolute.

    Returns:
        The places of before, as URIs; none when nothing had moved.

    Raises:
        sqlite3.Error: the file is no database, or is locked for long.
    """
    if not database.is_file():
        return []
    now = runs.as_uri()
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        columns = {
            table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for table in PLACES
        }
        if "artifact_location" not in columns["experiments"]:
            return []
        rows = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
        before = {
            place.removesuffix(end)
            for name, place in rows
            if place and place.startswith("file:") and place.endswith(end := f"/{FOLDER}/{name}")
        }
        moved = sorted(before - {now})
        for old in moved:
            for table, names in PLACES.items():
                for column in set(names) & set(columns[table]):
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (now, len(old) + 1, len(old) + 1, f"{old}/"),
                    )
    return moved
