"""Indexes: caches over the journal that can be dropped and rebuilt at any time."""
