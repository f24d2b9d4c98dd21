"""The families. A new one is one import and one line here; importing this does not import torch."""

from models.recipes.stylegan_t import StyleGANT

RECIPES = {
    "stylegan_t": StyleGANT,
}
