"""A vector memory that survives, forgets for real, and finds what matters; usable alone."""
