"""`python -m agentevo` is the command line."""

from agentevo.cli import main

if __name__ == "__main__":
    main()
