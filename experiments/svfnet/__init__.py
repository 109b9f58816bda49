"""What the paper of SVF-Net reports: its baselines, tuned on the training set."""
