"""lcelib: local contrastive editing of gender stereotypes (Lutz et al., EMNLP 2024).

    located = lce.locate(target, reference, by="mask")               # Eq. 1
    patch = lce.edit(target, reference, located, "EP", alpha=2)      # Eq. 3–6
    with patch.applied(model): …                                     # restored bit for bit

Names are loaded on first use, so that `import lcelib` costs nothing.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "BiasSpec": "corpus.specification",
    "LanguageModel": "models",
    "LceError": "errors",
    "Located": "localization",
    "Patch": "patches.patch",
    "Subnetwork": "subnetworks",
    "augment": "corpus.augmentation",
    "build_corpus": "corpus.augmentation",
    "edit": "editing",
    "transfer": "editing",
    "load": "models",
    "locate": "localization",
    "profile": "run.profiles",
    "prunable": "models",
    "read_spec": "corpus.specification",
}
__all__ = sorted(_MODULES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lcelib' has no attribute {name!r}")
    return getattr(import_module(f"lcelib.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
