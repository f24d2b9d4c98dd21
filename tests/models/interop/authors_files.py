"""Checkpoints as the authors' code writes them, made of the weights in the parity files.

The streams name the same globals as theirs (torch_utils.persistence, dnnlib.util, the networks'
own modules). Those modules exist only while a file is written, so reading it cannot lean on them.
"""

from __future__ import annotations

import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from models.interop.parity_file import ParityFile, read_parity_file

PARITY = Path(__file__).parents[2] / "fixtures" / "parity"
SOURCE = "import os\nos.system('touch {marker}')\n"
BUFFERS = ("w_avg", "x_avg", "noise_const", "resample_filter", "freqs", "phases", "transform")
BUFFERS += ("running_mean", "running_var", "num_batches_tracked", "magnitude_ema")
BUFFERS += ("up_filter", "down_filter", "weight_u", "weight_v")


def parity(name: str) -> ParityFile:
    """Return a parity fixture by its name."""
    return read_parity_file(PARITY / f"{name}.safetensors")


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors one module deeper."""
    return {f"{prefix}.{name}": x for name, x in tensors.items()}


class Persistent:
    """An object of a persistent class: pickled as a call of the authors' reconstruct function."""

    def __init__(self, class_name: str, source: str) -> None:
        self.class_name, self.source = class_name, source
        self.state: dict[str, Any] = {"training": False, "_init_args": ()}
        for name in ("_parameters", "_buffers", "_modules", "_forward_hooks", "_backward_hooks"):
            self.state[name] = OrderedDict()
        self.state["_non_persistent_buffers_set"] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        function = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj  # type: ignore[attr-defined]
        meta = sys.modules["dnnlib.util"].EasyDict()  # type: ignore[attr-defined]
        meta.update(type="class", version=6, module_src=self.source, class_name=self.class_name)
        meta["state"] = self.state
        return function, (dict(meta),)


@contextmanager
def authors_modules(*classes: str) -> Iterator[None]:
    """Let pickle find the authors' modules, with nn.Module classes of these dotted names."""
    made: dict[str, ModuleType] = {}

    def module(name: str) -> ModuleType:
        for end in range(name.count(".") + 1):
            part = ".".join(name.split(".")[: end + 1])
            made.setdefault(part, ModuleType(part))
        return made[name]

    def define(dotted: str, value: Any) -> None:
        value.__module__, _, value.__name__ = dotted.rpartition(".")
        value.__qualname__ = value.__name__
        setattr(module(value.__module__), value.__name__, value)

    define("torch_utils.persistence._reconstruct_persistent_obj", lambda meta: meta)
    define("dnnlib.util.EasyDict", type("EasyDict", (dict,), {}))
    for dotted in classes:
        define(dotted, type(dotted.rpartition(".")[2], (nn.Module,), {}))
    assert not made.keys() & sys.modules.keys()
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def persistent(
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any] | None = None,
    init: Mapping[str, Any] | None = None,
    source: str = "raise SystemExit('the source of a checkpoint was run')",
) -> Persistent:
    """Return a tree of persistent objects with these tensors, attributes and arguments."""
    root = Persistent("Generator", source)

    def at(path: list[str]) -> Persistent:
        node = root
        for name in path:
            node = node.state["_modules"].setdefault(name, Persistent("Layer", source))
        return node

    for name, tensor in tensors.items():
        *path, last = name.split(".")
        buffer = last in BUFFERS
        value = tensor.clone() if buffer else nn.Parameter(tensor.clone(), requires_grad=False)
        at(path).state["_buffers" if buffer else "_parameters"][last] = value
    for name, value in (facts or {}).items():
        *path, last = name.split(".")
        at(path).state[last] = value
    root.state["_init_kwargs"] = dict(init or {})
    return root


def plain(cls: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any] | None = None) -> Any:
    """Return a module of the authors' class with these tensors and attributes: pickled by name.

    Call it inside `authors_modules(cls)`.
    """
    package, _, name = cls.rpartition(".")
    root = getattr(sys.modules[package], name)()

    def at(path: list[str]) -> nn.Module:
        node = root
        for part in path:
            if part not in node._modules:
                node.add_module(part, nn.Sequential())
            node = node._modules[part]
        return node

    for name, tensor in tensors.items():
        *path, last = name.split(".")
        if last in BUFFERS:
            at(path).register_buffer(last, tensor.clone())
        else:
            at(path).register_parameter(last, nn.Parameter(tensor.clone(), requires_grad=False))
    for name, value in (facts or {}).items():
        *path, last = name.split(".")
        setattr(at(path), last, value)
    return root


def write_snapshot(
    path: Path, generator: Any, discriminator: Any = None, raw: Any = None, protocol: int = 4
) -> Path:
    """Write {"G", "D", "G_ema", ...}; call it where the generator was made.

    Args:
        path: of the file.
        generator: the averaged one.
        discriminator: likewise.
        raw: the generator that is not averaged.
        protocol: of the pickle.
    """
    kwargs = sys.modules["dnnlib.util"].EasyDict()  # type: ignore[attr-defined]
    kwargs.update(class_name="training.dataset.ImageFolderDataset", path="/data/x.zip", xflip=True)
    content = {
        "training_set_kwargs": kwargs,
        "G": raw,
        "D": discriminator,
        "G_ema": generator,
        "augment_pipe": None,
    }
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def clip_tower(width: int, embed_dim: int) -> dict[str, Tensor]:
    """Return a small text tower of open_clip's under the names inside StyleGAN-T's snapshots."""
    from models.features.clip import ClipText

    torch.manual_seed(7)
    text = {"context_length": 77, "vocab_size": 49408, "width": width, "heads": 1, "layers": 2}
    tower = ClipText.build(
        {
            "embed_dim": embed_dim,
            "text_cfg": text,
            "quick_gelu": True,
            "tokenizer": {"kind": "open_clip", "context_length": 77},
        }
    )
    state = {name: x.detach().clone() for name, x in tower.network.state_dict().items()}
    return below("mapping.clip.model", {**state, "logit_scale": torch.tensor(4.6)})
