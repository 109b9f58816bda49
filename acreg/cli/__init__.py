"""The command line: one module a command, plus `main` and `console`."""
