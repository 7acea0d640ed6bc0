"""Experience refinement: filters and correctors (survey section 5)."""
