"""Push patches to the Hugging Face hub with their card; pull and check them.

A repository holds NAME.lce.safetensors and README.md, the card. HF_ENDPOINT names another
hub with the same protocol; a local folder may take the place of a repository.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lcelib.errors import LceError, UnreachableError, as_resource_error
from lcelib.files import atomic
from lcelib.patches import card, reading
from lcelib.patches import direction as directions

SUFFIX = ".lce.safetensors"


def push(
    path: Path, repository: str, private: bool = False, towards_stereotype: bool = False
) -> str:
    """Publish a patch with its card in one commit; return its address.

    Creates the repository if it does not exist; if a folder of that name exists, writes there
    instead. Raises CorruptFileError for an invalid file, UnreachableError for an error of the
    hub, and HarmfulError for a patch that raises stereotype scores, without
    `towards_stereotype`.
    """
    info = reading.read(path)[1]
    if not towards_stereotype:
        directions.check_harm(info, info.get("alpha", 1.0))
    file, text = reading.resolve(path), card.text(path).encode()
    if Path(repository).is_dir():
        for name, content in ((file.name, file.read_bytes()), ("README.md", text)):
            with atomic(Path(repository) / name) as temporary:
                temporary.write_bytes(content)
        return str(Path(repository) / file.name)
    from huggingface_hub import CommitOperationAdd, HfApi

    with hub_errors(repository):
        api = HfApi(library_name="lcelib")
        api.create_repo(repository, private=private, exist_ok=True)
        files = ((file.name, file.read_bytes()), ("README.md", text))
        done = api.create_commit(
            repository,
            [CommitOperationAdd(name, content) for name, content in files],
            commit_message=f"{file.name}, digest {info['digest'][:12]}",
        )
    return f"{done.commit_url}"


def pull(repository: str, output: Path, name: str = "", revision: str | None = None) -> Path:
    """Fetch a patch, check all of it, and only then write it to `output`.

    `output` is a new file, or a folder. `name` selects one of several in the repository;
    `revision` is a branch, a tag or a commit. Raises CorruptFileError for an invalid file,
    UnreachableError for an error of the hub, LceError for an existing file or an unclear name.
    """
    with hub_errors(repository):
        names = [n for n in _names(repository, revision) if n.endswith(SUFFIX)]
        fitting = [n for n in names if name in ("", n, n.removesuffix(SUFFIX))]
        if len(fitting) != 1:
            reason = f"holds {len(names)} patches: {', '.join(names) or 'none'}"
            raise LceError(repository, reason, "Name one of them: --name NAME." if names else "")
        goal = output / fitting[0] if output.is_dir() else output
        if goal.exists():
            raise LceError(f"{goal}", "exists already", "Give a new name, or remove it.")
        fetched = _fetch(repository, fitting[0], revision)
    reading.read(fetched)
    with atomic(goal) as temporary:
        shutil.copyfile(fetched, temporary)
    return goal


def _names(repository: str, revision: str | None) -> list[str]:
    if Path(repository).is_dir():
        return sorted(p.name for p in Path(repository).iterdir())
    from huggingface_hub import HfApi

    return HfApi(library_name="lcelib").list_repo_files(repository, revision=revision)


def _fetch(repository: str, name: str, revision: str | None) -> Path:
    if Path(repository).is_dir():
        return Path(repository) / name
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, name, revision=revision, library_name="lcelib"))


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Map errors of the hub to UnreachableError, and full disks to ResourceError."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    login = "A name is OWNER/NAME; to log in: hf auth login."
    network = "Check the network. A folder can take the place of the hub."
    try:
        yield
    except (HFValidationError, *HfHubHTTPError.__bases__, OSError) as error:  # type: ignore[misc] # computed
        if (full := as_resource_error(error, repository)) is not None:
            raise full from error
        rejected = (HFValidationError, HfHubHTTPError, LocalTokenNotFoundError)
        remedy = login if isinstance(error, rejected) else network
        raise UnreachableError(f"repository {repository!r}", first_line(error), remedy) from error


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
