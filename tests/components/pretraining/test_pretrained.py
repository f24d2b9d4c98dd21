"""Published networks: full-size models with random weights, saved as the hub does, read back."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.errors import ConfigError, DataError
from components.pretraining.config import PretrainedConfig
from components.pretraining.pretrained import _clip as pretrained_clip
from components.pretraining.pretrained import open_pretrained
from models.features import load_feature_net, save_feature_net
from models.features.folder import file_sha256

IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALVES = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])


def upsampled(image, size, mean, std):
    """Resize by torch's area mode and normalise, independently of the net under test."""
    x = torch.nn.functional.interpolate((image + 1) / 2, size=(size, size), mode="area")
    return (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def save(model, path):
    save_file({name: x.contiguous() for name, x in model.state_dict().items()}, path)
    return str(path)


@pytest.mark.slow
def test_clip_vit_b_32_of_openai(tmp_path):
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32", pretrained=None, force_quick_gelu=True).eval()
    file = save(model, tmp_path / "open_clip_model.safetensors")
    config = PretrainedConfig(
        name="ViT-B-32",
        tag="openai",
        file=file,
        sha256=file_sha256(tmp_path / "open_clip_model.safetensors"),
    )
    net, source = open_pretrained("clip", config)
    assert source == "file: open_clip_model.safetensors"
    x = upsampled(IMAGE, 224, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    texts = ["a photo of a cat", "\u732b"]
    with torch.no_grad():
        wanted = model.encode_image(x, normalize=True)
        torch.testing.assert_close(net(IMAGE)["pooled"], wanted, rtol=1e-4, atol=1e-5)
        words = model.encode_text(open_clip.tokenize(texts), normalize=True)
        torch.testing.assert_close(net.encode_text(texts), words, rtol=1e-4, atol=1e-5)
    # QuickGELU is what the openai tag means: the same weights with GELU are another network.
    plain, _ = open_pretrained("clip", PretrainedConfig(name="ViT-B-32", file=file))
    assert (plain(IMAGE)["pooled"] - wanted).abs().max() > 1e-4
    card = save_feature_net(tmp_path / "clip", net, role="clip", source=source)
    assert (card.image_size_px, net.embedding_dim) == (224, 512)
    again = load_feature_net(tmp_path / "clip")
    assert torch.equal(again.encode_text(texts), net.encode_text(texts))


@pytest.mark.slow
def test_clip_vit_l_14_of_openai_is_built_name_by_name():
    """At full size, without its 1.7 GB: names, shapes, activation and preprocessing."""
    import open_clip

    with torch.device("meta"):
        model = open_clip.create_model(
            "ViT-L-14", pretrained=None, force_quick_gelu=True, device="meta"
        )
        net = pretrained_clip(PretrainedConfig(name="ViT-L-14", tag="openai"), "clip")
    ours, theirs = ({k: v.shape for k, v in m.state_dict().items()} for m in (net.network, model))
    assert ours == theirs
    sizes = {name: p.numel() for name, p in net.network.named_parameters()}
    visual = sum(size for name, size in sizes.items() if name.startswith("visual."))
    assert (sum(sizes.values()), visual) == (427_616_513, 303_966_208)  # the spec's
    activations = {type(b.mlp.gelu).__name__ for b in net.network.transformer.resblocks}
    activations |= {type(b.mlp.gelu).__name__ for b in net.network.visual.transformer.resblocks}
    assert activations == {"QuickGELU"}
    assert (net.embedding_dim, net.preprocess.image_size_px) == (768, 224)
    assert net.tokenize(["\u732b " * 200]).shape == (1, 77)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "name", "size", "statistics"),
    [
        ("dino", "vit_small_patch16_224.dino", 224, IMAGENET),
        ("classifier", "deit_small_patch16_224", 224, IMAGENET),
        ("guide", "deit_small_distilled_patch16_224", 224, IMAGENET),
        ("classifier", "tf_efficientnet_lite1", 240, HALVES),
        ("classifier", "mobilenetv2_100", 224, IMAGENET),
    ],
)
def test_timm_models_at_full_size(role, name, size, statistics, tmp_path):
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    file = save(model, tmp_path / "model.safetensors")
    net, _ = open_pretrained(role, PretrainedConfig(name=name, file=file))
    assert net.preprocess.image_size_px == size
    x = upsampled(IMAGE, size, *statistics)
    out = net(IMAGE)
    with torch.no_grad():
        last = model.forward_features(x)
        wanted = model.forward_head(last, pre_logits=True)
        torch.testing.assert_close(out["pooled"], wanted, rtol=1e-4, atol=1e-4)
        if model.num_classes:
            torch.testing.assert_close(
                out["logits"], model.forward_head(last), rtol=1e-4, atol=1e-4
            )
    if role == "dino":
        assert net.hooks == [2, 5, 8, 11]
        assert out["tap_4"].shape == (1, 384, 196)


def small_file(tmp_path, **changes):
    import timm

    model = timm.create_model("test_efficientnet", num_classes=3)
    weights = {name: x.contiguous() for name, x in model.state_dict().items()}
    for name, tensor in changes.items():
        weights[name] = tensor
        if tensor is None:
            del weights[name]
    save_file(weights, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def small(path, **fields):
    arguments = {"num_classes": 3} | fields.pop("arguments", {})
    return PretrainedConfig(name="test_efficientnet", file=str(path), arguments=arguments, **fields)


def test_another_hash_is_refused_with_both_named(tmp_path):
    path = small_file(tmp_path)
    with pytest.raises(DataError) as caught:
        open_pretrained("classifier", small(path, sha256="ab" * 32))
    assert file_sha256(path) in str(caught.value)
    assert "ab" * 32 in str(caught.value)
    open_pretrained("classifier", small(path, sha256=file_sha256(path).upper()))


def test_missing_unexpected_and_misshapen_tensors_are_listed(tmp_path):
    odd = {"extra.weight": torch.zeros(2), "bn1.bias": None, "classifier.bias": torch.zeros(4)}
    path = small_file(tmp_path, **odd)
    with pytest.raises(DataError) as caught:
        open_pretrained("classifier", small(path))
    text = str(caught.value)
    assert "1 missing: bn1.bias" in text
    assert "1 unexpected: extra.weight" in text
    assert "classifier.bias is [4], wanted [3]" in text
    assert "\n" not in text


def test_not_strict_allows_only_unexpected_tensors(tmp_path):
    path = small_file(tmp_path)
    headless = {"num_classes": 0}
    with pytest.raises(DataError, match=r"2 unexpected: classifier.bias, classifier.weight"):
        open_pretrained("classifier", small(path, arguments=headless))
    net, _ = open_pretrained("classifier", small(path, arguments=headless, strict=False))
    assert "logits" not in net(IMAGE)
    path = small_file(tmp_path, **{"bn1.bias": None})
    with pytest.raises(DataError, match="missing"):
        open_pretrained("classifier", small(path, strict=False))


def test_a_file_without_the_counters_of_its_batch_norms_is_whole(tmp_path):
    path = small_file(tmp_path)
    whole, _ = open_pretrained("classifier", small(path))
    weights = load_file(path)
    kept = {name: x for name, x in weights.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(weights)
    save_file(kept, path)
    net, _ = open_pretrained("classifier", small(path))
    assert torch.equal(net(IMAGE)["logits"], whole(IMAGE)["logits"])


def test_arguments_reach_timm(tmp_path):
    net, _ = open_pretrained(
        "classifier", small(small_file(tmp_path), arguments={"pad_type": "same"})
    )
    assert net.architecture["arguments"]["pad_type"] == "same"
    assert type(net.network.conv_stem).__name__ == "Conv2dSame"


@pytest.mark.parametrize(
    ("role", "fields", "message"),
    [
        ("clip", {"name": "ViT-Z-99"}, r"clip.pretrained.name"),
        ("clip", {"name": "ViT-B-32", "tag": "nobody"}, "one of openai"),
        ("dino", {"name": "vit_enormous"}, "timm has no model"),
        ("dino", {"name": "resnet18"}, "no plain vision transformer"),
        ("classifier", {"name": "test_resnet", "arguments": {"colour": "red"}}, "cannot build"),
    ],
)
def test_wrong_names_are_configuration_errors(role, fields, message):
    with pytest.raises(ConfigError, match=message):
        open_pretrained(role, PretrainedConfig(**fields))


def test_files_that_are_none_are_data_errors(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a tensor in sight")
    for path, message in ((tmp_path / "absent", "no file"), (broken, "no safetensors file")):
        with pytest.raises(DataError, match=message) as caught:
            open_pretrained("classifier", small(path))
        assert caught.value.exit_code == 3


def test_a_hub_out_of_reach_says_how_to_give_a_file(monkeypatch):
    import timm

    create = timm.create_model

    def offline(name, pretrained=False, **arguments):
        if pretrained:
            raise OSError("cannot find the file on the Hub\nand no connection")
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(DataError) as caught:
        open_pretrained("classifier", PretrainedConfig(name="test_efficientnet"))
    assert "set encoders.classifier.pretrained.file to it" in str(caught.value)
    assert "\n" not in str(caught.value)
