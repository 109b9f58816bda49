"""Is it better to start from another anatomy? The transfer learning of the DDMR paper, its Tables 3 to 5 in kind."""
