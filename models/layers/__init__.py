"""Building blocks that networks share. Every random draw takes an explicit torch.Generator."""
