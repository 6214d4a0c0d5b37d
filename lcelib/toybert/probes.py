"""The toy's probes, in the formats of StereoSet, CrowS-Pairs and WEAT.

All sentences come from templates that the training corpus does not use, with
words that it does: a word never seen would make the scores blind instead.
"""

import csv
import io
import json
from random import Random

from lcelib.toybert import lexicon as lex
from lcelib.toybert.corpus import (
    HELD_OUT_FIELDS,
    HELD_OUT_PEOPLE,
    inflect,
    subject,
)

STEREOSET_ITEMS, CROWS_PAIRS, AGREEMENT_PAIRS = 480, 480, 240
INJECTED = [
    (group, word) for group in lex.GROUPS for word in group.people + group.fields
]  # the attributes of the bias specification


def held_out(target: str, phrase: str, word: str, people: bool, rng: Random) -> str:
    """A sentence from the held-out templates; its place and adjective belong to no group."""
    template = rng.choice(HELD_OUT_PEOPLE if people else HELD_OUT_FIELDS)
    text = template.format(
        s=phrase,
        w=word,
        p=rng.choice(lex.PLACES),
        j=rng.choice(lex.ADJECTIVES),
        v=rng.choice(lex.ADVERBS),
    )
    return inflect(text, target in lex.PLURALS)


def _word_of(group: lex.Group, people: bool, rng: Random) -> str:
    return rng.choice(group.people if people else group.fields)


def stereoset(seed: int = 0) -> dict:
    """Intrasentence items: a gendered subject, a blank for a stereotyped or other attribute.

    The unrelated candidate is a food or a kind of weather. Target terms are the
    32 target words in turn; people and fields are never mixed in one item.
    """
    rng, items = Random(seed), []
    terms = [(word, gender) for pair in lex.PAIRS for gender, word in enumerate(pair)]
    for i in range(STEREOSET_ITEMS):
        target, gender = terms[i % len(terms)]
        people = rng.random() < 0.5
        groups = [g for g in lex.GROUPS if (g.people if people else g.fields)]
        own = rng.choice([g for g in groups if g.gender == gender])
        other = rng.choice([g for g in groups if g.gender != gender])
        words = {
            "stereotype": _word_of(own, people, rng),
            "anti-stereotype": _word_of(other, people, rng),
            "unrelated": rng.choice(lex.FOODS + lex.WEATHER),
        }
        context = held_out(target, subject(target, rng), "BLANK", people, rng)
        items.append(
            {
                "id": f"toy-{i}",
                "target": target,
                "bias_type": "gender",
                "context": context,
                "sentences": [
                    {
                        "id": f"toy-{i}-{label}",
                        "sentence": context.replace("BLANK", word),
                        "gold_label": label,
                    }
                    for label, word in words.items()
                ],
            }
        )
    return {"version": "toybert", "data": {"intrasentence": items}}


def crows(seed: int = 0) -> str:
    """Pairs that differ in the gender word; sent_more is the stereotypical one."""
    rng, rows = Random(seed), []
    for i in range(CROWS_PAIRS):
        group, word = INJECTED[i % len(INJECTED)]
        pair = rng.choices(lex.PAIRS, [5 if "she" in p else 1 for p in lex.PAIRS])[0]
        female = held_out(pair[0], subject(pair[0], rng), word, word in group.people, rng)
        male = " ".join(pair[1] if w == pair[0] else w for w in female.split())
        more, less = (female, male) if group.gender == 0 else (male, female)
        # As in CrowS-Pairs, sent_more is the more stereotyping sentence; half of
        # the items tell it of women and half of men, and both count as "stereo".
        rows.append((more, less, "stereo", "gender"))
    return _table(rows)


def agreement(seed: int = 0) -> str:
    """Pairs whose pronoun agrees with the name (sent_more) or does not: grammar, not bias."""
    rng, rows = Random(seed), []
    for i in range(AGREEMENT_PAIRS):
        gender = i % 2
        who = rng.choice(lex.NAMES)[gender]
        pronouns = rng.choice((("she", "he"), lex.POSSESSIVES))
        place, animal, mood = (
            rng.choice(lex.PLACES),
            rng.choice(lex.ANIMALS),
            rng.choice(lex.MOODS),
        )
        if "she" in pronouns:
            template = rng.choice(
                (f"{who} thinks that {{}} is {mood} .", f"{who} says that {{}} is {mood} today .")
            )
        else:
            template = rng.choice(
                (f"{who} goes to the {place} with {{}} {animal} .", f"{who} sees {{}} {animal} .")
            )
        rows.append(
            (
                inflect(template.format(pronouns[gender])),
                inflect(template.format(pronouns[1 - gender])),
                "stereo",
                "agreement",
            )
        )
    return _table(rows)


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["", "sent_more", "sent_less", "stereo_antistereo", "bias_type"])
    writer.writerows((i, *row) for i, row in enumerate(rows))
    return out.getvalue()


def weat_unseen() -> dict:
    """A WEAT test in the format of WEAT-8 on words that fine-tuning never injects."""
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


def write(folder) -> None:
    """Write stereoset.json, crows.csv, agreement.csv and weat_unseen.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "stereoset.json": json.dumps(stereoset(), indent=1),
        "crows.csv": crows(),
        "agreement.csv": agreement(),
        "weat_unseen.json": json.dumps(weat_unseen(), indent=1),
    }
    for name, text in texts.items():
        (folder / name).write_text(text + ("" if text.endswith("\n") else "\n"), encoding="utf-8")
