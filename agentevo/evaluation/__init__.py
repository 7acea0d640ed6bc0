"""Evaluation f_E: held-out tasks, the gate's pairs, guards, and control arms (survey section 7)."""
