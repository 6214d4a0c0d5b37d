"""lcelib: local contrastive editing of gender stereotypes (Lutz et al., EMNLP 2024).

    located = lce.locate(target, reference, by="mask")               # Eq. 1
    patch = lce.edit(target, reference, located, "EP", alpha=2)      # Eq. 3–6
    with patch.applied(model): …                                     # bit-exactly taken back

Names are loaded when they are used, so that `import lcelib` costs nothing.
"""

from importlib import import_module

_WHERE = {
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
__all__ = sorted(_WHERE)
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'lcelib' has no attribute {name!r}")
    return getattr(import_module(f"lcelib.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
