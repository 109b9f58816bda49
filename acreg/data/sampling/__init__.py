"""Pairs, label maps and made pairs for training, and how they reach `fit`."""
