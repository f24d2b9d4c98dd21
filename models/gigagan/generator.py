"""GigaGAN's generator: text head, mapping and synthesis (Kang et al. 2023, sections 3.1 and 3.2).

With other fields it is Aurora's published generator, whose code was never trained here.

Legend: N samples, L entries of w, D width of w, Z width of z, C width of the text, T words.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.features.word_reader import WordReader
from models.gigagan.synthesis import Synthesis
from models.gigagan.text_head import Text, TextReader
from models.interfaces import Condition
from models.layers.equalized import EqualizedLinear, normalize_second_moment
from models.layers.running_mean import RunningMean
from models.layers.style_space import StyledGenerator

TEXT_DRAWS = 16  # codes whose mean is the mean of a text. Paper: appendix C.1


class TextMapping(nn.Module):
    """[z, text] -> w: a perceptron on both, each scaled to unit mean square.

    Args:
        z_dim: Z.
        text_dim: C; 0 = no text.
        w_dim: D.
        num_layers: all have a leaky ReLU.
        hidden_dim: width of all but the last; 0 = D.
        lr_multiplier: of the layers' equalised learning rate.
        mean_beta: of the running mean of w.
    """

    def __init__(
        self,
        z_dim: int,
        text_dim: int,
        w_dim: int,
        *,
        num_layers: int,
        hidden_dim: int = 0,
        lr_multiplier: float = 0.01,
        mean_beta: float = 0.995,
    ) -> None:
        super().__init__()
        widths = [z_dim + text_dim, *[hidden_dim or w_dim] * (num_layers - 1), w_dim]
        self.layers = nn.ModuleList(
            EqualizedLinear(before, after, lr_multiplier=lr_multiplier, leaky=True)
            for before, after in pairwise(widths)
        )
        self.mean = RunningMean(w_dim, mean_beta)

    def forward(self, z_NZ: Tensor, pooled_NC: Tensor | None = None) -> Tensor:
        """Return w [N, D], float32, not truncated."""
        x = normalize_second_moment(z_NZ.float())
        if pooled_NC is not None:
            x = torch.cat([x, normalize_second_moment(pooled_NC.float())], dim=1)
        for layer in self.layers:
            x = layer(x)
        self.mean.observe(x)
        return x

    def truncated(
        self, w_ND: Tensor, pooled_NC: Tensor | None, psi: float | Tensor, draws_KZ: Tensor
    ) -> Tensor:
        """Draw w towards the mean of its text, and that mean's way from the mean of all as well.

        Appendix C.1: lerp(mean of the text, lerp(mean of all, w, psi), psi). 1 = off, 0 = the mean
        of the text.

        Args:
            w_ND: not truncated.
            pooled_NC: the texts; None: there is one mean only.
            psi: one number or [N].
            draws_KZ: the z whose codes stand for a text.
        """
        share = psi.to(w_ND).view(-1, 1) if isinstance(psi, Tensor) else psi
        nearer = torch.lerp(self.mean.value.expand_as(w_ND), w_ND, share)
        if pooled_NC is None:
            return nearer
        count = len(draws_KZ)
        z_KN = draws_KZ.to(w_ND).repeat_interleave(len(w_ND), dim=0)
        tracks, self.mean.tracks = self.mean.tracks, False
        w_KND = self(z_KN, pooled_NC.repeat(count, 1)).view(count, *w_ND.shape)
        self.mean.tracks = tracks
        return torch.lerp(w_KND.mean(dim=0), nearer, share)


class GigaGANGenerator(StyledGenerator):
    """Text head, mapping and synthesis; implements `models.interfaces.Generator`.

    Args:
        resolution: of the images, in pixels.
        text: condition -> text.
        z_dim, w_dim: Z, D.
        mapping_layers, mapping_dim: of the mapping; see `TextMapping`.
        attends: False: no attention to words, whose global vector is all that is read of them.
        synthesis: further arguments of `Synthesis`.

    Attributes:
        words: which words of the frozen text tower it reads ("" = none).
        reader: fills in the words of a condition that has token ids alone; None: it must have them.
    """

    def __init__(
        self,
        *,
        resolution: int,
        text: TextReader,
        z_dim: int,
        w_dim: int,
        mapping_layers: int,
        mapping_dim: int = 0,
        attends: bool = True,
        words: Literal["", "penultimate", "last"] = "",
        **synthesis: Any,
    ) -> None:
        super().__init__()
        self.z_dim, self.w_dim, self.resolution = z_dim, w_dim, resolution
        self.text = text
        self.words = words if text.head is not None else ""
        self.reader: WordReader | None = None
        self.mapping = TextMapping(
            z_dim, text.dim, w_dim, num_layers=mapping_layers, hidden_dim=mapping_dim
        )
        word_dim = text.word_dim if attends else 0
        self.synthesis = Synthesis(w_dim, word_dim, **synthesis)
        self.num_ws = self.synthesis.num_ws

    def map(self, z_NZ: Tensor, condition: Condition, truncation: float | Tensor = 1.0) -> Tensor:
        """Return ws [N, L, D], all entries alike.

        Args:
            z_NZ: standard normal.
            condition: what the images are to show.
            truncation: one number or [N]; 0 is one image for each text.
        """
        return self.codes(z_NZ, self.read(condition), truncation)

    def read(self, condition: Condition) -> Text:
        """Return what the text head makes of a condition, whose words are read first if need be."""
        text: Text = self.text(condition if self.reader is None else self.reader(condition))
        return text

    def codes(self, z_NZ: Tensor, text: Text, truncation: float | Tensor = 1.0) -> Tensor:
        """Return ws [N, L, D] for a text that was read before."""
        w_ND = self.mapping(z_NZ, text.pooled_BC)
        if isinstance(truncation, Tensor) or truncation != 1:
            # The same draws for every text, so that an image depends on its own inputs alone.
            rng = torch.Generator().manual_seed(0)
            draws_KZ = torch.randn(TEXT_DRAWS, self.z_dim, generator=rng)
            w_ND = self.mapping.truncated(w_ND, text.pooled_BC, truncation, draws_KZ)
        return w_ND[:, None, :].expand(-1, self.num_ws, -1)

    def synthesize(self, ws_NLD: Tensor, condition: Condition, noise: Any = "const") -> Tensor:
        """Return images [N, 3, resolution, resolution], about [-1, 1] and not clamped, float32.

        Args:
            ws_NLD: codes, one entry per block.
            condition: whose words are attended to.
            noise: unused: there is none.
        """
        return self.pyramid(ws_NLD, self.read(condition))[0]

    def draw_once(self, ws_1LD: Tensor) -> None:
        """Run every layer, on one word of zeros where words are attended to."""
        words_1SC = ws_1LD.new_zeros(1, 1, max(self.text.word_dim, 1))
        self.pyramid(ws_1LD, Text(words_BTC=words_1SC))

    def synthesize_mixed(
        self, ws_NLD: Tensor, own: Condition, style: Condition, layers: Collection[int]
    ) -> Tensor:
        """Return images whose `layers` read the words of `style`, all others those of `own`.

        See `models.interfaces.Generator`.
        """
        texts = {False: self.read(own), True: self.read(style)}
        starts = [
            (number, texts[number in layers])
            for number in range(self.num_ws)
            if not number or (number in layers) != (number - 1 in layers)
        ]
        return self.synthesis.mixed(ws_NLD, starts)[0]

    def pyramid(self, ws_NLD: Tensor, text: Text) -> list[Tensor]:
        """Return the images at every resolution from the largest down."""
        images: list[Tensor] = self.synthesis(ws_NLD, text)
        return images
