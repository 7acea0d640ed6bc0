"""The `code` environment: write a Python function, run code in a sandbox, be graded by hidden tests."""
