"""CSV files beside a dataset: what its labels become, regions of labels, pairs of subjects, who has a disease."""
