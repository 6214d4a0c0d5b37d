"""Checkpoint folders in safetensors, read and written without holding them in memory."""
