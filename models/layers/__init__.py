"""Building blocks that more than one network shares. Every random draw takes an explicit
torch.Generator.
"""
