"""Checkpoint folders in safetensors, read and written without loading them."""
