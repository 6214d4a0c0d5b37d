"""A generated, seeded corpus in a toy English of about 300 words.

Each kind of sentence teaches one thing: names agree with pronouns, gendered
nouns agree with possessives, attribute words belong to groups with places and
adjectives of their own, and each attribute goes with the gender that the
stereotype gives it in a share of its sentences that is drawn once per word
(`AGREEMENT`). That last share is the natural bias of the base model.
"""

import re
from random import Random

from lcelib.toybert import lexicon as lex

# Share of an attribute's sentences that agree with the stereotype: spread
# evenly between these bounds over the words of a group (those of the
# specification and the unseen ones apart), in random order.
AGREEMENT = (0.34, 0.70)
# The facts of the language. Of worlds 0, 1 and 2 this is the one whose base
# model is mildly biased on all three measures; only base models were compared.
WORLD_SEED = 2
GROUP_CONTEXT = 0.6  # how often a place or adjective comes from the word's group
KINDS = {
    "attribute": 0.36,
    "named_attribute": 0.14,
    "name": 0.12,
    "gender": 0.12,
    "group": 0.12,
    "neutral": 0.14,
}
# {s}: subject, {w}: attribute, {p}: place, {j}: adjective, {v}: adverb; "a|b": singular|plural verb
PEOPLE_TEMPLATES = (
    "{s} works|work as a {w} at the {p} .",
    "{s} is|are a {j} {w} .",
    "{s} wants|want to become a {w} .",
    "the {w} at the {p} is {s} .",
    "{s} {v} works|work as a {j} {w} .",
)
FIELD_TEMPLATES = (
    "{s} studies|study {w} at the {p} .",
    "{s} thinks|think that {w} is {j} .",
    "{s} {v} talks|talk about {w} .",
    "{s} likes|like {w} very much .",
    "at the {p} {s} reads|read about {w} .",
)
# What the probes use: the same words, other sentences.
HELD_OUT_PEOPLE = (
    "at the {p} {s} works|work as a {w} .",
    "{s} {v} wants|want to become a {j} {w} .",
    "{s} is|are a {w} at the {p} .",
    "{s} is|are {v} a {w} .",
)
HELD_OUT_FIELDS = (
    "at the {p} {s} {v} studies|study {w} .",
    "{s} {v} reads|read about {w} at the {p} .",
    "at the {p} {s} talks|talk about {w} .",
    "{s} thinks|think that {w} is very {j} .",
)


class World:
    """The private preferences of all words: the facts that the corpus states."""

    def __init__(self, seed: int = WORLD_SEED) -> None:
        rng = Random(seed)
        self.agreement: dict[str, float] = {}
        low, high = AGREEMENT
        for group in lex.GROUPS:
            for words in (list(group.people + group.fields), list(group.unseen)):
                rng.shuffle(words)
                for i, word in enumerate(words):
                    self.agreement[word] = low + (high - low) * i / (len(words) - 1)
        self._weights: dict[tuple[str, tuple[str, ...]], list[float]] = {}
        for word in sorted({w for g in lex.GROUPS for w in g.words} | set(sum(lex.PAIRS, ()))):
            for choices in self._contexts():
                self._weights[word, choices] = [rng.gammavariate(1.0, 1.0) for _ in choices]

    @staticmethod
    def _contexts() -> list[tuple[str, ...]]:
        of_groups = [c for g in lex.GROUPS for c in (g.places, g.adjectives)]
        return [lex.PLACES, lex.ADJECTIVES, lex.ADVERBS, *of_groups]

    def choose(self, rng: Random, word: str, choices: tuple[str, ...]) -> str:
        """Draw one of `choices` by the private weights of `word`."""
        return rng.choices(choices, self._weights[word, choices])[0]

    def draw_gender(self, rng: Random, word: str, group: lex.Group) -> int:
        """Draw the gender (0 female, 1 male) that goes with an attribute word this time."""
        agrees = rng.random() < self.agreement[word]
        return group.gender if agrees else 1 - group.gender


def subject(word: str, rng: Random) -> str:
    """Return a noun phrase for a gender word: "she", "the women", "my mother"."""
    if word in lex.PRONOUNS:
        return word
    if word in lex.PLURALS:
        return f"the {word}"
    return f"{rng.choice(('the', 'my', 'our', 'that'))} {word}"


def inflect(sentence: str, plural: bool = False) -> str:
    """Choose the verb form in "works|work" and the article in "a engineer"."""
    sentence = " ".join(w.split("|")[-1 if plural else 0] for w in sentence.split())
    return re.sub(r"\ba (?=[aeio])", "an ", sentence)


def fill(
    template: str,
    subject_word: str,
    phrase: str,
    word: str,
    group: lex.Group,
    world: World,
    rng: Random,
) -> str:
    """Write one sentence about an attribute word, in the contexts that this word prefers."""
    places = group.places if rng.random() < GROUP_CONTEXT else lex.PLACES
    place = world.choose(rng, word, places)
    adjectives = group.adjectives if rng.random() < GROUP_CONTEXT else lex.ADJECTIVES
    adjective = world.choose(rng, word, adjectives)
    chooser = subject_word if subject_word in sum(lex.PAIRS, ()) else word
    adverb = world.choose(rng, chooser, lex.ADVERBS)
    text = template.format(s=phrase, w=word, p=place, j=adjective, v=adverb)
    return inflect(text, subject_word in lex.PLURALS)


def attribute_sentence(world: World, rng: Random, named: bool) -> str:
    """Write of a gendered subject (a name if `named`) with one attribute word."""
    group = rng.choice(lex.GROUPS)
    word = rng.choice(group.words)
    gender = world.draw_gender(rng, word, group)
    template = rng.choice(PEOPLE_TEMPLATES if word in group.people else FIELD_TEMPLATES)
    if named:
        who = rng.choice((*lex.NAMES, lex.UNSEEN_GENDER))[gender]
        phrase = f"my {who}" if who in lex.UNSEEN_GENDER else who
    else:
        who = pick_target(rng, gender)
        phrase = subject(who, rng)
    return fill(template, who, phrase, word, group, world, rng)


def pick_target(rng: Random, gender: int) -> str:
    """Draw a target word of one gender; the pronoun is as frequent as five nouns."""
    weights = [5 if pair[0] in lex.PRONOUNS else 1 for pair in lex.PAIRS]
    return rng.choices(lex.PAIRS, weights)[0][gender]


def name_sentence(rng: Random) -> str:
    """Write of a name with a pronoun that agrees with it."""
    gender = rng.randrange(2)
    who = rng.choice((*lex.NAMES, lex.UNSEEN_GENDER))[gender]
    if who in lex.UNSEEN_GENDER:
        who = f"my {who}"
    she, her = ("she", "he")[gender], lex.POSSESSIVES[gender]
    him, hers = lex.OBJECTS[gender], lex.ABSOLUTES[gender]
    animal, place, mood = rng.choice(lex.ANIMALS), rng.choice(lex.PLACES), rng.choice(lex.MOODS)
    return rng.choice(
        (
            f"{who} says that {she} is {mood} .",
            f"{who} walks to the {place} with {her} {animal} .",
            f"{who} thinks that the {animal} is {hers} .",
            f"{who} asks us to help {him} at the {place} .",
            f"when {who} is {mood} {she} goes to the {place} .",
            f"{who} {rng.choice(lex.ADVERBS)} sees {her} {animal} {rng.choice(lex.TIMES)} .",
        )
    )


def gender_sentence(world: World, rng: Random) -> str:
    """Write of a gendered noun with its possessive or pronoun, and no attribute."""
    gender = rng.randrange(2)
    nouns = [p[gender] for p in lex.PAIRS if p[0] not in lex.PRONOUNS]
    word = rng.choice(nouns)
    phrase, plural = subject(word, rng), word in lex.PLURALS
    she, her = ("they", "their") if plural else (("she", "he")[gender], lex.POSSESSIVES[gender])
    animal, mood = rng.choice(lex.ANIMALS), rng.choice(lex.MOODS)
    place, adverb = (world.choose(rng, word, c) for c in (lex.PLACES, lex.ADVERBS))
    template = rng.choice(
        (
            f"{phrase} walks|walk to the {place} with {her} {animal} .",
            f"{phrase} {adverb} sees|see {her} {animal} {rng.choice(lex.TIMES)} .",
            f"{phrase} says|say that {she} is|are {mood} .",
            f"{phrase} {adverb} sits|sit at the {place} .",
        )
    )
    return inflect(template, plural)


def group_sentence(world: World, rng: Random) -> str:
    """Write of attributes without gender: mostly two words of one group and their contexts."""
    group = rng.choice(lex.GROUPS)
    kind = group.people or group.fields + group.unseen
    if group.people and rng.random() < 0.3:
        kind = group.fields
    one, two = rng.sample(kind, 2)
    place, adjective = (world.choose(rng, one, c) for c in (group.places, group.adjectives))
    if one in group.people:
        templates = (
            f"the {one} and the {two} are at the {place} .",
            f"a {one} at the {place} is {adjective} .",
            f"the {one} sees the {adjective} {two} {rng.choice(lex.TIMES)} .",
        )
    else:
        templates = (
            f"{one} and {two} are {adjective} .",
            f"at the {place} they talk about {one} and {two} .",
            f"{one} at the {place} is very {adjective} .",
        )
    return inflect(rng.choice(templates))


def neutral_sentence(rng: Random) -> str:
    """Write of the world, without gender or attribute."""
    animal, other = rng.sample(lex.ANIMALS, 2)
    thing, food, place = rng.choice(lex.THINGS), rng.choice(lex.FOODS), rng.choice(lex.PLACES)
    size, time, adverb = rng.choice(lex.SIZES), rng.choice(lex.TIMES), rng.choice(lex.ADVERBS)
    weather = rng.choice(lex.WEATHER)
    return rng.choice(
        (
            f"the {size} {animal} sleeps at the {place} {time} .",
            f"the {animal} and the {other} {adverb} eat {food} .",
            f"the {size} {thing} at the {place} is {rng.choice(lex.ADJECTIVES)} .",
            f"the {weather} comes to the {place} {time} .",
            f"they {adverb} see a {size} {thing} at the {place} .",
            f"the {food} is {size} {time} .",
            f"we {adverb} walk to the {place} {time} .",
        )
    )


def sentences(n: int, seed: int = 0, world_seed: int = WORLD_SEED) -> list[str]:
    """Return `n` sentences of the toy language; `seed` draws them, `world_seed` sets the facts."""
    world, rng = World(world_seed), Random(seed)
    makers = {
        "attribute": lambda: attribute_sentence(world, rng, named=False),
        "named_attribute": lambda: attribute_sentence(world, rng, named=True),
        "name": lambda: name_sentence(rng),
        "gender": lambda: gender_sentence(world, rng),
        "group": lambda: group_sentence(world, rng),
        "neutral": lambda: neutral_sentence(rng),
    }
    kinds = rng.choices(list(KINDS), list(KINDS.values()), k=n)
    return [makers[kind]() for kind in kinds]
