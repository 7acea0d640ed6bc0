"""The Docker backend: an offline image, a runner inside the container, and its client."""
