"""The frozen nets: trained or opened once, before any GAN. Nothing is downloaded later."""
