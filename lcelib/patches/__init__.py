"""Patches: an edit as a file that can be verified, applied at any strength, and reverted."""
