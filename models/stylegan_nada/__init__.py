"""StyleGAN-NADA: adapt a generator by words or a few pictures (Gal et al. 2021).

"StyleGAN-NADA: CLIP-Guided Domain Adaptation of Image Generators". No discriminator and no data: a
copy of a finished generator moves until CLIP sees the wanted direction between its images and those
of the frozen original.

Implemented: directional, global and angle losses for any number of CLIPs; directions between two
texts, from the original's images to pictures, or between two sets of pictures; adaptive selection
of layers; what goes wrong is watched. Any family of ganline can be the parent.

Deviations: layers are chosen by the right map from codes to layers (the published list is shifted
by one; `layer_map: published` keeps it); affine layers stay frozen, as the paper says and its code
does not; the crossover of style mixing is the same for both generators; an unchanged image has a
loss of 1 where the published code can give NaN; with target pictures, layers are ranked by the
pictures and not by a stray default word; CLIP's inputs are antialiased on both sides.

Of StyleCLIP (Patashnik et al. 2021) the formulas are in models/editing; here are the names of its
published files, and the numbers of its code.
"""
