"""What the DDMR paper reports: its designs as recipes, and its study of transfer learning."""
