"""CSV files that accompany a dataset: label tables, regions of labels, pairs of subjects, disease flags."""
