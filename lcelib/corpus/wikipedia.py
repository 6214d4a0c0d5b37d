"""Wikipedia as a stream of articles, of which only the sentences that a corpus needs are kept."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcelib.corpus.augmentation import augment, is_neutral
from lcelib.corpus.specification import BiasSpec
from lcelib.corpus.texts import split_sentences
from lcelib.data.sources import cache
from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.files import lock, write_json

if TYPE_CHECKING:
    from datasets import IterableDataset

HUB = ("wikimedia/wikipedia", "20231101.en")  # the paper's dump, 20220301, is no longer served
SAVE_EVERY = 1000  # articles
_SUFFIXES = (".parquet", ".jsonl")


def is_articles(source: str) -> bool:
    """Return whether a text of a profile is read article by article."""
    return source == "wikipedia" or bool(_article_files(source))


def _article_files(source: str) -> list[Path]:
    """Return the article files of a folder, or of a single path."""
    path = Path(source)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [p for p in files if p.suffix in _SUFFIXES]


def _identity(source: str) -> list[Any]:
    """Return what identifies a source: the hub's version, or its files with size and time."""
    if source == "wikipedia":
        return [*HUB]
    return [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in _article_files(source)]


def articles(source: str) -> "IterableDataset":
    """Stream articles from the hub's Wikipedia, or from files with a column "text"."""
    require("Wikipedia", "datasets")
    import datasets

    name: str = HUB[0]
    options: dict[str, Any] = {"name": HUB[1]}
    if source != "wikipedia":
        files = [str(p) for p in _article_files(source)]
        name = "parquet" if files[0].endswith(".parquet") else "json"
        options = {"data_files": files}
    try:
        return datasets.load_dataset(name, split="train", streaming=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        remedy = "Check the network, or give a folder with the dump's parquet files."
        raise _failure(source, "cannot be read", error, remedy) from error


def _failure(source: str, what: str, error: Exception, remedy: str) -> LceError:
    detail = (str(error) or repr(error)).splitlines()[0]
    return LceError(f"Wikipedia {source!r}", f"{what} ({detail})", remedy)


def sentences(source: str, spec: BiasSpec, limit: int, given: int = 0) -> list[str]:
    """Return the first distinct sentences that make `limit` pairs, and the neutral ones they need.

    Each pair needs three neutral sentences, and so does each of the `given` pairs from
    elsewhere. The result is cached under these arguments. An interrupted stream resumes
    from the last saved batch of 1,000 articles; the output is deterministic.
    """
    key = json.dumps([_identity(source), spec.pairs, spec.attributes_1, spec.attributes_2, given])
    name = f"{spec.name}-{limit}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    goal = cache() / "wikipedia" / f"{name}.txt"
    with lock(goal.with_suffix(".lock"), "waiting for another process to read Wikipedia …"):
        if not goal.exists():
            part, state = goal.with_suffix(".part"), goal.with_suffix(".json")
            try:
                _gather(articles(source), spec, limit, 3 * (limit + given), part, state)
            except (OSError, RuntimeError) as error:
                remedy = "Run it again: it resumes from the last saved article."
                raise _failure(source, "was interrupted", error, remedy) from error
            part.replace(goal)
            state.unlink(missing_ok=True)
    return goal.read_text(encoding="utf-8").splitlines()


def _gather(
    stream: "IterableDataset", spec: BiasSpec, pairs: int, neutral: int, part: Path, state: Path
) -> None:
    """Append sentences to `part` up to both limits; `state` records how much of it is complete."""
    from tqdm import tqdm

    done, limits = {"articles": 0, "bytes": 0, "pairs": 0, "neutral": 0}, (pairs, neutral)
    if state.exists() and part.exists():
        done = json.loads(state.read_text(encoding="utf-8"))
        stream.load_state_dict(done.pop("stream"))
    part.touch()
    os.truncate(part, done["bytes"])
    seen = set(part.read_text(encoding="utf-8").splitlines())
    with (
        open(part, "ab") as file,
        tqdm(
            total=pairs, initial=done["pairs"], unit="pair", desc="Wikipedia", disable=None
        ) as bar,
    ):
        for article in stream:
            for kind, sentence in _classify(article["text"], spec):
                wanted = done[kind] < (pairs if kind == "pairs" else neutral)
                if wanted and sentence not in seen:
                    seen.add(sentence)
                    done[kind] += 1
                    file.write(f"{sentence}\n".encode())
                    bar.update(kind == "pairs")
            done["articles"] += 1
            if (done["pairs"], done["neutral"]) == limits:
                break
            if done["articles"] % SAVE_EVERY == 0:
                file.flush()
                done["bytes"] = file.tell()
                write_json(state, done | {"stream": stream.state_dict()})
                bar.set_postfix_str(f"{done['articles']:,} articles, {done['neutral']:,} neutral")


def _classify(text: str, spec: BiasSpec) -> Iterator[tuple[str, str]]:
    """Yield the useful sentences of an article, each after its kind: "pairs" or "neutral"."""
    for sentence in split_sentences(text):
        if augment(sentence, spec) is not None:
            yield "pairs", sentence
        elif is_neutral(sentence, spec):
            yield "neutral", sentence
