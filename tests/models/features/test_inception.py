"""Inception against torch-fidelity's own class on the same file, and what is refused."""

import pickle

import pytest
import torch

from components.sampling import from_uint8
from models.features.inception import InceptionNet, load_inception


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights in torch-fidelity's format, batch norm's statistics included."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(InceptionNet().network.state_dict(), path)
    return path


def test_features_are_torch_fidelitys(weights):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
    rng = torch.Generator().manual_seed(1)
    for side in (64, 20):
        pixels = torch.randint(0, 256, (2, 3, side, side), generator=rng, dtype=torch.uint8)
        (wanted,) = theirs(pixels)
        found = load_inception(weights)(from_uint8(pixels.permute(0, 2, 3, 1).numpy()))["pooled"]
        assert found.shape == (2, 2048)
        assert torch.equal(found, wanted)
    assert wanted.std() > 0, "the comparison would not see a difference"


def test_the_state_has_torch_fidelitys_names_and_nothing_trains(weights):
    net = load_inception(weights)
    assert not any(x.requires_grad for x in net.parameters())
    assert not any(module.training for module in net.modules())
    assert not net.published, "random weights are not those of the papers"
    assert InceptionNet("6726825d" + 56 * "0").published


def test_a_file_without_batch_norms_counters_opens(weights, tmp_path):
    """As older files are, which were saved before torch kept them."""
    state = torch.load(weights, weights_only=True)
    state = {name: x for name, x in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    old, new = load_inception(tmp_path / "old.pth"), load_inception(weights)
    image = torch.zeros(1, 3, 32, 32)
    assert torch.equal(old(image)["pooled"], new(image)["pooled"])


def test_wrong_names_and_shapes_are_listed(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    state["head.weight"] = state.pop("fc.weight")
    state["fc.bias"] = torch.zeros(1000)
    state["Conv2d_1a_3x3.bn.bias"][0] = float("nan")
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(ValueError) as caught:
        load_inception(tmp_path / "wrong.pth")
    said = str(caught.value)
    assert "\n" not in said
    for words in (
        "1 missing: fc.weight",
        "1 unexpected: head.weight",
        "fc.bias is [1000], wanted [1008]",
        "1 not finite: Conv2d_1a_3x3.bn.bias",
    ):
        assert words in said
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match=r"missing: .* and 464 more"):
        load_inception(tmp_path / "empty.pth")


class Opened:
    """Leaves a trace when a pickle of it is opened carelessly."""

    def __reduce__(self):
        return (exec, ("import builtins; builtins.INCEPTION_RAN = True",))


def test_a_file_that_would_run_code_does_not(tmp_path):
    import builtins

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Opened()))
    torch.save({"fc.weight": Opened()}, tmp_path / "evil_too.pth")
    for name in ("evil.pth", "evil_too.pth"):
        with pytest.raises(ValueError, match="not a file of tensors alone"):
            load_inception(tmp_path / name)
    assert not hasattr(builtins, "INCEPTION_RAN")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"<html>404</html>"])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(ValueError, match="not a file of tensors alone"):
        load_inception(tmp_path / "file.pth")
    with pytest.raises(ValueError, match="no such file"):
        load_inception(tmp_path / "absent.pth")


def test_a_list_of_tensors_is_refused(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="a list, wanted names with tensors"):
        load_inception(tmp_path / "list.pth")
