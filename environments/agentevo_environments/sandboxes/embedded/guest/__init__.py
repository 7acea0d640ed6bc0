"""The sandbox's own processes: standard library only, started by `boot.py` without the package."""
