"""Wikipedia, article by article: only the sentences that a corpus needs are kept."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from lcelib.corpus.augmentation import augment, is_neutral
from lcelib.corpus.specification import BiasSpec
from lcelib.corpus.texts import split_sentences
from lcelib.data.sources import cache
from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.files import lock, write_json

HUB = ("wikimedia/wikipedia", "20231101.en")  # the paper's dump, 20220301, is no longer served
SAVE_EVERY = 1000  # articles
_SUFFIXES = (".parquet", ".jsonl")


def is_articles(source: str) -> bool:
    """Whether a text of a profile is read article by article."""
    return source == "wikipedia" or bool(_files(source))


def _files(source: str) -> list[Path]:
    """The files of articles that a source other than the hub has."""
    place = Path(source)
    inside = sorted(place.iterdir()) if place.is_dir() else [place]
    return [p for p in inside if p.suffix in _SUFFIXES]


def _identity(source: str) -> list:
    """What tells one source from another: the hub's version, or files with size and time."""
    if source == "wikipedia":
        return [*HUB]
    return [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in _files(source)]


def articles(source: str):
    """The stream of articles: the hub's Wikipedia, or files with a column "text"."""
    require("Wikipedia", "datasets")
    import datasets

    if source == "wikipedia":
        name, options = HUB[0], {"name": HUB[1]}
    else:
        files = [str(p) for p in _files(source)]
        name = "parquet" if files[0].endswith(".parquet") else "json"
        options = {"data_files": files}
    try:
        return datasets.load_dataset(name, split="train", streaming=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = f"cannot be read ({(str(error) or repr(error)).splitlines()[0]})"
        remedy = "Is the network there? A folder of the dump's parquet files will do as well."
        raise LceError(f"Wikipedia {source!r}", reason, remedy) from error


def sentences(source: str, spec: BiasSpec, limit: int, given: int = 0) -> list[str]:
    """The first different sentences that make `limit` pairs, with the neutral ones they need.

    Those are three for each pair, and for each of the `given` ones that come from elsewhere.
    All are kept in the cache under what was asked for. A stream that was interrupted
    goes on at the last thousand of articles; twice the same text gives the same bytes.
    """
    wanted = json.dumps(
        [_identity(source), spec.pairs, spec.attributes_1, spec.attributes_2, given]
    )
    name = f"{spec.name}-{limit}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    goal = cache() / "wikipedia" / f"{name}.txt"
    with lock(goal.with_suffix(".lock"), "waiting for another process to read Wikipedia …"):
        if not goal.exists():
            part, state = goal.with_suffix(".part"), goal.with_suffix(".json")
            try:
                _gather(articles(source), spec, limit, limit + given, part, state)
            except (OSError, RuntimeError) as error:
                reason = f"was interrupted ({(str(error) or repr(error)).splitlines()[0]})"
                remedy = "Call it again: it goes on where it was."
                raise LceError(f"Wikipedia {source!r}", reason, remedy) from error
            os.replace(part, goal)
            state.unlink(missing_ok=True)
    return goal.read_text(encoding="utf-8").splitlines()


def _gather(stream, spec: BiasSpec, limit: int, third: int, part: Path, state: Path) -> None:
    """Write the sentences to `part`; `state` says how far it is complete."""
    from tqdm import tqdm

    done = {"articles": 0, "bytes": 0, "pairs": 0, "neutral": 0}
    if state.exists() and part.exists():
        done = json.loads(state.read_text(encoding="utf-8"))
        stream.load_state_dict(done.pop("stream"))
    part.touch()
    os.truncate(part, done["bytes"])
    seen = set(part.read_text(encoding="utf-8").splitlines())
    with (
        open(part, "ab") as file,
        tqdm(
            total=limit, initial=done["pairs"], unit="pair", desc="Wikipedia", disable=None
        ) as bar,
    ):
        for article in stream:
            for kind, sentence in _useful(article["text"], spec):
                wanted = done[kind] < (limit if kind == "pairs" else 3 * third)
                if wanted and sentence not in seen:
                    seen.add(sentence)
                    done[kind] += 1
                    file.write(f"{sentence}\n".encode())
                    bar.update(kind == "pairs")
            done["articles"] += 1
            if done["pairs"] == limit and done["neutral"] == 3 * third:
                break
            if done["articles"] % SAVE_EVERY == 0:
                file.flush()
                done["bytes"] = file.tell()
                write_json(state, done | {"stream": stream.state_dict()})
                bar.set_postfix_str(f"{done['articles']:,} articles, {done['neutral']:,} neutral")


def _useful(text: str, spec: BiasSpec) -> Iterator[tuple[str, str]]:
    """What each sentence of an article can serve as."""
    for sentence in split_sentences(text):
        if augment(sentence, spec) is not None:
            yield "pairs", sentence
        elif is_neutral(sentence, spec):
            yield "neutral", sentence
