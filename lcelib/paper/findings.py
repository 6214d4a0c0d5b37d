"""The findings of a run, computed once: claims and checks judge these numbers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lcelib.paper.edits import MASK, Edit, Where, main_value
from lcelib.paper.results import (
    MEASURES,
    curve,
    edit_rows,
    model_gap,
    model_values,
    to_opposite,
)
from lcelib.run.profiles import CONDITIONS, OPPOSITE, Profile

MONOTONE = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
GENTLE = (("IP", 0.5), ("IP", 1.0), ("EP", 2.0))  # edits that should leave the language model alone


@dataclass(frozen=True)
class Separation:
    """How far the stereotypical and the anti-stereotypical model are apart, at one sparsity."""

    gaps: dict[str, pd.Series]  # S − A by seed, for each measure
    ordered: bool  # S above base above A in the mean, on every measure
    in_every_seed: bool  # S above A


def separation(r: pd.DataFrame, sparsity: float) -> Separation:
    """Compare S, the base model and A on the three measures."""
    gaps = {k: model_gap(r, k, sparsity) for k in MEASURES}
    names = (("stereotypical", sparsity), ("base", 0.0), ("anti", sparsity))
    means = [[model_values(r, n, k, at).mean() for n, at in names] for k in MEASURES]
    ordered = all(stereo > base > anti for stereo, base, anti in means)
    return Separation(gaps, ordered, all((gap > 0).all() for gap in gaps.values()))


def ticket_excess(r: pd.DataFrame, s: Profile) -> pd.DataFrame:
    """Return perplexity over that of the dense model, minus 1: seeds by (condition, sparsity)."""
    dense = {c: model_values(r, c, "perplexity", 0.0) for c in CONDITIONS}
    return pd.DataFrame(
        {
            (c, x): model_values(r, c, "perplexity", x) / dense[c] - 1
            for c in CONDITIONS
            for x in s.sparsities
        }
    )


def is_monotone(r: pd.DataFrame, target: str, where: Where, measure: str, s: Profile) -> bool:
    """Return whether the mean over seeds is strictly monotone in α on [−2, 3], towards the reference."""
    means = curve(r, target, where, s.measured_sparsity, measure, MONOTONE).mean()
    steps = np.diff(means.to_numpy())
    return bool((steps < 0).all() if target == "stereotypical" else (steps > 0).all())


def relative_perplexity(r: pd.DataFrame, edit: Edit) -> pd.Series:
    """Return Δperplexity in per cent of the target's, by seed."""
    rows = edit_rows(r, edit, "perplexity")
    return 100 * (rows["value"] / rows["target_value"] - 1)


@dataclass(frozen=True)
class Language:
    """The cost of edits in language modelling."""

    gentle: dict[Edit, pd.Series]  # Δperplexity in per cent of IP and EP(2), by seed
    lm: float  # the largest mean |ΔLM| of the same edits
    pruning: dict[Edit, pd.Series]  # Δperplexity in per cent of value-based PR

    @property
    def farthest(self) -> Edit:
        """The gentle edit whose mean over seeds is farthest from 0."""
        return max(self.gentle, key=lambda edit: abs(self.gentle[edit].mean()))

    @property
    def worst(self) -> float:
        """The absolute mean over seeds of that edit."""
        return abs(float(self.gentle[self.farthest].mean()))


def language(r: pd.DataFrame, s: Profile) -> Language:
    """Collect the effect of mask- and value-based edits on perplexity and StereoSet's LM score."""
    at, value = s.measured_sparsity, main_value(s)
    gentle = [to_opposite(t, (w, *c), at) for t in OPPOSITE for w in (MASK, value) for c in GENTLE]
    lm = (edit_rows(r, edit, "stereoset_lm") for edit in gentle)
    pruning = [to_opposite(t, (value, "PR", None), at) for t in OPPOSITE]
    return Language(
        {edit: relative_perplexity(r, edit) for edit in gentle},
        max(float((rows["value"] - rows["target_value"]).abs().mean()) for rows in lm),
        {edit: relative_perplexity(r, edit) for edit in pruning},
    )


def neutral_falls(r: pd.DataFrame, s: Profile) -> dict[str, pd.Series]:
    """Return the change of each measure at α = −2 of the neutral model, away from S (Fig. 7)."""
    edit = Edit("neutral", "stereotypical", MASK, "EP", -2.0, max(s.sparsities))
    rows = {k: edit_rows(r, edit, k) for k in MEASURES}
    return {k: x["value"] - x["target_value"] for k, x in rows.items()}
