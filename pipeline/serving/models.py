"""Models that can be drawn with: opened when first asked for, a few kept open."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.errors import ConfigError, GanlineError
from components.requests.subjects import kind_of, label_names
from pipeline.serving.bodies import Images, Mix, Walk, limits_of
from pipeline.serving.draw_queue import DrawQueue, Job

OPEN_AT_ONCE = 2
WORDS_LISTED = 64


class Drawer:
    """One opened model and its queue.

    Args:
        folder: a release, or an artifact that needs no CLIP.
        batch, capacity: of the queue.

    Attributes:
        folder: as given.
        card: of the model.
        queue: before the thread that draws.

    Raises:
        StorageError: there is no such model, or it is damaged.
    """

    def __init__(self, folder: Path, batch: int = 16, capacity: int = 256) -> None:
        import torch

        from components.artifacts.release import load_release
        from models.inference import fast_form

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.folder = folder
        self._model, self.card = load_release(folder, device)
        fast_form(self._model.generator, precision="float32", compiled=False)
        self._batch = batch
        # Once before anybody waits: the first drawing loads what all others use.
        self._draw([(self.example(), 0, 1.0)], "const")
        self.queue = DrawQueue(self._draw, batch, capacity)

    def facts(self) -> dict[str, Any]:
        """Return what a client has to know of the model, ready for JSON."""
        from components.artifacts.release import model_hash
        from components.sampling import num_layers

        kind = kind_of(self.card)
        subject = self.example()
        return {
            "name": self.card.get("release", {}).get("model_name", ""),
            "family": self.card["recipe"]["name"],
            "model": model_hash(self.card),
            "takes": {"text": "prompt", "label": "label", "none": ""}[kind],
            "labels": label_names(self.card) if kind == "label" else [],
            "words": self._words() if kind == "text" else [],
            "resolution_px": self.card["resolution_px"],
            "layers": num_layers(self._model, subject),
            "draws_noise": hasattr(self._model.generator, "draw_noise"),
            "limits": limits_of(self.card),
        }

    def _words(self) -> list[str]:
        """Return the words that a model of text knows, where they are few enough to be listed."""
        model: Any = self._model
        words = list(getattr(model.text_encoder.tokenize, "words", ()))
        return words if len(words) <= WORDS_LISTED else []

    def example(self) -> str:
        """Return something that can be drawn."""
        from components.requests.subjects import example_subject

        return example_subject(self.card)

    def not_read(self, subjects: Sequence[str]) -> list[int]:
        """Return of how many tokens at its end the model reads nothing, for each prompt."""
        if kind_of(self.card) != "text":
            return [0] * len(subjects)
        model: Any = self._model  # of text
        return list(model.surplus(list(subjects)))

    def unknown(self, subjects: Sequence[str]) -> list[list[str]]:
        """Return the words of each prompt that the model never learned."""
        if kind_of(self.card) != "text":
            return [[] for _ in subjects]
        model: Any = self._model  # of text
        return list(model.unknown(list(subjects)))

    def images(self, asked: Images) -> Future[Any]:
        """Queue a request for images; gives uint8 [H, W, 3] per row."""
        rows = list(zip(asked.subjects, asked.seeds, asked.truncations, strict=True))
        return self.queue.submit(Job(rows, key=asked.noise))

    def mix(self, asked: Mix) -> Future[Any]:
        """Queue a request for style mixing; gives uint8 [N, H, W, 3]."""
        return self.queue.submit(Job(asked.style_seeds, alone=lambda: self._mix(asked)))

    def walk(self, asked: Walk) -> Future[Any]:
        """Queue a request for a walk; gives the bytes of an MP4 file."""
        return self.queue.submit(Job(range(asked.frames), alone=lambda: self._walk(asked)))

    def _draw(self, rows: Sequence[Any], noise: Hashable) -> list[Any]:
        from components.sampling import generate_batches

        subjects, seeds, psis = (list(part) for part in zip(*rows, strict=True))
        noise_kind: Any = noise
        batches = generate_batches(self._model, subjects, seeds, psis, self._batch, noise_kind)
        return [image for images in batches for image in images]

    def _mix(self, asked: Mix) -> Any:
        import components.sampling as sampling

        count = len(asked.style_seeds)
        layers = asked.layers or range((1 + sampling.num_layers(self._model, asked.subject)) // 2)
        noise: Any = asked.noise
        return sampling.mix(
            self._model,
            prompts=[asked.subject] * count,
            seeds=[asked.seed] * count,
            style_prompts=[asked.style] * count,
            style_seeds=asked.style_seeds,
            layers=tuple(layers),
            truncation=asked.truncation,
            noise=noise,
        )

    def _walk(self, asked: Walk) -> bytes:
        from components.pictures.animation import enlarge, write_animation
        from components.sampling import Keyframe, walk

        pairs = zip(asked.subjects, asked.seeds, strict=True)
        stops = [Keyframe(prompt=subject, seed=seed) for subject, seed in pairs]
        noise: Any = asked.noise
        batches = walk(
            self._model,
            stops,
            asked.frames,
            loop=asked.loop,
            truncation=asked.truncation,
            noise=noise,
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "walk.mp4"
            frames = (enlarge(image) for images in batches for image in images)
            write_animation(frames, path, asked.fps)
            return path.read_bytes()


class Models:
    """The models of a server by their ids.

    Args:
        places: id -> (title, a function that gives the folder; it may fetch it).
    """

    def __init__(self, places: dict[str, tuple[str, Callable[[], Path]]]) -> None:
        self._places = places
        self._open: OrderedDict[str, Drawer] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def listed(self) -> list[dict[str, str]]:
        """Return id and title of each, the default first."""
        return [{"id": name, "title": title} for name, (title, _) in self._places.items()]

    def get(self, name: str = "") -> Drawer:
        """Return a model, opened if it is not; the default for "".

        Raises:
            ConfigError: there is no such id.
            StorageError: it is missing or damaged.
        """
        name = name or next(iter(self._places))
        if name not in self._places:
            raise ConfigError(f"no model {name[:40]!r}", "model", f"use {', '.join(self._places)}")
        with self._lock:
            if name not in self._open:
                self._open[name] = Drawer(self._places[name][1]())
                while len(self._open) > OPEN_AT_ONCE:
                    _, oldest = self._open.popitem(last=False)
                    threading.Thread(target=oldest.queue.close, daemon=True).start()
            self._open.move_to_end(name)
            return self._open[name]

    def follow(self, name: str, version: Callable[[], str], every_s: float) -> None:
        """Open a model anew whenever its version changes, from a thread; no request is lost.

        What waits for the old one is still drawn by it. A version that cannot be asked for or
        opened changes nothing: the old one goes on.
        """

        first = version()

        def watch() -> None:
            known = first
            while not self._closed.wait(every_s):
                with suppress(GanlineError):
                    now = version()
                    if now != known:
                        new = Drawer(self._places[name][1]())
                        with self._lock:
                            old = self._open.get(name)
                            self._open[name] = new
                        known = now
                        if old is not None:
                            old.queue.close()

        threading.Thread(target=watch, name="follow", daemon=True).start()

    def close(self) -> None:
        """Draw what waits and end all drawing."""
        self._closed.set()
        for drawer in self._open.values():
            drawer.queue.close()
