"""Segmentation by registered atlases, and its quality."""
