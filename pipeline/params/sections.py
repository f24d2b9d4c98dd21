"""Load params.yaml into one frozen dataclass per section, and list all errors at once.

Runs before torch is imported and before anything is written. The dataclasses sit beside the code
that uses them; this file only maps and checks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from components.artifacts.publishing import PublishConfig
from components.data.config import FilterConfig, ScoreConfig, SourceConfig, SynthesizeConfig
from components.evaluation.config import EvaluateConfig
from components.pretraining.config import EncodersConfig
from components.training.config import StageConfig
from components.tuning import TuneConfig
from models.fields import Between
from pipeline.cluster.config import ClusterConfig
from pipeline.params.checks import cross_check
from pipeline.params.file import ParamsError, ParamsFile, Problem, read_params_file
from pipeline.params.recipes import recipe_findings
from pipeline.params.schema import Finding, check, describe, given, unknown_key
from pipeline.tracking.config import TrackingConfig

SEED = Annotated[int, Between(0, 2**31 - 1)]

SECTIONS: dict[str, Any] = {
    "source": SourceConfig,
    "synthesize": SynthesizeConfig,
    "encoders": EncodersConfig,
    "score": ScoreConfig,
    "filter": FilterConfig,
    "tune": TuneConfig,
    "train_base": StageConfig,
    "superres": StageConfig,  # one per entry
    "text_encoder": StageConfig,
    "adapt": StageConfig,  # one per entry
    "evaluate": EvaluateConfig,
    "publish": PublishConfig,
    "cluster": ClusterConfig,
    "tracking": TrackingConfig,
}


# Sections that hold an entry for each key, and what one looks like.
ENTRIES = {
    "superres": "one entry per resolution, as `64: {start: base, recipe: ..., total_kimg: ...}`",
    "adapt": "one entry per model, as `sketch: {start: px64, recipe: {name: ...}, ...}`",
}


@dataclass(frozen=True, kw_only=True)
class Params:
    """The validated content of a params file, one attribute per section."""

    seed: int
    source: SourceConfig  # the first, where there are several
    sources: tuple[SourceConfig, ...]
    synthesize: SynthesizeConfig
    encoders: EncodersConfig
    score: ScoreConfig
    filter: FilterConfig
    tune: TuneConfig
    train_base: StageConfig
    superres: dict[str, StageConfig]
    text_encoder: StageConfig
    adapt: dict[str, StageConfig]
    evaluate: EvaluateConfig
    publish: PublishConfig
    cluster: ClusterConfig
    tracking: TrackingConfig


def load_params(path: Path, overrides: list[str] | None = None) -> Params:
    """Read and check a params file.

    Args:
        path: the file.
        overrides: `section.key=value` settings from the command line, applied on top.

    Raises:
        ParamsError: listing every problem, each with its dotted key.
        ConfigError: when the file cannot be read as YAML at all.
    """
    file = read_params_file(path)
    for setting in overrides or []:
        file.override(setting)
    return validate(file)


def validate(file: ParamsFile) -> Params:
    """Check the content of a params file against the dataclasses and the rules between sections."""
    findings: list[Finding] = []
    built: dict[str, Any] = {}
    known = ("seed", *SECTIONS)
    findings += [((name,), unknown_key(name, known)) for name in file.values if name not in known]
    for name in known:
        if name not in file.values:
            findings.append(((name,), "missing; allowed: " + _allowed(name)))
            continue
        value, wrong = _build(name, file.values[name])
        if name == "source":
            built["sources"] = value
            value = value[0] if value else None
        built[name] = value
        findings += [((name, *path), what) for path, what in wrong]
    findings += recipe_findings(file.values)
    findings += cross_check(built)
    problems = file.problems + [
        Problem(".".join(path), what, file.line_of(path)) for path, what in findings
    ]
    if problems:
        raise ParamsError(file.name, sorted(problems, key=lambda problem: problem.line or 0))
    return Params(**built)


def source_at(path: str, settings: Iterable[str]) -> SourceConfig:
    """Return the source at a path, with `source.key=value` settings from the command line.

    Raises:
        ParamsError: listing each setting that is wrong.
    """
    file = ParamsFile(name="--set", values={"source": {"path": path}})
    for setting in settings:
        file.override(setting)
    here = "only settings of the source are taken here, as source.caption_column=text"
    findings: list[Finding] = [((name,), here) for name in file.values if name != "source"]
    value, wrong = check(SourceConfig, file.values["source"])
    findings += [(("source", *path), what) for path, what in wrong]
    if findings:
        raise ParamsError(file.name, [Problem(".".join(key), what) for key, what in findings])
    built: SourceConfig = value
    return built


def _build(name: str, raw: Any) -> tuple[Any, list[Finding]]:
    if name == "seed":
        return _build_seed(raw)
    config = SECTIONS[name]
    if name == "source":
        return _build_sources(raw)
    if name not in ENTRIES:
        return check(config, raw)
    if not isinstance(raw, dict):
        return None, [((), f"got {given(raw)}; allowed: {_allowed(name)} ({{}} for none)")]
    stages, findings = {}, []
    for key, value in raw.items():
        stages[key], wrong = check(config, value)
        findings += [((key, *path), what) for path, what in wrong]
    return (None if findings else stages), findings


def _build_sources(raw: Any) -> tuple[tuple[SourceConfig, ...] | None, list[Finding]]:
    """Build one source, or several: a list of them."""
    sources, findings = [], []
    if raw == []:
        return None, [((), "got an empty list; allowed: a source, or a list of them")]
    for number, one in enumerate(raw if isinstance(raw, list) else [raw]):
        value, wrong = check(SourceConfig, one)
        sources.append(value)
        here = (str(number),) if isinstance(raw, list) else ()
        findings += [((*here, *path), what) for path, what in wrong]
    return (None if findings else tuple(sources)), findings


def _build_seed(raw: Any) -> tuple[int | None, list[Finding]]:
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < 2**31:
        return raw, []
    return None, [((), f"got {given(raw)}; allowed: {describe(SEED)}")]


def _allowed(name: str) -> str:
    if name == "seed":
        return describe(SEED)
    if name in ENTRIES:
        return ENTRIES[name]
    return describe(SECTIONS[name])
