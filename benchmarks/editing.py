"""Edit many codes of a model by words, in the three ways, and count what changed and what stayed.

python -m benchmarks.editing artifacts/base --out runs/edited [--num 200] [--method direction]
    [--want size] [--strengths 2,4,8,12,16] [--json FILE]

Of the model's codes, the first that do not show the wanted value yet are edited, each from what the
guiding CLIP says that it shows ("a small red circle on a white background") to the same with one
word changed; `--words` asks all for the one word instead. The judge, which
no method reads, names what is drawn before and after. `changed` is the share that then shows the
value, `kept` the share in which another attribute is as before. A row of pictures for each table
row is left in --out. Codes are searched for in batches: each search is its own, since Adam treats
every number of a code apart. Needs the embedded drawings: the judge and the texts know no others.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.adaptation import captions
from benchmarks.judged import Eyes, compare
from benchmarks.wanted import WANTED, Wanted, sentences
from components.requests.editing import MapperConfig

METHODS = ("optimise", "mapper", "direction")
SHOWN = 8  # codes on a sheet
PROMPTS = 64  # that a model of text is asked for, by turns


def main(argv: list[str] | None = None) -> int:
    """Edit, print the table, write JSON and pictures."""
    options = _parser().parse_args(argv)
    from pipeline.places import bundled_folder

    torch.set_num_threads(options.threads)
    options.encoders = options.encoders or bundled_folder() / "encoders"
    options.out.mkdir(parents=True, exist_ok=True)
    subject = Subject(options)
    print(
        "| method | wanted | changed | others kept | diversity | once s | ms an edit |\n"
        "|---|---|---|---|---|---|---|"
    )
    rows = []
    for want in options.want or list(WANTED):
        for method in options.method or METHODS:
            for found in subject.measured(method, want):
                rows.append(found)
                kept = ", ".join(f"{k} {share:.2f}" for k, share in found["kept"].items())
                print(
                    f"| {found['method']} | {want}: {found['value']} | {found['target']:.3f} | "
                    f"{kept} | {found['diversity']:.2f} | {found['once_s']:.0f} | "
                    f"{found['edit_ms']:.0f} |",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    mapper = MapperConfig()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.editing")
    parser.add_argument("model", type=Path, help="artifact or release")
    parser.add_argument("--encoders", type=Path, default=None, help="default: the bundled ones")
    parser.add_argument("--prompt", default="", help="of a model of text; default: captions")
    parser.add_argument("--method", action="append", choices=METHODS)
    parser.add_argument("--want", action="append", choices=list(WANTED))
    parser.add_argument("--words", action="store_true", help="ask for a word, not for sentences")
    parser.add_argument("--num", type=int, default=200, help="codes that are edited")
    parser.add_argument("--strengths", default="2,4,8,12,16", help="of the direction")
    parser.add_argument("--top-channels", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300, help="of the search")
    parser.add_argument("--starts", type=int, default=1, help="of the search")
    parser.add_argument("--learning-rate", type=float, default=0.1, help="of the search")
    parser.add_argument("--space", default="w+", choices=("w", "w+", "s"), help="of the search")
    parser.add_argument("--mapper-steps", type=int, default=mapper.steps)
    parser.add_argument("--mapper-rate", type=float, default=mapper.learning_rate)
    weights = {"clip": 1.0, "direction": 0.0, "distance": 0.008, "mapper": mapper.distance_weight}
    for name, value in weights.items():
        parser.add_argument(f"--{name}-weight", type=float, default=value)
    parser.add_argument("--sweep-images", type=int, default=16)
    parser.add_argument("--sweep-codes", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything here")
    return parser


class Subject:
    """The model, its codes, and what is seen of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        from components.artifacts.release import code_hashes, load_release
        from components.evaluation.nets import open_net
        from components.requests.subjects import NOTHING, kind_of

        self._options = options
        model, card = load_release(options.model)
        self._generator, self._sha256 = model.generator, code_hashes(card)[0]
        asked = [options.prompt or NOTHING]
        if kind_of(card) == "text" and not options.prompt:
            asked = captions(PROMPTS)
        self._condition = model.condition(asked)
        self._clip = open_net(options.encoders, "clip").network
        self._eyes = Eyes(options.encoders)
        self._sweep: Any = None

    def measured(self, method: str, want: str) -> Iterator[dict[str, Any]]:
        """Yield the numbers of a method; of directions, for each strength."""
        wanted, options = WANTED[want], self._options
        ws_NLD = self._codes(want, wanted.value)
        before = self._draw({"ws": ws_NLD})
        seen = self._eyes.look(before)
        for name, values, once_s, edit_ms in getattr(self, f"_{method}")(want, ws_NLD):
            after = self._draw(values)
            self._sheet(f"{want} {name}", before, after)
            yield {
                **compare(seen, self._eyes.look(after), want, wanted.value),
                "method": name,
                "once_s": once_s,
                "edit_ms": edit_ms,
                "settings": {k: str(v) for k, v in vars(options).items()},
            }

    def _codes(self, attribute: str, value: str) -> Tensor:
        """Return the first codes whose images do not show the value yet.

        Raises:
            SystemExit: there is none.
        """
        from components.editing.edits import by_turns
        from components.sampling.draw import codes

        num, found, first = self._options.num, [], 0
        while sum(map(len, found)) < num and first < 50 * num:
            seeds = list(range(first, first + 2 * num))
            rows = by_turns(self._condition, seeds)
            ws_NLD = codes(self._generator, rows, seeds, [1.0] * len(seeds)).clone()
            shows = self._eyes.look(self._draw({"ws": ws_NLD})).shows(attribute, value)
            found.append(ws_NLD[torch.from_numpy(~shows)])
            first += len(seeds)
        ws_NLD = torch.cat(found)[:num]
        if not len(ws_NLD):
            raise SystemExit(f"all {first} images show {attribute} {value} already")
        return ws_NLD

    def _draw(self, values: dict[str, Tensor]) -> np.ndarray:
        from components.editing.edits import by_turns, draw_values
        from components.sampling import evaluation_mode, to_uint8

        count, size = len(next(iter(values.values()))), self._options.batch
        images = []
        with torch.inference_mode(), evaluation_mode(self._generator):
            for start in range(0, count, size):
                part = {name: x[start : start + size] for name, x in values.items()}
                rows = by_turns(self._condition, range(len(next(iter(part.values())))))
                images.append(to_uint8(draw_values(self._generator, part, rows)))
        return np.concatenate(images)

    def _text(self, templates: Sequence[str] = ()) -> Any:
        from components.editing import ClipText

        return ClipText(self._clip, templates)

    def _goal(self, want: str, wanted: Wanted) -> Any:
        """Return what images are to show: sentences, or a word."""
        from components.editing import Captions

        if self._options.words:
            return wanted.value
        return Captions(self._text(), sentences(want, wanted.value), f"{want} {wanted.value}")

    # --- Each yields (name, edited values, seconds once, milliseconds an edit).

    def _optimise(self, want: str, ws_NLD: Tensor) -> Iterator[tuple[Any, ...]]:
        from components.editing import OptimiseConfig, edit_by_optimising
        from components.editing.edits import by_turns

        options, parts, wanted = self._options, [], WANTED[want]
        goal = self._goal(want, wanted)
        config = OptimiseConfig(
            steps=options.steps,
            starts=options.starts,
            space=options.space,
            learning_rate=options.learning_rate,
            clip_weight=options.clip_weight,
            direction_weight=options.direction_weight,
            distance_weight=options.distance_weight,
        )
        started = time.perf_counter()
        for part_NLD in ws_NLD.split(options.batch):
            rows = by_turns(self._condition, range(len(part_NLD)))
            edit = edit_by_optimising(
                self._generator,
                part_NLD,
                rows,
                self._text(wanted.templates),
                goal,
                config,
                neutral=wanted.neutral,
            )
            parts.append({name: x + edit.change[name] for name, x in edit.start.items()})
        took = time.perf_counter() - started
        edited = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        yield "optimise", edited, 0.0, 1000 * took / len(ws_NLD)

    def _mapper(self, want: str, ws_NLD: Tensor) -> Iterator[tuple[Any, ...]]:
        from components.editing import edit_by_mapper, train_mapper

        options, wanted = self._options, WANTED[want]
        config = MapperConfig(
            steps=options.mapper_steps,
            learning_rate=options.mapper_rate,
            clip_weight=options.clip_weight,
            direction_weight=options.direction_weight,
            distance_weight=options.mapper_weight,
            psi=1.0,
        )
        started = time.perf_counter()
        stored = train_mapper(
            self._generator,
            self._condition,
            self._text(wanted.templates),
            self._goal(want, wanted),
            config,
            generator_sha256=self._sha256,
            neutral=wanted.neutral,
        )
        trained = time.perf_counter()
        edits = [edit_by_mapper(stored.mapper, ws_1LD) for ws_1LD in ws_NLD.split(1)]
        took = 1000 * (time.perf_counter() - trained) / len(ws_NLD)
        edited = torch.cat([x.start["ws"] + x.change["ws"] for x in edits])
        yield "mapper", {"ws": edited}, trained - started, took

    def _direction(self, want: str, ws_NLD: Tensor) -> Iterator[tuple[Any, ...]]:
        from components.editing import edit_by_channels
        from components.sampling import from_uint8

        channels, once = self._channels()
        wanted, top = WANTED[want], self._options.top_channels
        goal, before = self._goal(want, wanted), from_uint8(self._draw({"ws": ws_NLD}))
        one_E = self._text(wanted.templates).direction(wanted.neutral, wanted.value)
        started = time.perf_counter()
        edits = []
        for ws_1LD, image_1CHW in zip(ws_NLD.split(1), before.split(1), strict=True):
            way_E = one_E if self._options.words else goal.ways(goal.own(image_1CHW))[0]
            if not way_E.any():  # CLIP sees the value already, where the judge does not
                way_E = one_E
            edits.append(edit_by_channels(self._generator, ws_1LD, channels, way_E, top=top)[0])
        took = 1000 * (time.perf_counter() - started) / len(ws_NLD)
        for alpha in map(float, self._options.strengths.split(",")):
            values = {
                name: torch.cat([x.start[name] + alpha * x.change[name] for x in edits])
                for name in edits[0].start
            }
            yield f"direction, alpha {alpha:g}", values, once, took

    def _channels(self) -> tuple[Any, float]:
        """Return the sweep, and how long it took."""
        from components.editing import ChannelSweep, SweepConfig

        if self._sweep is None:
            config = SweepConfig(
                psi=1.0, images=self._options.sweep_images, codes=self._options.sweep_codes
            )
            started = time.perf_counter()
            sweep = ChannelSweep(self._generator, self._condition, self._text(), config)
            found = sweep.run(self._options.out / "channels")
            took = time.perf_counter() - started
            self._sweep = sweep.channels(found, self._sha256, ""), took
        found, took = self._sweep
        return found, took

    def _sheet(self, name: str, before: np.ndarray, after: np.ndarray) -> None:
        from components.pictures.sheets import image_grid

        shown = np.concatenate([before[:SHOWN], after[:SHOWN]])
        image_grid(shown, SHOWN).save(self._options.out / f"{name.replace(', ', ' ')}.png")


if __name__ == "__main__":
    raise SystemExit(main())
