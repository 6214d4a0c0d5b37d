"""Runs: settings, paths, the call to Snakemake, grids of runs, and where results come from."""
