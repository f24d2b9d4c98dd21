"""The plain text tower is open_clip's, bit for bit, and does without open_clip."""

import subprocess
import sys

import pytest
import torch

from models.features.clip import ClipText
from models.features.text_tower import TextTower, is_plain

SIZES = {"context_length": 12, "vocab_size": 30, "width": 32, "heads": 4, "layers": 3}


def towers():
    from open_clip.model import _build_text_tower

    made = []
    for build in (
        lambda: TextTower(24, **SIZES),
        lambda: _build_text_tower(24, dict(SIZES), False),
    ):
        torch.manual_seed(5)
        made.append(build())
    return made


def test_fresh_weights_are_open_clips():
    ours, theirs = (tower.state_dict() for tower in towers())
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trains", [False, True])
def test_embeddings_and_gradients_are_open_clips(dtype, trains):
    # High ids at different places: the end of a caption is where the highest id stands.
    ids_NT = torch.randint(0, 29, (7, 12), generator=torch.Generator().manual_seed(1))
    ids_NT[torch.arange(7), torch.arange(7) + 3] = 29
    outputs, gradients = [], []
    for tower in towers():
        tower.to(dtype).train(trains).requires_grad_(trains)
        out = tower(ids_NT)
        outputs.append(out)
        if trains:
            out.square().sum().backward()
            gradients.append({name: p.grad for name, p in tower.named_parameters()})
    assert torch.equal(*outputs)
    for name in gradients[0] if trains else ():
        assert torch.equal(gradients[0][name], gradients[1][name]), name


def architecture(**changes):
    words = {"kind": "words", "words": ["a"] * 26, "context_length": 12}
    whole = {"embed_dim": 24, "text_cfg": dict(SIZES), "quick_gelu": False, "tokenizer": words}
    return whole | changes


def test_only_a_plain_tower_is_ours():
    assert is_plain(architecture())
    assert isinstance(ClipText.build(architecture()).network, TextTower)
    other = {
        "another activation": {"quick_gelu": True},
        "another pooling": {"text_cfg": SIZES | {"pool_type": "last"}},
        "byte pairs": {"tokenizer": {"kind": "open_clip", "context_length": 77}},
    }
    for what, changes in other.items():
        assert not is_plain(architecture(**changes)), what
    quick = ClipText.build(architecture(quick_gelu=True))
    assert type(quick.network).__module__ == "open_clip.transformer"


def test_a_plain_tower_imports_no_open_clip():
    code = (
        "import sys; from models.features.clip import ClipText\n"
        f"ClipText.build({architecture()!r}).encode_text(['a a'])\n"
        "print([n for n in ('open_clip', 'timm', 'torchvision') if n in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
