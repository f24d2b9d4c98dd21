"""What a person meets in MLflow: descriptions, the charts of an experiment, and links to them.

MLflow keeps the charts of an experiment in the browser, except those of a shared view: a tag of the
experiment, named by a link. So what opens by a link of `make ui` is decided here.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
# MLflow 3.17 shows traces and tokens first, unless the experiment or the link says otherwise.
KIND = {"mlflow.experimentKind": "custom_model_development"}
MODE = "workflowType=machine_learning"
KIMG_AXIS = {"xAxisKey": "metric", "selectedXAxisMetricKey": "kimg", "lineSmoothness": 0}
VIEW, VIEW_TAG = "ganline", "mlflow.sharedViewState."
UI_HOST, UI_PORT = "127.0.0.1", 5055  # of `make ui`, unless it is given another

RUNS_NOTE = """One row is one run of the pipeline: what was asked for, and what it gave. Open a row
(the plus sign) to see its stages, with their curves, sample sheets and files.

- Compare: tick rows, then **Compare**. `guidance_weight` is how strongly the frozen network pulls.
- Judged on held-out prompts: `judge_all` (all attributes right), `outline` (shape right by its
  outline), `seed_variety` (1 = as real images). `frechet` is a distance: lower is better.
- Searches have an experiment of their own: `{search}`."""
SEARCH_NOTE = """One row is one trial of `ganline tune`, named by its values; the search is the
row that begins with `search`, with the picture of all its trials.

- The charts show score, distance, alignment and seed variety against the guidance weight.
- The sheets of all trials show the same prompts with the same seeds.
- Lower is better for `score` and `frechet`, higher for `alignment` and `seed_variety`."""
MODEL_NOTE = """{what} Made by ganline; every version carries its model card.

- `champion` passed all thresholds of `publish`; `candidate` is the newest.
- Draw: `ganline generate {asked}--seed 3 --out image.png`
- Serve: `ganline serve`, or `mlflow models serve` as the model card says.
- How good it is: the description of a version, and the run that it came from."""

_TRAINING = """A training. **Model metrics** has its curves over `kimg`; among the artifacts are the
sample sheets, by images seen, and `config.yaml`.

- Look at the last sheet first, then at `stat/discriminator/real_sign`: at 0.99 and more the
  discriminator is never wrong, and nothing is left to learn.
- How good the model is, `evaluate` of the same pipeline run says."""
RUN_NOTES = {
    "pipeline": """A run of the whole pipeline: its parameters are what was asked for, its metrics
what came of it. Its stages are nested below.

- Next: the `samples` of `evaluate`, then the curves of `train_base`.
- On disk: `ganline report` writes all of it as one page.""",
    "tune": """A search. The picture `trials` shows every trial and the front of the best; each
trial is a run of its own beside this one, with the same prompts and seeds in its sheet.

- Next: the experiment's charts; `make ui` prints the link. `guidance.json` has what was chosen.""",
    "trial": """One trial of a search: a short training with the values in its name.

- Lower is better for `score` and `frechet`, higher for `alignment` and `seed_variety`.
- Next: its `samples` beside those of the other trials, in the experiment's charts.""",
    "synthesize": "The embedded data set was drawn, dirt included. Next: `filter`.",
    "source": "Whether the user's data changed since the last run. Next: `score`.",
    "encoders": "The frozen networks that filter, guide and judge. Next: the numbers on the cards.",
    "score": "One row of scores for every sample, readable or not. Next: `filter`, which decides.",
    "filter": """What was kept and what was rejected, with the reason of each sample.

- Next: `rejected.png` among the reports shows pictures of every reason.""",
    "train_base": _TRAINING,
    "superres": _TRAINING,
    "text_encoder": _TRAINING,
    "adapt": _TRAINING,
    "evaluate": """How good the model is, on held-out prompts and images; every number has a card
that says how it was measured.

- Next: the sheet `samples` beside `reals`, and the table of truncations.""",
    "publish": """The release and its model card; `missed` names thresholds that were not reached.

- Next: the registered model, whose `champion` is the newest version that passed.""",
}


def run_note(stage: str) -> str:
    """Return what the page of a run says: what it is and what to look at next.

    Args:
        stage: of the run's identity: `superres@64`, `tune.trial-0a1b`, or another that has none.
    """
    kind = "trial" if ".trial-" in stage else stage.partition("@")[0]
    return RUN_NOTES.get(kind, "A stage of the pipeline.")


def experiment_tags(name: str, *, is_search: bool, other: str) -> dict[str, str]:
    """Return the tags that make an experiment readable.

    Args:
        name: of the experiment.
        is_search: whether it holds trials.
        other: name of the experiment that holds the trials.
    """
    note = SEARCH_NOTE if is_search else RUNS_NOTE.format(search=other)
    best, up = ("score", False) if is_search else ("judge_all", True)
    return KIND | {
        NOTE: f"**{name}**\n\n{note}",
        "mlflow.experiment.primaryMetric.name": best,
        "mlflow.experiment.primaryMetric.greaterIsBetter": str(up),
        f"{VIEW_TAG}{VIEW}": json.dumps(_view(is_search)),
    }


def experiment_link(address: str, number: str) -> str:
    """Return the link to an experiment's charts, as `experiment_tags` has them."""
    return (
        f"{address}/#/experiments/{number}/runs?compareRunsMode=CHART&{MODE}"
        f"&viewStateShareKey={VIEW}"
    )


def compare_link(address: str, number: str, runs: list[str]) -> str:
    """Return the link to a table and charts of some runs side by side."""
    chosen, of = (quote(json.dumps(part, separators=(",", ":"))) for part in (runs, [number]))
    return f"{address}/#/compare-runs?runs={chosen}&experiments={of}&{MODE}"


def _view(is_search: bool) -> dict[str, Any]:
    """Return the state of the page of charts: sections, charts, columns, and kimg as the x axis."""
    against = ("score", "frechet", "alignment", "seed_variety")
    if not is_search:
        against = ("judge_all", "frechet", "seed_variety", "clip_score")
    charts: list[dict[str, Any]] = [
        {
            "type": "SCATTER",
            "metricSectionId": "weight",
            "xaxis": {"key": "guidance_weight", "type": "PARAM"},
            "yaxis": {"key": metric, "type": "METRIC"},
            "runsCountToCompare": 100,
        }
        for metric in against
    ]
    charts.append(
        {
            "type": "IMAGE",
            "metricSectionId": "pictures",
            "imageKeys": ["samples"],
            "step": 0,
            "showRunParams": True,
            "runsCountToCompare": 20,
        }
    )
    shared = {"deleted": False, "isGenerated": False}
    columns = [*(f"metrics.`{metric}`" for metric in against), "params.`guidance_weight`"]
    return {
        "compareRunCharts": [
            {"uuid": f"chart-{i}", **shared, **chart} for i, chart in enumerate(charts)
        ],
        "compareRunSections": [
            {"uuid": "weight", "name": "Guidance weight", "display": True, "isReordered": False},
            {"uuid": "pictures", "name": "Pictures", "display": True, "isReordered": False},
        ],
        "selectedColumns": ["attributes.`Duration`", *columns],
        "runsHiddenMode": "FIRST_20_RUNS",
        "hideEmptyCharts": True,
        **({} if is_search else {"globalLineChartConfig": KIMG_AXIS}),
    }
