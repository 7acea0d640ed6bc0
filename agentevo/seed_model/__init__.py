"""The seed model: a tiny agent that the project trains itself and ships as a GGUF file."""
