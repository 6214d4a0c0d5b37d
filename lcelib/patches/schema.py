"""The structure of a patch's description, checked before anything is read from it."""

import math
from collections.abc import Mapping
from typing import Any


def check_structure(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the "base" entry; raise ValueError unless all is as in docs/patch_format.md."""
    base: Mapping[str, Any] = info.get("base", {})
    texts = ("direction", "bias", "licence", "citation", "limits")

    def demand(fine: bool, what: str) -> None:
        if not fine:
            raise ValueError(f"its description has a wrong {what}")

    def number(x: Any) -> bool:
        return type(x) in (int, float) and abs(x) < 1e300

    demand(number(info.get("alpha", 1)), "alpha")
    demand(all(isinstance(info.get(k, ""), str) for k in texts), "text")
    demand(isinstance(info.get("method", {}), dict), "method")
    demand(isinstance(base, dict) and isinstance(base.get("tensors", {}), dict), "base")
    for key in ("id", "revision", "derived_from", "architecture", "tokenizer"):
        demand(isinstance(base.get(key) or "", str), f"base {key}")
    for name, entry in base.get("tensors", {}).items():
        demand(isinstance(entry, dict) and isinstance(entry.get("sha256"), str), f"hash of {name}")
        shape = entry.get("shape")
        sizes = shape if isinstance(shape, list) else [None]
        fine = all(type(x) is int and 0 <= x < 2**40 for x in sizes)
        demand(fine and math.prod(sizes) < 2**62, f"shape of {name}")
    measures = info.get("measures", [])
    demand(isinstance(measures, list), "list of measures")
    for m in measures:
        numbers = isinstance(m, dict) and all(number(m.get(k)) for k in ("before", "after", "n"))
        demand(numbers, "measure")
        demand(all(isinstance(m.get(k), str) for k in ("measure", "variant")), "measure's name")
        for key in ("neutral", "change_se"):
            demand(m.get(key) is None or number(m[key]), f"{key} of a measure")
    return base
