"""Sandbox backends, one file each; `base` holds the contract."""
