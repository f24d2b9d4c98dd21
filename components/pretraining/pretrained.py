"""Open a published network, by name from the model hub or from a local file, as a feature net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from components.errors import ConfigError, DataError
from components.pretraining.config import PretrainedConfig
from models.features import ClipNet, CnnNet, VitNet
from models.features.folder import file_sha256
from models.features.lpips import LpipsNet, load_lpips
from models.interop.tensor_file import read_tensors

LPIPS = "lpips"  # the name of what is LPIPS and not one of timm's networks
NUM_LISTED = 8  # keys named in an error


def open_pretrained(role: str, config: PretrainedConfig, where: str = "") -> tuple[Any, str]:
    """Return the net of a role and where its weights are from, in words.

    Args:
        role: clip or scorer, or a role that one of timm's networks fills.
        config: which network, and where its weights are.
        where: the parameter that holds `config`, for errors; default that of the encoders stage.

    Raises:
        ConfigError: the name is not known to the library, or cannot serve the role.
        DataError: the weights cannot be had, are not what sha256 says, or do not fit.
    """
    where = where or f"encoders.{role}.pretrained"
    if config.heads or config.name == LPIPS:
        return _lpips(role, config, where)
    net = _clip(config, where) if role in ("clip", "scorer") else _timm(role, config, where)
    weights, source = _weights(config, where)
    _load(net.network, weights, config, where)
    return net, source


def _lpips(role: str, config: PretrainedConfig, where: str) -> tuple[LpipsNet, str]:
    """Return LPIPS on VGG-16, of its two published files."""
    if role not in ("classifier", "guide"):
        raise ConfigError(f"{role} cannot be LPIPS", where, "use the role guide or classifier")
    if config.name != LPIPS or not config.file or not config.heads:
        got = f"name {config.name!r}, file {config.file!r}, heads {config.heads!r}"
        todo = f"set name to {LPIPS}, file to VGG-16's weights and heads to the lpips package's"
        raise ConfigError(f"LPIPS needs two files, got {got}", where, todo)
    vgg, heads = Path(config.file), Path(config.heads)
    if vgg.is_file():
        _check_sha256(vgg, config, where)
    try:
        net = load_lpips(read_tensors(vgg), read_tensors(heads))
    except ValueError as error:
        todo = "file: torchvision's VGG-16; heads: vgg.pth of the lpips package, version 0.1"
        raise DataError(str(error), f"{where}: {vgg}, {heads}", todo) from error
    return net, f"files: {vgg.name}, {heads.name}"


def _clip(config: PretrainedConfig, where: str) -> ClipNet:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    settings = open_clip.get_model_config(config.name)
    if settings is None:
        todo = "see open_clip.list_models(), for instance ViT-L-14"
        raise ConfigError(f"open_clip has no model {config.name!r}", f"{where}.name", todo)
    text = settings["text_cfg"]
    if settings.get("custom_text") or "hf_tokenizer_name" in text or "hf_model_name" in text:
        todo = "take a CLIP with OpenAI's tokenizer, such as ViT-L-14"
        raise ConfigError(f"{config.name} has a text tower of its own", f"{where}.name", todo)
    facts = get_pretrained_cfg(config.name, config.tag) if config.tag else {}
    if config.tag and not facts:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(config.name))
        raise ConfigError(
            f"{config.name} has no weights {config.tag!r}", f"{where}.tag", f"one of {known}"
        )
    size = config.image_size_px or settings["vision_cfg"].get("image_size", 224)
    architecture = {
        "embed_dim": settings["embed_dim"],
        "vision_cfg": settings["vision_cfg"] | {"image_size": size},
        "text_cfg": text,
        "quick_gelu": bool(facts.get("quick_gelu", settings.get("quick_gelu", False))),
        "tokenizer": {"kind": "open_clip", "context_length": text.get("context_length", 77)},
    }
    mean = list(config.mean or facts.get("mean") or open_clip.OPENAI_DATASET_MEAN)
    std = list(config.std or facts.get("std") or open_clip.OPENAI_DATASET_STD)
    return ClipNet.build(architecture, image_size_px=size, mean=mean, std=std)


def _timm(role: str, config: PretrainedConfig, where: str) -> VitNet | CnnNet:
    facts = _timm_facts(config.name, where)
    arguments = dict(config.arguments)
    size = config.image_size_px or facts.input_size[-1]
    architecture: dict[str, Any] = {"name": config.name, "arguments": arguments}
    kind = VitNet if role == "dino" or config.name.startswith(("vit_", "deit")) else CnnNet
    if kind is VitNet:
        architecture["hooks"] = list(config.hooks) or None
        if config.image_size_px:
            arguments["img_size"] = size
    mean, std = list(config.mean or facts.mean), list(config.std or facts.std)
    try:
        return kind.build(architecture, image_size_px=size, mean=mean, std=std)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"cannot build {config.name}: {error}", where, "check arguments"
        ) from error


def _timm_facts(name: str, where: str) -> Any:
    from timm.models import get_pretrained_cfg, is_model

    known = is_model(name.partition(".")[0])
    try:
        facts = get_pretrained_cfg(name) if known else None
    except RuntimeError:  # the part behind the dot names no weights
        facts = None
    if facts is None:
        todo = "see timm.list_pretrained(), for instance vit_small_patch16_224.dino"
        raise ConfigError(f"timm has no model {name!r}", f"{where}.name", todo)
    return facts


def _weights(config: PretrainedConfig, where: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of the local file, or of the hub when no file is given."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not config.file:
        return _fetch(config, where), " ".join(filter(None, ["hub:", config.name, config.tag]))
    path = Path(config.file)
    if not path.is_file():
        raise DataError(f"no file {path}", f"{where}.file", "give a .safetensors file of the model")
    _check_sha256(path, config, where)
    try:
        return load_file(path), f"file: {path.name}"
    except SafetensorError as error:
        raise DataError(f"{path} is no safetensors file: {error}", where, "convert it") from error


def _check_sha256(path: Path, config: PretrainedConfig, where: str) -> None:
    if not config.sha256:
        return
    found = file_sha256(path)
    if found != config.sha256.lower():
        todo = "fetch the file again or correct sha256"
        raise DataError(f"{path} has sha256 {found}, wanted {config.sha256}", where, todo)


def _fetch(config: PretrainedConfig, where: str) -> dict[str, Tensor]:
    try:
        if config.tag:
            import open_clip

            return open_clip.create_model(config.name, pretrained=config.tag).state_dict()
        import timm

        arguments: dict[str, Any] = dict(config.arguments)
        return timm.create_model(config.name, pretrained=True, **arguments).state_dict()
    # The hub's client raises errors of many libraries; whichever it is, the way out is the same.
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        todo = f"download the model's .safetensors elsewhere and set {where}.file to it"
        raise DataError(f"cannot fetch {config.name}: {text}", where, todo) from error


def _load(
    network: nn.Module, weights: dict[str, Tensor], config: PretrainedConfig, where: str
) -> None:
    expected = network.state_dict()
    # A batch norm's count of training batches: copies of published weights leave it out, and no
    # forward pass of a frozen net reads it.
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - set(weights) - counters)
    unexpected = sorted(set(weights) - set(expected))
    wrong = sorted(
        f"{name} is {list(weights[name].shape)}, wanted {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    )
    if missing or wrong or (unexpected and config.strict):
        lists = {"missing": missing, "unexpected": unexpected, "of another shape": wrong}
        said = "; ".join(f"{len(v)} {k}: {_some(v)}" for k, v in lists.items() if v)
        todo = "check name and arguments; strict: false allows unexpected tensors"
        raise DataError(f"the weights do not fit {config.name}: {said}", where, todo)
    network.load_state_dict(weights, strict=False)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NUM_LISTED} more" if len(names) > NUM_LISTED else ""
    return ", ".join(names[:NUM_LISTED]) + more
