"""Measurements: ``python -m benchmarks`` compares acreg with other programs.

`affine_recovery`, `atlas_segmentation`, `augmentation` and `comparison` are studies, each a script that prints a table.
"""
