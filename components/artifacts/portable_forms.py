"""One network as a file: written by ONNX's exporter or torch.export's, and run again.

Legend: N samples.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.errors import ConfigError

ONNX, PROGRAM = ".onnx", ".pt2"
BATCHES = range(1, 9)
OPSET = 20
NOISY = ("torch.onnx", "torch.export", "torch.__trace", "onnxscript")
_ONE_FILE_BYTES = 1_500_000_000  # a protobuf holds 2 GiB at most


@dataclass(frozen=True, kw_only=True)
class Part:
    """One network to write.

    Attributes:
        name: stem of its files.
        module: positional tensors -> one tensor.
        inputs: names of its tensors; all begin with the batch.
        output: name of what it gives.
        example: n -> its tensors for a batch of n, the same ones at every call.
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    output: str
    example: Callable[[int], tuple[Tensor, ...]]


def exported(part: Part) -> Any:
    """Return the network as a `torch.export.ExportedProgram` for batches of 1 to 8."""
    batch = torch.export.Dim("batch", min=BATCHES[0], max=BATCHES[-1])
    with torch.no_grad():
        example = part.example(2)
        shapes = tuple({0: batch} for _ in example)
        made = torch.export.export(part.module, example, dynamic_shapes=shapes)
    # Each step carries the lines of code that made it, with the paths of this machine.
    for part_of in made.graph_module.modules():
        for node in getattr(getattr(part_of, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)
    return made


def save_onnx(part: Part, program: Any, path: Path) -> None:
    """Write a program as an ONNX file, which the checker of ONNX passes."""
    import onnx

    made = torch.onnx.export(
        program,
        input_names=list(part.inputs),
        output_names=[part.output],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert made is not None
    proto = made.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:], proto.metadata_props[:]
    apart = proto.ByteSize() > _ONE_FILE_BYTES
    onnx.save(proto, path, save_as_external_data=apart, location=f"{path.name}.data")
    onnx.checker.check_model(path)


def difference(part: Part, run: Callable[[tuple[Tensor, ...]], np.ndarray]) -> float:
    """Return the largest absolute difference over all batch sizes; NaN when one is not finite."""
    worst = 0.0
    for n in BATCHES:
        example = part.example(n)
        with torch.no_grad():
            wanted = part.module(*example).numpy()
        worst = float(np.maximum(worst, np.abs(run(example) - wanted).max()))
    return worst


def on_onnx_runtime(path: Path, part: Part) -> Callable[[tuple[Tensor, ...]], np.ndarray]:
    """Return what runs an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(example: tuple[Tensor, ...]) -> np.ndarray:
        feed = {k: v.numpy() for k, v in zip(part.inputs, example, strict=True)}
        found: np.ndarray = session.run([part.output], feed)[0]
        return found

    return run


def as_program(path: Path) -> Callable[[tuple[Tensor, ...]], np.ndarray]:
    """Return what runs a .pt2 file."""
    loaded = torch.export.load(path).module()

    def run(example: tuple[Tensor, ...]) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = loaded(*example).numpy()
        return found

    return run


def check_packages() -> None:
    """Raise ConfigError unless all packages of the extra `onnx` are there."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        try:
            __import__(name)
        except ImportError as error:
            todo = "pip install 'ganline[onnx]', or make setup"
            raise ConfigError(f"{name} is not installed", "--onnx", todo) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the exporters' own remarks, meant for their developers, from the terminal."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
