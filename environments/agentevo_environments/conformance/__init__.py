"""Executable contracts: checks that any environment or sandbox, built-in or third-party, must pass."""
