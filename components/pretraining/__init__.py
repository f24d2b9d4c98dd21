"""The frozen nets, trained or opened once before any GAN; nothing is downloaded later."""
