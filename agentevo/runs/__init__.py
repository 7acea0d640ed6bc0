"""Runs: many episodes, durable and resumable, in one directory per run."""
