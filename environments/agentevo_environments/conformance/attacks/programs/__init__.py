"""The attack programs, one module per class of attack."""
