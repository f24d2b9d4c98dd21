"""Parameters of the MLflow mirror.

They are never DVC parameters: changing one re-runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from models.fields import Between


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where runs are shown and how long a stage may wait for that.

    Attributes:
        enabled: false = write only the local lines under runs/tracking; `ganline sync` can send
            them later.
        uri: an MLflow tracking URI; "" = the environment's MLFLOW_TRACKING_URI, else sqlite under
            runs/.
        experiment: MLflow experiment of the stages.
        search_experiment: MLflow experiment of the search and its trials.
        system_every_s: seconds between two readings of CPU, memory and GPU; 0 = none.
        request_timeout_s: how long one request to a tracking server may take.
        flush_timeout_s: how long a stage waits at its end until MLflow has everything.
    """

    enabled: bool = True
    uri: str = ""
    experiment: str = "ganline"
    search_experiment: str = "ganline-search"
    system_every_s: Annotated[float, Between(0.0, None)] = 10.0
    request_timeout_s: Annotated[int, Between(1, 600)] = 10
    flush_timeout_s: Annotated[float, Between(0.0, 3600.0)] = 30.0
