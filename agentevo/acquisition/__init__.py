"""Experience acquisition: tasks, solutions, feedback (survey section 4)."""
