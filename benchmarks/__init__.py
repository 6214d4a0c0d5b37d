"""Benchmarks: every operation against its peers and against the floor of the memory."""
