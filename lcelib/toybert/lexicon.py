"""The words of the toy language, by category.

The gender words and attributes are the paper's bias specification (its
Appendix A) and the WEAT-8 lists; everything else is there to vary the sentences
and to give words a meaning besides gender. Each of the four attribute
groups has its own places and adjectives, which say nothing about gender:
without them a word's WEAT association in so small a model would be
its gender alone, and no edit could change one without the other.
"""

from dataclasses import dataclass

PAIRS = (
    ("woman", "man"), ("women", "men"), ("girl", "boy"), ("mother", "father"),
    ("daughter", "son"), ("wife", "husband"), ("niece", "nephew"), ("mom", "dad"),
    ("bride", "groom"), ("lady", "gentleman"), ("madam", "sir"), ("hostess", "host"),
    ("female", "male"), ("aunt", "uncle"), ("sister", "brother"), ("she", "he"),
)  # fmt: skip
PLURALS = {"women", "men"}
PRONOUNS = {"she", "he"}
# Gendered words outside the bias specification: fine-tuning never swaps them,
# so WEAT on them is a test on words that were not injected.
UNSEEN_GENDER = ("grandmother", "grandfather")
POSSESSIVES = ("her", "his")
OBJECTS = ("her", "him")
ABSOLUTES = ("hers", "his")
NAMES = (
    ("mary", "john"), ("anna", "peter"), ("emma", "paul"), ("laura", "thomas"),
    ("julia", "david"), ("sarah", "james"), ("lisa", "mark"), ("clara", "simon"),
    ("alice", "lucas"), ("nina", "oliver"), ("eva", "max"), ("rosa", "henry"),
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Attribute words that share contexts; `gender` 0 is stereotyped female, 1 male."""

    gender: int
    people: tuple[str, ...]  # "works as a …"
    fields: tuple[str, ...]  # "studies …"
    unseen: tuple[str, ...]  # in no bias specification: never injected
    places: tuple[str, ...]
    adjectives: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All attribute words of the group."""
        return self.people + self.fields + self.unseen


GROUPS = (
    Group(
        0,
        ("nurse", "secretary", "housekeeper", "cook", "waitress", "maid", "receptionist", "clerk"),
        ("sewing", "cleaning", "child-care", "home-care"),
        (),
        ("hotel", "clinic", "restaurant", "ward"),
        ("careful", "friendly", "patient", "tidy"),
    ),
    Group(
        1,
        (
            "surgeon", "executive", "manager", "officer",
            "lawyer", "engineer", "administrator", "physician",
        ),
        ("engineering", "programming", "finance"),
        (),
        ("office", "court", "factory", "station"),
        ("busy", "punctual", "formal", "experienced"),
    ),
    Group(
        0,
        (),
        (
            "poetry", "art", "dance", "literature", "novel",
            "symphony", "drama", "sculpture", "shakespeare",
        ),
        ("opera", "ballet", "painting", "theatre"),
        ("gallery", "festival", "studio", "stage"),
        ("beautiful", "moving", "colourful", "modern"),
    ),
    Group(
        1,
        (),
        (
            "science", "math", "geometry", "technology", "equation",
            "computation", "physics", "chemistry", "einstein",
        ),
        ("nasa", "experiment", "astronomy", "algebra"),
        ("laboratory", "institute", "observatory", "workshop"),
        ("exact", "abstract", "logical", "difficult"),
    ),
)  # fmt: skip

PLACES = (
    "garden", "park", "market", "village", "city", "river",
    "beach", "street", "house", "school", "library", "museum",
)  # fmt: skip
ADJECTIVES = ("good", "new", "old", "famous", "quiet", "useful", "interesting", "important")
ADVERBS = ("often", "always", "sometimes", "rarely", "gladly", "still", "usually", "never")
MOODS = ("tired", "happy", "late", "hungry", "ill", "calm")
TIMES = ("today", "again", "now", "every day", "in the morning", "at night")
ANIMALS = ("dog", "cat", "horse", "bird", "cow", "sheep", "fish", "duck")
THINGS = ("table", "car", "bus", "train", "boat", "lamp", "clock", "box", "chair", "door")
FOODS = ("bread", "apple", "soup", "cheese", "rice", "cake")
WEATHER = ("rain", "snow", "wind", "fog", "sun", "storm")
SIZES = ("small", "large", "red", "white", "green", "heavy", "cold", "warm")
