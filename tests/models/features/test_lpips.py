"""LPIPS on VGG-16: two files in exactly the published formats, with small random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from components.errors import ConfigError, DataError
from components.pretraining.config import PretrainedConfig
from components.pretraining.pretrained import open_pretrained
from models.features import load_feature_net, save_feature_net
from models.features.lpips import LpipsNet, load_lpips
from models.gigagan.perceptual import perceptual
from models.interop.tensor_file import read_tensors

WIDTHS = (4, 6, 8, 10, 12)
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(2, 2, 3, 32, 32, generator=GENERATOR) * 2 - 1
BLOCK_ENDS = (3, 8, 15, 22, 29)  # torchvision's numbers of the ReLU layers that LPIPS taps


def vgg(widths: tuple[int, ...] = WIDTHS) -> nn.Module:
    """Return torchvision's own VGG-16, narrow, with its classifier."""
    plan: list[Any] = []
    for width, depth in zip(widths, (2, 2, 3, 3, 3), strict=True):
        plan += [*[width] * depth, "M"]
    model = nn.Module()
    model.features = torchvision.models.vgg.make_layers(plan)
    model.classifier = nn.Sequential(nn.Linear(widths[-1], 5), nn.ReLU(), nn.Linear(5, 3))
    return model


def opened(vgg: Path, heads: Path) -> LpipsNet:
    return load_lpips(read_tensors(vgg), read_tensors(heads))


def files(folder: Path) -> tuple[Path, Path]:
    torch.manual_seed(1)
    torch.save(vgg().state_dict(), folder / "vgg16.pth")
    heads = {f"lin{n}.model.1.weight": torch.rand(1, c, 1, 1) for n, c in enumerate(WIDTHS)}
    torch.save(heads, folder / "vgg.pth")
    return folder / "vgg16.pth", folder / "vgg.pth"


def by_the_paper(trunk: Path, heads: Path, one: Tensor, other: Tensor) -> Tensor:
    """Compute the distance from the paper's formula and the published scaling, layer by layer."""
    model = vgg()
    model.load_state_dict(torch.load(trunk))
    weights = list(torch.load(heads).values())
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    x, y = ((image - shift) / scale for image in (one, other))
    total = torch.zeros(len(x))
    for index, layer in enumerate(model.features):
        x, y = layer(x), layer(y)
        if index in BLOCK_ENDS:
            a, b = (v / (v.square().sum(1, keepdim=True).sqrt() + 1e-10) for v in (x, y))
            head = weights[BLOCK_ENDS.index(index)]
            total += torch.conv2d((a - b) ** 2, head).mean(dim=(1, 2, 3))
    return total.detach()


def test_the_distance_is_the_papers(tmp_path: Path) -> None:
    trunk, heads = files(tmp_path)
    net = opened(trunk, heads)
    wanted = by_the_paper(trunk, heads, *IMAGES)
    assert wanted.min() > 1e-3
    torch.testing.assert_close(net.distance(*IMAGES), wanted, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(perceptual(net, *IMAGES), wanted, rtol=1e-5, atol=1e-7)
    assert net.distance(IMAGES[0], IMAGES[0]).abs().max() == 0
    # Any size; a larger one is not shrunk first.
    large = IMAGES.repeat_interleave(3, dim=-1).repeat_interleave(3, dim=-2)
    large = large[..., :80, :48]
    torch.testing.assert_close(
        net.distance(*large), by_the_paper(trunk, heads, *large), rtol=1e-5, atol=1e-7
    )


def test_its_gradient_is_finite_where_images_are_flat_or_equal(tmp_path: Path) -> None:
    net = opened(*files(tmp_path))
    for other in (torch.zeros(1, 3, 32, 32), IMAGES[0][:1]):
        image = torch.zeros(1, 3, 32, 32, requires_grad=True)
        net.distance(image, other).sum().backward()
        assert image.grad is not None
        assert image.grad.isfinite().all()
        assert image.grad.abs().max() > 0 or not other.any()


def test_the_role_opens_and_its_folder_opens_again(tmp_path: Path) -> None:
    trunk, heads = files(tmp_path)
    state = torch.load(trunk)
    save_file(
        {n.replace("classifier.", "pre_logits."): x for n, x in state.items()},
        tmp_path / "timm.safetensors",
    )
    for file in (trunk, tmp_path / "timm.safetensors"):
        config = PretrainedConfig(name="lpips", file=str(file), heads=str(heads))
        net, source = open_pretrained("guide", config)
        assert source == f"files: {file.name}, vgg.pth"
        save_feature_net(tmp_path / "guide", net, role="guide", source=source)
        again = load_feature_net(tmp_path / "guide")
        assert torch.equal(again.distance(*IMAGES), net.distance(*IMAGES))
        assert torch.equal(net.distance(*IMAGES), opened(trunk, heads).distance(*IMAGES))


def changed(path: Path, **tensors: Tensor | None) -> None:
    state = torch.load(path)
    state.update({name.replace("__", "."): x for name, x in tensors.items()})
    torch.save({name: x for name, x in state.items() if x is not None}, path)


FAULTS: dict[str, tuple[Any, str]] = {
    "no heads": (lambda trunk, heads: heads.unlink(), "no file"),
    "no trunk": (lambda trunk, heads: trunk.unlink(), "no file"),
    "text": (lambda trunk, heads: heads.write_text("hello"), "is not a file of tensors alone"),
    "a list": (lambda trunk, heads: torch.save([1], heads), "holds a list, wanted names"),
    "swapped": (lambda trunk, heads: heads.write_bytes(trunk.read_bytes()), "wanted lin0"),
    "a head less": (
        lambda trunk, heads: changed(heads, lin4__model__1__weight=None),
        "wanted lin0.model.1.weight to lin4",
    ),
    "another net": (
        lambda trunk, heads: changed(trunk, features__28__bias=None, features__30__bias=None),
        "features.28.bias missing, unknown or of another shape",
    ),
    "other widths": (
        lambda trunk, heads: torch.save(vgg((4, 6, 8, 10, 14)).state_dict(), trunk),
        "of another shape",
    ),
    "nan": (
        lambda trunk, heads: changed(trunk, features__0__bias=torch.full((4,), torch.nan)),
        "features.0.bias of",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_file_is_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    trunk, heads = files(tmp_path)
    damage, says = FAULTS[fault]
    damage(trunk, heads)
    config = PretrainedConfig(name="lpips", file=str(trunk), heads=str(heads))
    with pytest.raises(DataError) as caught:
        open_pretrained("guide", config)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("role", "config", "says"),
    [
        ("dino", {"name": "lpips", "file": "a", "heads": "b"}, "dino cannot be LPIPS"),
        ("guide", {"name": "lpips", "file": "a"}, "LPIPS needs two files"),
        ("guide", {"name": "vgg16", "file": "a", "heads": "b"}, "LPIPS needs two files"),
    ],
)
def test_fields_that_do_not_belong_together_are_refused(role, config, says) -> None:
    with pytest.raises(ConfigError, match=says):
        open_pretrained(role, PretrainedConfig(**config))
