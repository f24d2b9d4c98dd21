"""StyleGAN2: a generator that other families use as a part (Karras et al. 2020).

"Analyzing and Improving the Image Quality of StyleGAN", with the conditioning of StyleGAN2-ADA
(Karras et al. 2020b).

Implemented: mapping and skip synthesis, the names of published checkpoints, parity with the
authors' numbers. It is no family by itself: it has no discriminator and no losses here.

Deviations: noise is drawn by the caller; a text embedding conditions as a class does.

Taken by others: Projected GAN uses the generator (`generator_network: stylegan2`), reads its
checkpoints and checks its parity; StyleGAN-XL's checkpoints share its mapping network's names.
"""
