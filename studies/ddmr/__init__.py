"""DDMR."""
