"""The joint affine and deformable network."""
