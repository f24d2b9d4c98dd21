"""Does the image move with the input? Translation equivariance in dB, on random networks.

As Karras et al. 2021 measure it (section 2, EQ-T): draw a shift, move the Fourier input by it, and
compare with the image moved by it, where both are known: 10 log10(2^2 / mean squared error), 2
being the range of images in [-1, 1]. Random networks have images of any contrast, and low contrast
alone would raise that number; so the second one takes four standard deviations of the images as
their range, which is the same for images of standard deviation 0.5.

`python -m benchmarks.equivariance` prints a table and, as its last line, JSON.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.layers.fourier import FourierInput
from models.stylegan2.generator import SynthesisNetwork
from models.stylegan_xl.alias_free import AliasFreeSynthesis
from models.stylegan_xl.alias_free_plan import BandRules

W_DIM, LARGEST_SHIFT = 16, 0.125  # of the image's side, the paper's
PEAK = 2.0  # the paper's


@dataclass(frozen=True)
class Equivariance:
    """EQ-T: with the paper's peak of 2, and with four standard deviations of the images as peak;
    infinite where nothing differs.
    """

    db: float
    scaled_db: float


@torch.no_grad()
def translation(synthesis: Any, num_images: int, rng: torch.Generator) -> Equivariance:
    """Return EQ-T of a synthesis network with a Fourier input, by shifts of whole pixels.

    Args:
        synthesis: (ws, noise) -> images; has `input` and `num_ws`.
        num_images: each with its own w and shift.
        rng: draws both.
    """
    square_error, power, pixels = 0.0, 0.0, 0
    transform: Tensor = synthesis.input.transform
    for _ in range(num_images):
        ws = torch.randn(1, 1, W_DIM, generator=rng).expand(-1, synthesis.num_ws, -1)
        still = synthesis(ws, "none")[0]
        side = still.shape[-1]
        shift = (2 * torch.rand(2, generator=rng) - 1) * LARGEST_SHIFT * side
        dx, dy = (int(s) for s in shift.round())
        # The input is read at p + t: its content moves by -t.
        transform[:2, 2] = torch.tensor([-dx / side, -dy / side])
        moved = synthesis(ws, "none")[0]
        transform[:2, 2] = 0
        error = _overlap(moved, dx, dy) - _overlap(still, -dx, -dy)
        square_error += error.square().sum().item()
        pixels += error.numel()
        power += still.var(dim=(1, 2)).mean().item() / num_images
    if square_error == 0:
        return Equivariance(math.inf, math.inf)
    mean_square = square_error / pixels
    return Equivariance(
        10 * math.log10(PEAK**2 / mean_square), 10 * math.log10(16 * power / mean_square)
    )


def _overlap(image_3HW: Tensor, dx: int, dy: int) -> Tensor:
    """Return what is left of the image when dx columns and dy rows have come in at one side."""
    height, width = image_3HW.shape[1:]
    rows = slice(max(dy, 0), height + min(dy, 0))
    return image_3HW[:, rows, max(dx, 0) : width + min(dx, 0)]


def alias_free(resolution: int, *, rotation: bool, channels: int = 16) -> AliasFreeSynthesis:
    """Return a random network of the -t layers, or of the -r layers."""
    rules = BandRules(channel_base=8 * channels * resolution, channel_max=channels)
    plan = rules.stem(resolution, 14)
    kernel = 1 if rotation else 3
    return AliasFreeSynthesis(W_DIM, plan, kernel=kernel, radial=rotation)


def stylegan2_with_fourier_input(resolution: int, channels: int = 16) -> SynthesisNetwork:
    """Return a random StyleGAN2 with Fourier features in place of its constant (the paper's
    configuration B), since a constant cannot be moved.
    """
    net = SynthesisNetwork(
        W_DIM, resolution=resolution, channel_base=channels * resolution, channel_max=channels
    )
    net.input = FourierInput(W_DIM, channels, size=4, sampling_rate=4, bandwidth=1.0)
    return net


def networks(resolution: int) -> dict[str, Any]:
    """Return the networks of the table by name, each from the same seed."""
    makers = {
        "alias-free -t": lambda: alias_free(resolution, rotation=False),
        "alias-free -r": lambda: alias_free(resolution, rotation=True),
        "StyleGAN2, Fourier input": lambda: stylegan2_with_fourier_input(resolution),
    }
    made = {}
    for name, make in makers.items():
        torch.manual_seed(0)
        made[name] = make().eval()
    return made


def main() -> None:
    """Print EQ-T of each network at two sizes."""
    rows = []
    print(f"{'network':<28}{'px':>5}{'EQ-T dB':>10}{'scaled dB':>12}")
    for resolution in (32, 64):
        for name, net in networks(resolution).items():
            eq_t = translation(net, 16, torch.Generator().manual_seed(1))
            row = {"eq_t_db": eq_t.db, "eq_t_scaled_db": eq_t.scaled_db}
            rows.append({"network": name, "resolution_px": resolution, **row})
            print(f"{name:<28}{resolution:>5}{eq_t.db:>10.1f}{eq_t.scaled_db:>12.1f}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
