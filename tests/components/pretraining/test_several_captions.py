"""Several captions of one image: a network that learns from captions meets all of them."""

import dataclasses

import torch

from components.pretraining.clip import retrieval, train_clip
from components.pretraining.config import ClipTraining, FitConfig
from tests.components.pretraining.drawings import drawings


def test_clip_learns_from_every_caption_of_an_image():
    """The first captions say nothing; the second ones tell what is drawn."""
    told, seen = drawings("encoders", 512), drawings("test", 200)
    first = ["a drawing"] * len(told)
    silent = dataclasses.replace(told, captions=first, attributes=None)
    both = dataclasses.replace(silent, all_captions=tuple(zip(first, told.captions, strict=True)))
    length = FitConfig(total_kimg=6, batch=64, learning_rate=3.0e-3)
    config = ClipTraining(fit=length, text_width=32, adversary=0.0, noise=0.02)

    def background(images):
        torch.manual_seed(0)
        net, _ = train_clip(images, config, torch.Generator().manual_seed(0), lambda line: None)
        return retrieval(net, seen)["retrieval_background"]

    assert background(silent) < 0.25  # chance is 1/8: its words are not even in the vocabulary
    assert background(both) > 0.5


def test_a_caption_is_drawn_from_those_of_its_image():
    images = drawings("encoders", 3)
    several = (("a", "b", "c"), ("d",), ("e", "f"))
    images = dataclasses.replace(images, all_captions=several)
    texts, drawn = images.texts(torch.Generator().manual_seed(0))
    assert texts == list("abcdef")
    found = [[texts[i] for i in drawn(torch.tensor([2, 0, 1]))] for _ in range(60)]
    assert [set(of_image) for of_image in zip(*found, strict=True)] == [
        set("ef"),
        set("abc"),
        {"d"},
    ]
    assert images.subset(torch.tensor([2, 1])).all_captions == (("e", "f"), ("d",))
