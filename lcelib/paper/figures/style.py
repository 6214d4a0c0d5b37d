"""One look for all figures: print size, colour-blind safe, the paper's meaning of colours."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns

TOWARDS_ANTI, TOWARDS_STEREO, NEUTRAL = "#0072B2", "#D55E00", "#666666"
DIRECTIONS = {"stereotypical": TOWARDS_ANTI, "anti": TOWARDS_STEREO}
ARROW = {"stereotypical": "stereo → anti", "anti": "anti → stereo"}
LABELS = {
    "weat_d": "WEAT effect size d",
    "stereoset_ss": "StereoSet SS",
    "crows": "CrowS-Pairs",
    "perplexity": "perplexity",
    "perplexity_delta": "Δ perplexity",
    "stereoset_lm": "StereoSet LM",
}
UNBIASED = {"weat_d": 0.0, "stereoset_ss": 50.0, "crows": 50.0, "perplexity_delta": 0.0}
WIDTH = 7.2  # inches: the text width of an A4 page


def style() -> None:
    """Set Matplotlib's and seaborn's parameters for all figures."""
    sns.set_theme(context="paper", style="ticks", font_scale=0.95)
    mpl.rcParams.update(
        {
            "font.family": "DejaVu Sans",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
            "pdf.fonttype": 42,
            "svg.hashsalt": "lcelib",
        }
    )


def save(figure: plt.Figure, path: Path) -> None:
    """Write PNG (200 dpi) and PDF without dates, so that equal figures are equal bytes."""
    tight = {"bbox_inches": "tight", "pad_inches": 0.05}
    figure.savefig(path.with_suffix(".png"), dpi=200, metadata={"Software": None}, **tight)
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None}, **tight)
    plt.close(figure)
