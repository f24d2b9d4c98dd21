"""CLIP against open_clip's own preprocessing and encoders; the text tower alone; tokenizers."""

import random

import open_clip
import pytest
import torch
from torchvision.transforms import v2

from models.features import load_feature_net, save_feature_net
from models.features.clip import build_tokenizer
from models.features.words import WordTokenizer, count_words
from tests.models.features.small_nets import PREPROCESSING, small_clip

CAPTIONS = ["a red circle", "blue", "", "a purple elephant"]
HOSTILE = [
    "",
    " ",
    "red " * 2_500,
    "\u7ea2\u8272\u7684\u5706",
    "\U0001f534",
    "\ud800 lone surrogate",
    "\x00\x07",
    "e\u0301" * 6_000,
    "<end_of_text><|startoftext|>",
]


def test_image_embedding_equals_open_clips_on_its_own_preprocessing():
    net = small_clip()
    image = torch.rand(3, 3, 32, 32)
    normalise = v2.Normalize(PREPROCESSING["mean"], PREPROCESSING["std"])
    wanted = net.network.encode_image(normalise(image), normalize=True)
    torch.testing.assert_close(net(image * 2 - 1)["pooled"], wanted)
    torch.testing.assert_close(wanted.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("context", [24, 77])
@pytest.mark.parametrize("longest", [1, 14, 15, 30, 100])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_captions_without_their_padding_have_open_clips_embeddings(context, longest, count):
    net = small_clip(context)
    texts = [" ".join(["red", "blue", "x"][i % 3] for i in range(longest - n)) for n in range(40)]
    texts = texts[:count]
    with torch.inference_mode():
        wanted = net.network.encode_text(net.tokenize(texts), normalize=True)
        torch.testing.assert_close(net.encode_text(texts), wanted, rtol=0, atol=1e-6)


def test_only_places_up_to_the_longest_captions_end_are_computed():
    net = small_clip(77)
    seen = []
    net.network.transformer.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    net.encode_text(["red"])
    net.encode_text(["red", "red " * 15])  # 17 ids
    net.encode_text(["red " * 200])
    assert [shape[1] for shape in seen] == [16, 32, 77]


@pytest.mark.parametrize("text", [{"no_causal_mask": True}, {"pool_type": "last"}])
def test_a_tower_that_reads_the_padding_gets_it(text):
    net = small_clip(24, **text)
    wanted = net.network.encode_text(net.tokenize(CAPTIONS), normalize=True)
    torch.testing.assert_close(net.encode_text(CAPTIONS), wanted, rtol=0, atol=1e-6)


def test_text_tower_alone_says_the_same(tmp_path):
    net = small_clip()
    text = net.text_part()
    torch.testing.assert_close(text.encode_text(CAPTIONS), net.encode_text(CAPTIONS))
    save_feature_net(tmp_path, text, role="clip", source="a test")
    loaded = load_feature_net(tmp_path)
    torch.testing.assert_close(loaded.encode_text(CAPTIONS), net.encode_text(CAPTIONS))
    assert not any("visual" in name for name in loaded.state_dict())
    loaded.requires_grad_(True)
    loaded.encode_text(CAPTIONS).sum().backward()
    assert loaded.network.token_embedding.weight.grad.abs().sum() > 0


def test_text_part_does_not_share_weights():
    net = small_clip()
    before = net.encode_text(CAPTIONS)
    for parameter in net.text_part().parameters():
        parameter.data.zero_()
    torch.testing.assert_close(net.encode_text(CAPTIONS), before)


def test_words_become_start_words_end_padding():
    tokenizer = WordTokenizer(["blue", "red"], 6)
    ids = tokenizer(["Red, BLUE!", "", "red blue red blue red", "green red"])
    start, end = 4, 5
    assert ids.tolist() == [
        [start, 3, 2, end, 0, 0],
        [start, end, 0, 0, 0, 0],
        [start, 3, 2, 3, 2, end],
        [start, 1, 3, end, 0, 0],
    ]
    assert tokenizer.vocab_size == 6


def test_end_is_the_highest_id_and_so_the_pooled_place():
    ids = WordTokenizer(["b", "a"], 7)(["a b c", "", "a " * 50])
    assert ids.argmax(dim=1).tolist() == [4, 1, 6]


def test_vocabulary_keeps_the_most_frequent_words():
    assert count_words(["red ring", "red cross", "blue ring", "red"], 2) == ["red", "ring"]
    forwards, backwards = (count_words(x, 1) for x in (["a b"], ["b a"]))
    assert forwards == backwards == ["a"]


@pytest.mark.row("B10")
@pytest.mark.parametrize("kind", ["words", "open_clip"])
def test_no_text_makes_a_tokenizer_fail(kind):
    settings = {"kind": kind, "words": ["red"], "context_length": 24}
    tokenize = build_tokenizer(settings)
    rng = random.Random(0)
    noise = ["".join(chr(rng.randrange(1, 0x11000)) for _ in range(60)) for _ in range(40)]
    ids = tokenize(HOSTILE + noise)
    assert ids.shape == (len(HOSTILE) + 40, 24)
    assert ids.dtype == torch.long
    assert torch.equal(ids, tokenize(HOSTILE + noise))


def test_words_that_were_never_learned_are_named_once():
    texts = ["a Red elephant, an elephant", "red", ""]
    tokenize = build_tokenizer({"kind": "words", "words": ["a", "red"], "context_length": 4})
    assert tokenize.unknown(texts) == [["elephant", "an"], [], []]
    pairs = build_tokenizer({"kind": "open_clip", "context_length": 77})
    assert pairs.unknown(texts) == [[], [], []], "byte pairs spell every word"


def test_byte_pairs_are_open_clips_own():
    tokenize = build_tokenizer({"kind": "open_clip", "context_length": 77})
    texts = ["a photo of a cat", "two dogs, one ball"]
    assert torch.equal(tokenize(texts), open_clip.tokenize(texts))


def test_unknown_tokenizer_is_refused():
    with pytest.raises(ValueError, match="wanted words or open_clip"):
        build_tokenizer({"kind": "guess", "context_length": 3})
