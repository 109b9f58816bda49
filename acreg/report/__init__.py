"""Tables, charts and pages of evaluations and applications."""
