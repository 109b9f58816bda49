"""What the paper of JRS-Net reports: its rivals, and a network that segments alone."""
