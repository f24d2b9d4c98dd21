"""A CLIP of two objects in a drawing."""

import dataclasses

import torch

from components.pretraining.clip import embed_images, train_clip
from components.pretraining.config import ClipTraining, FitConfig
from tests.components.pretraining.drawings import drawings


def test_clip_learns_what_both_of_two_objects_are_though_a_class_names_one():
    """Captions that say nothing and no class: the attributes of both are read off all the same."""
    shown = drawings("encoders", 384, objects=2)
    silent = dataclasses.replace(
        shown, captions=["a drawing"] * len(shown), label_N=torch.full_like(shown.label_N, -1)
    )
    length = FitConfig(total_kimg=5, batch=64, learning_rate=3.0e-3)

    def nearest_agree(weight):
        """Return how often an image and its nearest have the same ground and second colour."""
        config = ClipTraining(fit=length, text_width=16, adversary=0.0, class_weight=weight)
        torch.manual_seed(0)
        net, _ = train_clip(silent, config, torch.Generator().manual_seed(0), lambda line: None)
        vectors = embed_images(net, silent)
        near = (vectors @ vectors.T).fill_diagonal_(-2).argmax(dim=1)
        same = [
            silent.attributes[n] == silent.attributes[n][near] for n in ("background", "colour_2")
        ]
        return float(torch.stack(same).float().mean())

    assert nearest_agree(1.0) > 1.3 * nearest_agree(0.0)
