"""Built-in environments, one folder each."""
