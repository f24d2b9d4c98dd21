"""GigaGAN: words steer the picture (Kang et al. 2023).

Implemented, from the paper: kernels chosen for each sample, self-attention by squared distance,
attention to the words of a frozen CLIP, a trainable text head, an image at every resolution,
two-step truncation; the discriminator of many sizes in and out; logistic, matching-aware, R1,
contrastive and vision-aided losses. The upsampler is AuraSR's U-Net, plus a text, attention to
words and an image at every size. Aurora's published generator is the same one with other fields.

Deviations:
- Attention starts with normal weights on its way out, and a gain of 0.3, as the paper says; Aurora
  starts at zero.
- The lazy penalty takes a step of Adam of its own, in which nothing decays.
- A caption of another sample is drawn for each sample on its own, and never an equal one.
- The contrastive loss compares with the captions of the whole batch, and leaves out those equal to
  its own.
- Penalty, losses: one value per sample.
"""
