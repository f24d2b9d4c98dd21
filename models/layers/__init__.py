"""Layers that two families share; every random draw takes an explicit torch.Generator."""
