"""StyleGAN-T: text to images in one pass (Sauer et al. 2023).

"StyleGAN-T: Unlocking the Power of GANs for Fast Large-Scale Text-to-Image Synthesis".

Implemented: generator and discriminator as published, hinge loss on the taps of a frozen DINO
transformer, CLIP guidance, DiffAugment, fading blur, progressive growth, and the secondary phase
(section 3.4), in which generator and discriminator are frozen and the text encoder trains. A model
whose text encoder was trained (`AlignedGenerator`) is grown with that encoder, frozen again: the
generator sees what it will see when it is used. Discriminator and guidance always see the original
encoder's embedding, so that what they ask for does not drift with the model.

Deviations: all make a step a function of its samples, not of how they are cut.
- Loss: the mean over logits, then over samples. The published code divides the adversarial term,
  but not the guidance, once more by its micro-batch (`batch_gpu`):
      theirs(w) = adversarial / batch_gpu + w * guidance
      ours(w * batch_gpu) = adversarial + w * batch_gpu * guidance = batch_gpu * theirs(w)
  Our clip_weight is therefore theirs times their batch_gpu; Adam does not see the common factor.
- Power iterations advance once per phase (models/layers/spectral_norm.py); running means once per
  phase and over all ranks (models/layers/running_mean.py).
- Random crops are drawn per sample (models/layers/crops.py).
- The discriminator is frozen in the secondary phase, as in the paper; the code goes on training it.

Ours, off by default: z may shift the Fourier input from the first step (`input_shift`), and a head
may see the picture itself (`pixel_head`). Both are for small data on weak frozen networks.

Taken by others: Projected GAN can use the generator (`generator_network: stylegan_t`) and the
discriminator heads (`discriminator_network: vit`); StyleGAN-XL the head that sees the picture.
"""
