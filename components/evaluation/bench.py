"""The measuring bench: frozen nets and held-out rows that measure a generator.

Every number leaves with a card that says what it was measured with, for a distance means nothing
without its net, its resize and its counts. Legend: N real images, M generated images, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.artifacts.frozen_nets import is_absent
from components.data.captions import attributes_of, attributes_of_class
from components.errors import DataError
from components.evaluation.alignment import attribute_accuracy, clip_score, prompt_sensitivity
from components.evaluation.cards import metric_card
from components.evaluation.config import EvaluateConfig
from components.evaluation.distances import Moments, frechet_distance
from components.evaluation.features import real_features
from components.evaluation.held_out_looks import HeldOutLooks, Read
from components.evaluation.looking import look
from components.evaluation.memorisation import IMAGES_LIMIT
from components.evaluation.nets import MeasuringNet, open_distance_net, open_net, open_scorer
from components.evaluation.pieces import REAL, Piece, Seen, pieces_of
from components.evaluation.sampled import Sampled
from models.text_to_image import give_words

ABOUT_TEXT = ("judge", "clip_score", "prompt_sensitivity")  # metrics that compare with a prompt


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Nets and held-out rows of one evaluation.

    Attributes:
        source: a BatchSource of the held-out rows at the generator's resolution, order by
            `config.seed`.
        config: counts and seeds.
        net: the net of the distances.
        clip: for the CLIP score, by choice another one than guides; None without text.
        judge: for the attributes; None where nobody trained one.
        cache: folder of cached real features, or None.
        text_encoder: the network that embeds prompts for the generator; None without text.
        not_measured: metric -> why, for what this model or these encoders do not allow.
        read: caption or name of a class -> the attributes that it tells of, None for none.
        asked: whether prompts or classes decide what the generator draws.
        training: a BatchSource of the rows that the generator was trained on; None = not at hand.
        seen: what other machines have seen ahead, by piece.
    """

    source: Any
    config: EvaluateConfig
    net: MeasuringNet
    clip: MeasuringNet | None = None
    judge: MeasuringNet | None = None
    cache: Path | None = None
    text_encoder: Any = None
    not_measured: dict[str, str] = field(default_factory=dict)
    read: Read = attributes_of
    asked: bool = True
    training: Any = None
    seen: dict[Piece, Seen] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        source: Any,
        encoders: Path,
        config: EvaluateConfig,
        *,
        cache: Path | None,
        device: torch.device | str = "cpu",
        takes_text: bool = True,
        takes_label: bool = False,
        training: Any = None,
    ) -> Bench:
        """Load the nets that `config` names and `encoders` holds.

        Args:
            source: of the held-out rows.
            encoders: folder of the frozen nets.
            config: the stage's.
            cache: folder of cached real features, or None.
            device: where to measure.
            takes_text: whether prompts decide what the generator draws.
            takes_label: without text, whether classes do, whose names the judge may know.
            training: a BatchSource of the rows that the generator was trained on, or None.

        Raises:
            ConfigError: the net that the distances are to use is not there.
            DataError: fewer than two held-out rows.
            StorageError: a net is damaged.
        """
        if source.num_rows < 2:
            raise DataError(
                f"{source.num_rows} held-out rows", "evaluate", "hold out at least 2 rows"
            )
        net = open_distance_net(config.feature_role, config.inception_file, encoders, device)
        scorer: MeasuringNet | None = None
        skipped: dict[str, str] = {}
        roles = ["judge"]
        if takes_text:
            scorer = open_scorer(config.clip_scorer, encoders, "evaluate.clip_scorer", device)
            roles.append("clip")
        else:
            about = [name for name in ABOUT_TEXT if not (takes_label and name == "judge")]
            skipped = dict.fromkeys(about, "the model takes no text")
        opened = {n.role: n for n in (net, scorer) if n is not None}
        for role in roles:
            if role not in opened and not is_absent(encoders, role):
                opened[role] = open_net(encoders, role, device)
        return cls(
            source=source,
            config=config,
            net=net,
            clip=scorer,
            judge=opened.get("judge"),
            cache=cache,
            text_encoder=opened["clip"].network if takes_text and "clip" in opened else None,
            not_measured=skipped,
            read=attributes_of if takes_text else attributes_of_class,
            asked=takes_text or takes_label,
            training=training,
        )

    def give_words(self, generator: Any) -> None:
        """Let a generator that attends to words read those of the held-out captions."""
        if self.text_encoder is not None:
            give_words(generator, self.text_encoder)

    @property
    def nets(self) -> dict[str, MeasuringNet]:
        """The nets that are there: `net` of the distances, `clip`, `judge`."""
        found = {"net": self.net, "clip": self.clip, "judge": self.judge}
        return {name: net for name, net in found.items() if net is not None}

    @property
    def judging(self) -> str:
        """Whose look is the judge's: `net`, where they are one, is not asked twice."""
        same = self.judge is not None and self.judge.sha256 == self.net.sha256
        return "net" if same else "judge"

    def look(self, piece: Piece, generator: Any = None) -> Seen:
        """Return what is seen on a piece, now or ahead."""
        return self.seen.get(piece) or look(self, piece, generator)

    def real_pieces(self, of: str, net: MeasuringNet, count: int) -> list[Piece]:
        """Return the pieces of real images that one of the nets looks at."""
        by = next(name for name, one in self.nets.items() if one.sha256 == net.sha256)
        return pieces_of(of, count, self.config.batch, [by])

    def real_vectors(self, pieces: Sequence[Piece]) -> Iterator[dict[str, Tensor]]:
        """Yield what the one net of each piece sees."""
        for piece in pieces:
            yield self.look(piece)["features"][piece.by[0]]

    @property
    def probes_classes(self) -> bool:
        """Whether a probe names the classes of images: of a model that is asked for classes, or for
        text where the data has classes and no judge names what is seen.
        """
        if not self.asked or self.clip is None:
            return self.asked
        return self.judge is None and bool(self.source.label_names)

    @property
    def num_held_out(self) -> int:
        """Held-out images that are looked at: N = min(rows, num_real)."""
        return min(self.source.num_rows, self.config.num_real)

    def real(self, net: MeasuringNet) -> dict[str, Tensor]:
        """Return what a net sees on the held-out images."""
        count = self.num_held_out
        parts = self.real_vectors(self.real_pieces(REAL, net, count))
        return real_features(self.source, net, count=count, parts=parts, cache=self.cache)

    @cached_property
    def real_ND(self) -> Tensor:
        """Features of the held-out images by the distances' net."""
        return self.real(self.net)["pooled"]

    @cached_property
    def real_moments(self) -> Moments:
        """Their moments."""
        return Moments.of(self.real_ND)

    @cached_property
    def held_out(self) -> HeldOutLooks:
        """What can be seen of held-out images without a net."""
        return HeldOutLooks.of(self.source, self.config, self.read)

    def drawn_pieces(
        self, of: str, count: int, *, truncation: float = 1.0, aligned: bool = True, looked: bool
    ) -> list[Piece]:
        """Return the pieces of `sample`."""
        by = ["net"]
        if aligned:
            by = [name for name in self.nets if name != "judge" or self.judging == "judge"]
        outlined = looked and self.held_out.outlines is not None
        found = pieces_of(of, count, self.config.batch, by, truncation=truncation)
        if not looked:
            return found
        most = count if outlined else IMAGES_LIMIT
        return [replace(p, pictured=p.start < most, outlined=outlined) for p in found]

    def sample(
        self,
        generator: Any,
        count: int,
        *,
        truncation: float = 1.0,
        aligned: bool = True,
        looked: bool = False,
        of: str = "",
    ) -> Sampled:
        """Generate `count` images from held-out prompts and let the nets look at them.

        Args:
            generator: a Generator.
            count: images; prompts come again, with other seeds, when there are fewer.
            truncation: psi.
            aligned: also ask CLIP and the judge, not only the distances' net.
            looked: also take the outlines, where held-out images have some, or else small pictures
                of the first images.
            of: which generator it is, of those whose images were seen ahead.
        """
        options: dict[str, Any] = {"truncation": truncation, "aligned": aligned, "looked": looked}
        pieces = self.drawn_pieces(of, count, **options)
        judge = self.judging if aligned else "judge"
        return Sampled.joined([self.look(piece, generator) for piece in pieces], judge)

    def frechet(self, sampled: Sampled) -> float:
        """Return the Frechet distance of generated images from the held-out ones."""
        return frechet_distance(self.real_moments, Moments.of(sampled.feature_MD))

    def judged(self, sampled: Sampled) -> dict[str, float] | None:
        """Return the judge's shares per attribute; None without judge, text or captions."""
        if self.judge is None or not sampled.logits or "judge" in self.not_measured:
            return None
        classes = self.judge.network.classes
        return attribute_accuracy(sampled.logits, classes, sampled.captions, self.read)

    def clip_scores(self, sampled: Sampled) -> tuple[float, float | None] | None:
        """Return (CLIP score, prompt sensitivity), None without CLIP or without captions.

        The sensitivity is None when all prompts are equal.
        """
        if sampled.image_MD is None or sampled.text_MD is None:
            return None
        pair = (sampled.image_MD, sampled.text_MD)
        return clip_score(*pair), prompt_sensitivity(*pair, sampled.captions)

    def real_reference(self, sampled: Sampled) -> dict[str, Any]:
        """Return what judge and CLIP say about the real images of the same rows: the ceiling."""
        reference: dict[str, Any] = dict.fromkeys(ABOUT_TEXT)
        count = min(len(sampled.feature_MD), len(self.real_ND))
        if self.judge is not None:
            logits = {k: x[:count] for k, x in self.real(self.judge).items() if k != "pooled"}
            rows = Sampled(
                feature_MD=self.real_ND, captions=sampled.captions[:count], logits=logits
            )
            reference["judge"] = self.judged(rows)
        if self.clip is not None and sampled.text_MD is not None:
            rows = replace(
                sampled.first(count),
                feature_MD=self.real_ND[:count],
                image_MD=self.real(self.clip)["pooled"][:count],
            )
            aligned = self.clip_scores(rows) or (None, None)
            reference["clip_score"], reference["prompt_sensitivity"] = aligned
        return reference

    def card(
        self, net: MeasuringNet | str, num_fake: int, *, num_real: int = 0, note: str = ""
    ) -> dict[str, Any]:
        """Return the card of a metric, as plain values; a word stands for what no net measured."""
        return metric_card(
            net,
            note=note,
            num_real=num_real,
            num_fake=num_fake,
            data_content_hash=self.source.content_hash,
            seed=self.config.seed,
        )
