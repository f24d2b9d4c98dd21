"""Projected GAN: fast training on the features of a frozen network (Sauer et al. 2021).

"Projected GANs Converge Faster".

Implemented: the FastGAN generator (full and lite) and StyleGAN2's, the projected discriminator on a
frozen CNN with mixing across channels and scales, hinge loss, DiffAugment, unconditional and
class-conditional. For ablations the parts change by fields: StyleGAN-T's generator stands in for
FastGAN, StyleGAN-T's heads on a vision transformer or the same networks on the pixels for the
projected discriminator, and the projection has three levels.

Ours, off by default: what z chooses of a sentence is told to the generator, and CLIP pulls the
image there (sentences.py).

Deviations:
- Power iterations advance once per phase (models/layers/spectral_norm.py); batch norm's running
  statistics are folded once per phase and over all ranks, and the averaged generator measures its
  own instead of taking the trained one's (models/layers/tracked_batch_norm.py).
- Both learning rates are the paper's. The published code keeps an empty phase of lazy
  regularisation, which scales the discriminator's by 16/17 (1.88e-4) and its beta2 to 0.9906.
- The class embeddings have as many rows as the data has classes (the published code: always 1000);
  data with text conditions on the text in the same place.

Taken by others: StyleGAN-XL uses the projected discriminator, one on each of its frozen networks,
and the frozen convolution of the feature projection.
"""
