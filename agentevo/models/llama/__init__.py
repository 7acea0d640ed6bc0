"""Local models through llama.cpp: an engine that batches and swaps adapters, and its chat model."""
