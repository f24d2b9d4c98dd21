"""The families. A new one is one import and one line here; importing this does not import torch."""

from models.recipes.projected_gan import ProjectedGAN
from models.recipes.stylegan_t import StyleGANT
from models.recipes.stylegan_xl import StyleGANXL

RECIPES = {
    "projected_gan": ProjectedGAN,
    "stylegan_t": StyleGANT,
    "stylegan_xl": StyleGANXL,
}
