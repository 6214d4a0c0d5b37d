"""The paper's experiments, stage by stage: edits, measures, results, claims, figures."""
