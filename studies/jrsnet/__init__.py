"""JRS-Net."""
