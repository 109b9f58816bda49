"""What registration is used for: atlases, velocities of shapes, conversion, inspection, batches of images."""
