"""What the paper of the joint affine and deformable network reports: its recipes."""
