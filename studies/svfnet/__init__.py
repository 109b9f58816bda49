"""SVF-Net."""
