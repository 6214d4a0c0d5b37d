"""Measures of bias and of language modelling, and a suite that computes them in one pass."""

from lcelib.measures.crows import CrowsPairs
from lcelib.measures.perplexity import Perplexity
from lcelib.measures.scoring import Plan, Query, Score
from lcelib.measures.stereoset import StereoSet
from lcelib.measures.suite import Suite
from lcelib.measures.weat import Weat, WeatTest

__all__ = [
    "CrowsPairs",
    "Perplexity",
    "Plan",
    "Query",
    "Score",
    "StereoSet",
    "Suite",
    "Weat",
    "WeatTest",
]
