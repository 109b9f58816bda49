"""Real and synthetic pairs and label maps for training, and the input pipelines for `fit`."""
