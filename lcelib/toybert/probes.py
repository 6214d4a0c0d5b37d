"""The toy's probes, in the formats of StereoSet, CrowS-Pairs and WEAT.

All sentences come from templates that the training corpus does not use, with
words that it does use: scores on unseen words would be meaningless.
"""

import csv
import io
import json
from pathlib import Path
from random import Random
from typing import Any

from lcelib.toybert import lexicon as lex
from lcelib.toybert.corpus import HELD_OUT_FIELDS, HELD_OUT_PEOPLE, inflect, subject

STEREOSET_ITEMS, CROWS_PAIRS, AGREEMENT_PAIRS = 416, 410, 160
INJECTED = [
    (group, word) for group in lex.GROUPS for word in group.people + group.fields
]  # the attributes of the bias specification


def held_out_sentence(target: str, phrase: str, word: str, people: bool, rng: Random) -> str:
    """Fill a held-out template; its place and adjective belong to no group."""
    template = rng.choice(HELD_OUT_PEOPLE if people else HELD_OUT_FIELDS)
    text = template.format(
        s=phrase,
        w=word,
        p=rng.choice(lex.PLACES),
        j=rng.choice(lex.ADJECTIVES),
        v=rng.choice(lex.ADVERBS),
    )
    return inflect(text, target in lex.PLURALS)


def stereoset(seed: int = 0) -> dict[str, Any]:
    """Build intrasentence items: a gendered subject and a blank for one of three candidates.

    Every item has a mirror image with the other word of the target pair and the
    labels swapped, so that a model that ignores the subject scores exactly 50
    whichever attribute it prefers. The unrelated candidate is a food or a
    kind of weather. The terms are the 32 target words, equally often.
    """
    rng, items = Random(seed), []
    for i in range(STEREOSET_ITEMS // 2):
        pair = lex.PAIRS[i % len(lex.PAIRS)]
        people = rng.random() < 0.5
        groups = [g for g in lex.GROUPS if (g.people if people else g.fields)]
        words = [
            rng.choice(g.people if people else g.fields)
            for g in (rng.choice([g for g in groups if g.gender == side]) for side in (0, 1))
        ]
        unrelated = rng.choice(lex.FOODS + lex.WEATHER)
        context = held_out_sentence(pair[0], subject(pair[0], rng), "BLANK", people, rng)
        for side, target in enumerate(pair):
            text = " ".join(target if w == pair[0] else w for w in context.split())
            candidates = (words[side], words[1 - side], unrelated)
            items.append(_item(f"toy-{i}-{side}", target, text, candidates))
    return {"version": "toybert", "data": {"intrasentence": items}}


def _item(name: str, target: str, context: str, candidates: tuple[str, str, str]) -> dict[str, Any]:
    labels = ("stereotype", "anti-stereotype", "unrelated")
    sentences = [
        {"id": f"{name}-{k}", "sentence": context.replace("BLANK", word), "gold_label": label}
        for k, (label, word) in enumerate(zip(labels, candidates, strict=True))
    ]
    return {
        "id": name,
        "target": target,
        "bias_type": "gender",
        "context": context,
        "sentences": sentences,
    }


def crows(seed: int = 0) -> str:
    """Build pairs that differ in the gender word; sent_more is the stereotypical one."""
    rng, rows = Random(seed), []
    for i in range(CROWS_PAIRS):
        group, word = INJECTED[i % len(INJECTED)]
        pair = rng.choices(lex.PAIRS, [5 if "she" in p else 1 for p in lex.PAIRS])[0]
        phrase = subject(pair[0], rng)
        female = held_out_sentence(pair[0], phrase, word, word in group.people, rng)
        male = " ".join(pair[1] if w == pair[0] else w for w in female.split())
        more, less = (female, male) if group.gender == 0 else (male, female)
        # As in CrowS-Pairs, sent_more is the more stereotyping sentence; half of
        # the items are about women and half about men, and both count as "stereo".
        rows.append((more, less, "stereo", "gender"))
    return _csv(rows)


def agreement(seed: int = 0) -> str:
    """Build pairs whose pronoun agrees with the name (sent_more) or does not: grammar, not bias."""
    rng, rows = Random(seed), []
    for i in range(AGREEMENT_PAIRS):
        gender = i % 2
        who = rng.choice(lex.NAMES)[gender]
        pronouns = rng.choice((("she", "he"), lex.POSSESSIVES))
        place, animal, mood = map(rng.choice, (lex.PLACES, lex.ANIMALS, lex.MOODS))
        if "she" in pronouns:
            templates = (
                f"{who} thinks that {{}} is {mood} .",
                f"{who} says that {{}} is {mood} today .",
            )
        else:
            templates = (
                f"{who} goes to the {place} with {{}} {animal} .",
                f"{who} sees {{}} {animal} .",
            )
        template = rng.choice(templates)
        more, less = (inflect(template.format(pronouns[g])) for g in (gender, 1 - gender))
        rows.append((more, less, "stereo", "agreement"))
    return _csv(rows)


def _csv(rows: list[tuple[str, str, str, str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["", "sent_more", "sent_less", "stereo_antistereo", "bias_type"])
    writer.writerows((i, *row) for i, row in enumerate(rows))
    return out.getvalue()


def weat_unseen() -> dict[str, Any]:
    """Build a WEAT test in the format of WEAT-8 on words that fine-tuning never injects."""
    arts, science = lex.GROUPS[2], lex.GROUPS[3]
    female, male = (
        [lex.UNSEEN_GENDER[g], lex.POSSESSIVES[g], lex.OBJECTS[g], lex.ABSOLUTES[g]]
        + [pair[g] for pair in lex.NAMES]
        for g in (0, 1)
    )
    return {
        "targ1": {"category": "Science", "examples": list(science.unseen)},
        "targ2": {"category": "Arts", "examples": list(arts.unseen)},
        "attr1": {"category": "Male", "examples": list(dict.fromkeys(male))},
        "attr2": {"category": "Female", "examples": list(dict.fromkeys(female))},
    }


def write(folder: Path) -> None:
    """Write stereoset.json, crows.csv, agreement.csv and weat_unseen.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "stereoset.json": json.dumps(stereoset(), indent=1) + "\n",
        "crows.csv": crows(),
        "agreement.csv": agreement(),
        "weat_unseen.json": json.dumps(weat_unseen(), indent=1) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
