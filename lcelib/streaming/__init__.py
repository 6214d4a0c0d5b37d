"""The method on files larger than memory: locate, edit, patch, chunk by chunk."""
