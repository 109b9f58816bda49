"""Registration of a pair by optimisation, without a trained network."""
