"""Memory becomes LoRA weights: rows, training, export, an adapter registry, probes.

Memory stays the source of truth; an adapter is a rebuildable, audited cache of it. Every round
trains a fresh adapter from the frozen base over all live rules, so that forgetting a rule is
distilling again without it.
"""
