"""The command line: one module per command, plus `main` and `console`."""
