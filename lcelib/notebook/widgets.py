"""Controls for the notebooks; each shows what one function returns, which also prints alone."""

from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

import ipywidgets as w
import pandas as pd
import torch

from lcelib.models import LanguageModel, logits_at, pad, token_ids
from lcelib.patches.patch import Patch


def explore(render: Callable[..., str], **controls: w.Widget) -> w.VBox:
    """Show controls above an HTML pane that holds `render(**values)`, updated on every change.

    An error is shown as a sentence in the pane, so that half-typed text does no harm.
    """
    pane = w.HTML()

    def update(_: object = None) -> None:
        try:
            pane.value = render(**{name: control.value for name, control in controls.items()})
        except Exception as error:  # a reader's half-typed sentence must not end the notebook
            pane.value = f"<i>{escape(str(error).splitlines()[0])}</i>"

    for control in controls.values():
        control.style.description_width = "initial"
        control.layout = w.Layout(width="98%", max_width="640px")
        control.observe(update, names="value")
    update()
    return w.VBox([*controls.values(), pane])


def text(value: str, label: str) -> w.Text:
    """Return a text field that updates while typing."""
    return w.Text(value, description=label)


def slider(low: float, high: float, value: float, step: float, label: str) -> w.FloatSlider:
    """Return a slider that updates when it is released or moved by the keyboard."""
    return w.FloatSlider(
        value, min=low, max=high, step=step, description=label, continuous_update=False
    )


def choice(options: Iterable[Any], label: str, value: Any = None) -> w.Dropdown:
    """Return a list to choose from: values, or labels with their values."""
    values = options.values() if isinstance(options, Mapping) else options
    return w.Dropdown(options=options, value=value or next(iter(values)), description=label)


def table(frame: pd.DataFrame, digits: int = 2) -> str:
    """Format a data frame as HTML with rounded numbers."""
    html = frame.to_html(float_format=lambda x: f"{x:.{digits}f}", border=0, na_rep="–")
    return str(html).replace("<td>", "<td style='padding:0 1em;text-align:right'>")


@torch.inference_mode()
def predict(lm: LanguageModel, sentence: str, top: int = 5) -> pd.Series:
    """Return the most probable words at the first [MASK] of a sentence, with their probabilities."""
    ids = token_ids(lm.tokenizer, sentence)
    if lm.tokenizer.mask_token_id not in ids:
        raise ValueError(f"write {lm.tokenizer.mask_token} where the model should guess")
    batch, attention = pad([ids], lm.tokenizer.pad_token_id)
    where = torch.zeros_like(batch, dtype=torch.bool)
    where[0, ids.index(lm.tokenizer.mask_token_id)] = True
    p = logits_at(lm.model, batch, attention, where)[0].softmax(-1)
    values, words = p.topk(top)
    return pd.Series(values.tolist(), list(lm.tokenizer.convert_ids_to_tokens(words.tolist())))


def word_probabilities(lm: LanguageModel, sentence: str, words: list[str]) -> pd.Series:
    """Return p(word) at the first [MASK] for words of one token."""
    return predict(lm, sentence, top=len(lm.tokenizer)).reindex(words)


def bars(probabilities: pd.Series, title: str = "") -> str:
    """Format probabilities as labelled bars in HTML."""
    rows = "".join(
        f"<tr><td style='text-align:right'>{escape(str(word))}</td><td style='width:8em'>"
        f"<div style='background:#0072B2;height:0.9em;width:{100 * p:.1f}%'></div></td>"
        f"<td>{100 * p:.1f} %</td></tr>"
        for word, p in probabilities.items()
    )
    return f"<b>{escape(title)}</b><table>{rows}</table>"


def side_by_side(predictions: dict[str, pd.Series]) -> str:
    """Format several models' predictions beside each other."""
    cells = (
        f"<td style='vertical-align:top;padding-right:1em'>{bars(p, name)}</td>"
        for name, p in predictions.items()
    )
    return f"<table><tr>{''.join(cells)}</tr></table>"


def mask_at_alpha(
    lm: LanguageModel, patch: Patch, sentence: str, alpha: float, top: int = 5
) -> str:
    """Return the [MASK] predictions of the model patched at strength α; reverts the patch."""
    with patch.scale(alpha).applied(lm.model):
        return bars(predict(lm, sentence, top), f"α = {alpha:g}")


def patched_words(
    lm: LanguageModel, patch: Patch, sentence: str, words: list[str], alpha: float
) -> pd.Series:
    """Return p(word) at [MASK] with the patch at strength α."""
    with patch.scale(alpha).applied(lm.model):
        return word_probabilities(lm, sentence, words)
