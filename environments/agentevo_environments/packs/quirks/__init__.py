"""Procedurally generated services whose documentation is wrong: the embedded default environment."""
