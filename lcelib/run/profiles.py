"""Profiles: every setting of a run in one frozen dataclass, strict about names and types."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

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


def _items(file: str, default: str = "") -> Any:
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

    Raises LceError for values that are not valid.
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

    def __post_init__(self) -> None:
        increasing = [0, *self.sparsities, 1]
        counts = (self.steps, self.batch_size, self.max_pairs, self.threads)
        checks = {  # name: whether it is valid, and what to do if not
            "seeds": (len(set(self.seeds)) == len(self.seeds) > 0, "Give distinct whole numbers."),
            "sparsities": (
                all(a < b for a, b in pairwise(increasing)),
                "Give increasing numbers between 0 and 1.",
            ),
            "measured_sparsity": (
                self.measured_sparsity in self.sparsities,
                f"Choose one of {self.sparsities}.",
            ),
            "grid": (self.grid in GRIDS, f"Choose one of {GRIDS}."),
            "k": (0 < self.k <= 1, "Give a share in (0, 1]."),
            "measures": (all("=" in entry for entry in self.measures), "Write NAME=FILE."),
            "steps, …": (min(counts) > 0, "Steps, batch_size, max_pairs and threads must be > 0."),
        }
        for name, (valid, remedy) in checks.items():
            if not valid:
                raise LceError(f"profile {self.name!r}", f"{name} is not valid", remedy)

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
        """Return the models that are fine-tuned."""
        return CONDITIONS[:2] if self.grid == "pretrained" else CONDITIONS

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the models that are edited: those, and the original where it is the neutral one."""
        return (*self.conditions, ORIGINAL) if self.grid == "pretrained" else self.conditions

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Return the contrasts a patch of the pretrained model can use: each seed's, and the mean."""
        return (*map(str, self.seeds), MEAN)

    def other_seed(self, seed: int) -> int:
        """Return the seed the null contrast compares with: the next one, cyclically."""
        return self.seeds[(self.seeds.index(seed) + 1) % len(self.seeds)]

    @property
    def overrides(self) -> dict[str, str]:
        """Return what differs from the named profile, as text that `profile` reads back."""
        named, own = asdict(PROFILES[self.name]), asdict(self)
        changed = {k: v for k, v in own.items() if v != named[k]}
        return {
            k: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in changed.items()
        }

    @property
    def run_name(self) -> str:
        """Return the name of the results folder: the profile's, with a digest if overridden."""
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
    """Return the profile of that name with some fields replaced.

    Values may be strings, as papermill and the command line give them; they are parsed by
    the field's type. Raises LceError for an unknown name or field and for a wrong value.
    """
    if name not in PROFILES:
        raise LceError(f"profile {name!r}", "is unknown", f"Known: {', '.join(PROFILES)}.")
    base, types = PROFILES[name], {f.name: f.type for f in fields(Profile)}
    values: dict[str, Any] = {}
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


def _absolute(value: Any) -> Any:
    """Make existing paths absolute, since stages and notebooks run in other folders."""
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    is_path = value not in GENERATED and Path(value).exists()
    return str(Path(value).resolve()) if is_path else value


def _convert(key: str, value: Any, like: Any) -> Any:
    """Convert `value` to the type of `like`; strings are parsed, tuples split at commas."""
    try:
        if isinstance(like, tuple):
            items = value.split(",") if isinstance(value, str) else list(value)
            return tuple(_convert(key, item, like[0] if like else "") for item in items)
        if isinstance(value, bool) or value is None:
            raise ValueError
        if isinstance(like, str):
            converted, valid = value, isinstance(value, str)
        else:
            converted = int(str(value)) if isinstance(like, int) else float(value)
            valid = math.isfinite(converted) and (isinstance(like, float) or converted >= 0)
        if not valid:
            raise ValueError
        return converted
    except (ValueError, TypeError):
        kinds = {int: "a whole number ≥ 0", float: "a number", str: "text"}
        one = (like[0] if like else "") if isinstance(like, tuple) else like
        expected = kinds[type(one)]
        expected = f"a list, each {expected}" if isinstance(like, tuple) else expected
        reason = f"is not {expected}"
        raise LceError(f"override {key}={value!r}", reason, f"The default is {like!r}.") from None


def parse_overrides(pairs: list[str]) -> dict[str, str]:
    """Split ["steps=10", …] into {"steps": "10", …}; raise LceError where there is no "="."""
    for pair in pairs:
        if "=" not in pair:
            raise LceError(f"override {pair!r}", "has no =", "Write --set steps=10.")
    return dict(pair.split("=", 1) for pair in pairs)


def check_seed(settings: Profile, seed: int) -> int:
    """Return the seed; raise LceError unless it is one of the profile's."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed not in settings.seeds:
        raise LceError(f"seed {seed!r}", "is not in the profile", f"Seeds: {settings.seeds}.")
    return seed
