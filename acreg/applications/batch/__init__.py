"""Many images at once, in this process or with Ray."""
