"""The measures as the original scripts take them: one question, one pass through the model.

Written from the papers' and the scripts' descriptions, to compare values item by item
and to time against. No batches, no sorting, the whole head at every position.
"""

from difflib import SequenceMatcher

import numpy as np
import torch


@torch.inference_mode()
def masked_log_p(lm, ids: list[int], position: int, target: int) -> float:
    """ln p of a token at one masked position."""
    row = torch.tensor([ids])
    row[0, position] = lm.tokenizer.mask_token_id
    return float(lm.model(input_ids=row).logits[0].log_softmax(-1)[position, target])


def stereoset(lm, items: list[dict]) -> dict[str, float]:
    """Sentence id → mean probability of its candidate's pieces (Nadeem et al. 2021).

    As text: the pieces before are written into the blank, followed by the mask.
    """
    tokenizer, scores = lm.tokenizer, {}
    for item in items:
        blank = [i for i, word in enumerate(item["context"].split(" ")) if "BLANK" in word][-1]
        for sentence in item["sentences"]:
            word = sentence["sentence"].split(" ")[blank]
            word = "".join(c for c in word if c not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
            pieces = tokenizer.encode(word, add_special_tokens=False)
            found = []
            for i, piece in enumerate(pieces):
                written = tokenizer.decode(pieces[:i]) + tokenizer.mask_token
                ids = tokenizer.encode(item["context"].replace("BLANK", written))
                place = ids.index(tokenizer.mask_token_id)
                found.append(np.exp(masked_log_p(lm, ids, place, piece)))
            scores[sentence["id"]] = float(np.mean(found))
    return scores


def crows_pairs(lm, pairs, variant: str) -> list[tuple[float, float]]:
    """Scores of both sentences: "shared" tokens summed (Nangia et al. 2020), or "differing" in the mean."""
    out = []
    for pair in pairs:
        ids = [lm.tokenizer.encode(sentence) for sentence in pair]
        places = ([], [])
        for tag, a, b, c, d in SequenceMatcher(None, *ids).get_opcodes():
            if (tag == "equal") == (variant == "shared"):
                places[0].extend(range(a, b))
                places[1].extend(range(c, d))
        if variant == "shared":  # the special tokens at both ends are left out
            places = [p[1:-1] for p in places]
        logs = [
            [masked_log_p(lm, row, p, row[p]) for p in where]
            for row, where in zip(ids, places, strict=True)
        ]
        reduce = sum if variant == "shared" else np.mean
        out.append(tuple(float(reduce(x)) for x in logs))
    return out


@torch.inference_mode()
def seat_vectors(lm, texts) -> np.ndarray:
    """The mean of the last layer over all tokens, special ones too, as bias-bench takes it."""
    rows = []
    for text in texts:
        inputs = lm.tokenizer(text, return_tensors="pt")
        rows.append(lm.model.base_model(**inputs).last_hidden_state[0].double().mean(0).numpy())
    return np.array(rows)


def effect_size(x, y, a, b) -> float:
    """Caliskan's d, word by word; deviation with n − 1."""

    def cosine(u, v):
        return float(u @ v / np.sqrt((u @ u) * (v @ v)))

    def association(w):
        return np.mean([cosine(w, u) for u in a]) - np.mean([cosine(w, u) for u in b])

    s = [association(w) for w in (*x, *y)]
    return float((np.mean(s[: len(x)]) - np.mean(s[len(x) :])) / np.std(s, ddof=1))
