"""Whether codes of an autoencoder tell plausible from implausible anatomy."""
