"""StyleGAN-XL: images of large, diverse data sets (Sauer et al. 2022).

"StyleGAN-XL: Scaling StyleGAN to Large Diverse Datasets".

Implemented: alias-free generator with class embeddings from a frozen net, growth by heads with the
stem frozen, a projected discriminator on a vision transformer and on a CNN, hinge loss,
DiffAugment, fading blur, classifier guidance, path-length regularisation of the stem. StyleGAN3's
generator can stand in, with its own conditioning.

Deviations:
- One reduction for every loss: the mean over logits, then over the two networks, then over samples.
  The published code sums the hinge over networks and over the samples of a GPU's micro-batch
  (`batch_gpu`), beside terms that are means:
      theirs(w) = 2 batch_gpu * adversarial + w * term
      ours(w / (2 batch_gpu)) = adversarial + w / (2 batch_gpu) * term = theirs(w) / (2 batch_gpu)
  so the published guidance 8 is our 0.5, and the published path length 2 our 0.125, at batch_gpu 8.
  Adam does not see the common factor.
- Power iterations advance once per phase; running means follow every phase that draws fakes (the
  published mean of w: D's alone), folded once per phase and over all ranks.
- The path length is compared with its mean before the step.
- Fakes take the classes of the real batch.
- Class embeddings are frozen unless asked for otherwise; growth freezes the input layer too.

Ours, off by default: w may shift the Fourier input from the first step (`input_shift`), a head may
see the picture itself (`pixel_head`), and the discriminator may judge the images that the generator
just learnt by (`reuse_fakes`).

Taken by others: nothing.
"""
