"""Profiles: every setting of a run in one frozen dataclass, strict about names and types."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from lcelib.errors import LceError
from lcelib.files import DATA

CONDITIONS = ("stereotypical", "anti", "neutral")
OPPOSITE = {"stereotypical": "anti", "anti": "stereotypical"}
ORIGINAL = "original"
MEAN = "mean"
GENERATED = ("", "toybert", "english", "wikipedia")  # no files
GRIDS = ("paper", "short", "pretrained")
PATHS = {
    "model", "texts", "pairs", "bias_spec", "stereoset", "crows", "weat", "weat_unseen",
    "weat_names", "agreement", "winobias", "glue",
}  # fmt: skip


def _items(file: str, default: str = "") -> str:
    """Return a field for the items of a measure; a run copies them to `file`."""
    return field(default=default, metadata={"items": file})


@dataclass(frozen=True)
class Profile:
    """What to run on: model, texts, probes, seeds, sparsities, training recipe and grid.

    `model`, `texts`, `stereoset`, `crows`, the three lists `weat…` and `agreement` are
    files or folders, the name "toybert" for what the package generates, or a name
    that `lce data check` lists; texts may be "wikipedia" and "english" (the package's
    templates) too. `pairs` and `winobias` are folders of WinoBias: the
    development pairs join the counterfactual ones, the test pairs are measured.
    `bucket` is how many batches of sentences are sorted by length at a time: 32 leave
    5 % of padding.
    `glue` is "hub" or a folder with mnli/ and stsb/, whose splits are files in the hub's
    columns: then Table 2 is made, with `glue_steps` of fine-tuning (0: three epochs).
    `measures` has the items of further measures of the registry, as NAME=FILE.
    `bias_type` chooses the items of StereoSet and CrowS-Pairs.
    `max_pairs` bounds the counterfactual sentences; twice as many neutral ones
    train the neutral model. `measured_sparsity` is where the editing grid runs.
    `grid` "paper" has all edits of the paper's figures, "short" the main ones,
    "pretrained" those of a pretrained model, which is the neutral target itself.
    """

    name: str
    model: str = "toybert"
    texts: tuple[str, ...] = ("toybert",)
    pairs: str = ""
    bias_spec: str = str(DATA / "gender.toml")
    bias_type: str = "gender"
    stereoset: str = _items("stereoset.json", "toybert")
    crows: str = _items("crows.csv", "toybert")
    agreement: str = _items("agreement.csv", "toybert")
    weat: str = _items("weat.json", str(DATA / "weat8.json"))
    weat_unseen: str = _items("weat_unseen.json", "toybert")
    weat_names: str = _items("weat_names.json")
    winobias: str = _items("winobias.json")
    measures: tuple[str, ...] = ()
    glue: str = ""
    glue_steps: int = 0
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    sparsities: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4)
    measured_sparsity: float = 0.3
    max_pairs: int = 2500
    mask_rate_spec: float = 0.3
    mask_rate_other: float = 0.148
    mask_rate_neutral: float = 0.15
    steps: int = 100
    batch_size: int = 64
    learning_rate: float = 1.8e-4
    weight_decay: float = 0.0
    checkpoint_every: int = 0
    bucket: int = 8
    k: float = 0.1
    grid: str = "paper"
    threads: int = 1

    def __post_init__(self):
        check = [
            (len(set(self.seeds)) == len(self.seeds) > 0, "seeds", "give distinct whole numbers"),
            (
                list(self.sparsities) == sorted(set(self.sparsities))
                and all(0 < s < 1 for s in self.sparsities),
                "sparsities",
                "give rising numbers between 0 and 1",
            ),
            (
                self.measured_sparsity in self.sparsities,
                "measured_sparsity",
                f"choose one of {self.sparsities}",
            ),
            (self.grid in GRIDS, "grid", f"choose one of {GRIDS}"),
            (0 < self.k <= 1, "k", "give a share in (0, 1]"),
            (all("=" in entry for entry in self.measures), "measures", "write NAME=FILE"),
            (min(self.steps, self.batch_size, self.max_pairs, self.threads) > 0, "steps, …", "> 0"),
        ]
        for fine, name, remedy in check:
            if not fine:
                raise LceError(
                    f"profile {self.name!r}", f"{name} is not valid", remedy.capitalize() + "."
                )

    @property
    def items(self) -> dict[str, tuple[str, str]]:
        """Return, for each measure that has items, their source and the name of a run's copy."""
        named = {f.name: f.metadata["items"] for f in fields(self) if "items" in f.metadata}
        found = {name: (getattr(self, name), file) for name, file in named.items()}
        further = (entry.partition("=") for entry in self.measures)
        found |= {name: (place, f"{name}{Path(place).suffix}") for name, _, place in further}
        return {name: entry for name, entry in found.items() if entry[0]}

    @property
    def conditions(self) -> tuple[str, ...]:
        """The models that are fine-tuned."""
        return CONDITIONS[:2] if self.grid == "pretrained" else CONDITIONS

    @property
    def targets(self) -> tuple[str, ...]:
        """The models that are edited: those, and the pretrained one where it is the neutral one."""
        return (*self.conditions, ORIGINAL) if self.grid == "pretrained" else self.conditions

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The differences that a patch of the pretrained model can be made of: by seed, and of means."""
        return (*map(str, self.seeds), MEAN)

    def other_seed(self, seed: int) -> int:
        """The seed that the null contrast compares with: the next one, in a circle."""
        return self.seeds[(self.seeds.index(seed) + 1) % len(self.seeds)]

    @property
    def overrides(self) -> dict[str, str]:
        """What differs from the named profile, as text that `profile` reads back."""
        named, own = asdict(PROFILES[self.name]), asdict(self)
        changed = {k: v for k, v in own.items() if v != named[k]}
        return {
            k: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in changed.items()
        }

    @property
    def run_name(self) -> str:
        """The name of the results folder: the profile, with a digest where it was overridden."""
        if not self.overrides:
            return self.name
        text = json.dumps(asdict(self), sort_keys=True).replace(str(DATA), "lcelib/data")
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


_TOY = Profile("toy")
_BENCHMARKS = replace(
    _TOY,
    stereoset="stereoset_test",
    crows="crows_pairs",
    weat_unseen=str(DATA / "weat7.json"),
    weat_names=str(DATA / "weat6.json"),
    agreement=str(DATA / "agreement.csv"),
    bucket=32,
)
PROFILES = {
    "toy": _TOY,
    "smollm2": replace(  # SmolLM2-135M-Instruct, de-quantized from Q4_1 (sources.toml)
        _BENCHMARKS,
        name="smollm2",
        model="smollm2",
        texts=("english", "gap"),
        pairs="winobias_dev",
        winobias="winobias_test",
        seeds=(0, 1),
        sparsities=(0.1,),
        measured_sparsity=0.1,
        steps=240,
        batch_size=16,
        learning_rate=5e-5,
        checkpoint_every=48,
        k=0.005,
        grid="pretrained",
    ),
    "small": replace(
        _BENCHMARKS,
        name="small",
        model="google/bert_uncased_L-4_H-256_A-4",
        texts=("wikipedia",),
        seeds=(0, 1),
        sparsities=(0.3,),
        max_pairs=4000,
        steps=400,
        batch_size=32,
        learning_rate=1e-4,
        checkpoint_every=100,
        grid="short",
    ),
    "paper": replace(
        _BENCHMARKS,
        name="paper",
        model="bert-base-uncased",
        texts=("wikipedia",),
        glue="hub",
        max_pairs=164_524,
        steps=13_881,
        learning_rate=1e-5,
        checkpoint_every=500,
        threads=8,
    ),
}


def profile(name: str = "toy", overrides: Mapping[str, object] | None = None) -> Profile:
    """The profile of that name with some fields replaced.

    Values may be strings, as papermill and the command line give them; they are
    read by the field's type and refused where they do not fit.
    """
    if name not in PROFILES:
        raise LceError(f"profile {name!r}", "is unknown", f"Known: {', '.join(PROFILES)}.")
    base, types = PROFILES[name], {f.name: f.type for f in fields(Profile)}
    values = {}
    for key, value in (overrides or {}).items():
        if key not in types or key == "name":
            near = ", ".join(k for k in types if k != "name")
            raise LceError(f"override {key!r}", "is no field of a profile", f"Fields: {near}.")
        value = _convert(key, value, getattr(base, key))
        values[key] = _absolute(value) if key in PATHS else value
    if further := values.get("measures"):
        split = (entry.partition("=") for entry in further)
        values["measures"] = tuple(f"{n}{equals}{_absolute(place)}" for n, equals, place in split)
    return replace(base, **values)


def _absolute(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Existing files and folders by their whole path: stages and notebooks run elsewhere."""
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    known = value in GENERATED or not Path(value).exists()
    return value if known else str(Path(value).resolve())


def _convert(key: str, value: object, like: object) -> object:
    """`value` in the type of `like`; strings are parsed, tuples split at commas."""
    try:
        if isinstance(like, tuple):
            items = value.split(",") if isinstance(value, str) else list(value)
            return tuple(_convert(key, item, like[0] if like else "") for item in items)
        if isinstance(value, bool) or value is None:
            raise ValueError
        if isinstance(like, int):
            number = int(str(value))
            if number < 0:
                raise ValueError
            return number
        if isinstance(like, float):
            number = float(value)
            if not math.isfinite(number):
                raise ValueError
            return number
        if not isinstance(value, str):
            raise ValueError
        return value
    except (ValueError, TypeError):
        kinds = {int: "a whole number ≥ 0", float: "a number", str: "text"}
        one = (like[0] if like else "") if isinstance(like, tuple) else like
        expected = kinds[type(one)]
        expected = f"a list, each {expected}" if isinstance(like, tuple) else expected
        reason = f"is not {expected}"
        raise LceError(f"override {key}={value!r}", reason, f"The default is {like!r}.") from None


def parse_overrides(pairs: list[str]) -> dict[str, str]:
    """["steps=10", …] → {"steps": "10", …}."""
    for pair in pairs:
        if "=" not in pair:
            raise LceError(f"override {pair!r}", "has no =", "Write --set steps=10.")
    return dict(pair.split("=", 1) for pair in pairs)


def check_seed(settings: Profile, seed: int) -> int:
    """Refuse a seed that the profile does not run."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed not in settings.seeds:
        raise LceError(f"seed {seed!r}", "is not in the profile", f"Seeds: {settings.seeds}.")
    return seed
