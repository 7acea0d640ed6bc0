"""Updating, the survey's f_U: what an iteration leaves behind, in context or in weight."""
