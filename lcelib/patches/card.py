"""The model card of a patch, made from its file alone: what it does, what was measured, its limits."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lcelib.patches import direction as directions
from lcelib.patches import reading
from lcelib.patches.direction import UNKNOWN
from lcelib.tensors import component_or_name

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
Info = Mapping[str, Any]  # a patch's description
CONTENT = (
    "The scores below measure gender stereotypes, with sentences that contain them. The "
    "benchmarks treat gender as binary."
)


def text(path: Path) -> str:
    """Return Markdown with the front matter that the hub reads; raise LceError for an invalid file."""
    arrays, info = reading.read(path)
    counts = {name: len(a[0]) for name, a in arrays.items()}
    base, name = info.get("base", {}), Path(path).name.removesuffix(".lce.safetensors")
    total, size = sum(counts.values()), reading.resolve(path).stat().st_size
    lines = [*_front(info), f"# {name}", "", f"> {CONTENT}", ""]
    lines += [
        f"A change of {total:,} weights ({size / 1e6:.2f} MB) for {_base(base)}, "
        "as a file that checks itself. "
        f"**Direction: {info['direction']}**, at α = {info.get('alpha', 1):g}.",
        "",
        *_use(name, base),
        "## What was measured",
        "",
        *table(info.get("measures", [])),
        "",
        *_limits(info),
        "## How it was made",
        "",
        *(
            f"- {key}: {value}"
            for key, value in info.get("method", {}).items()
            if value is not None
        ),
        *(f"- {key}: {info[key]}" for key in ("bias", "licence", "citation") if key in info),
        "",
        "| component | weights |",
        "| --- | --- |",
        *(f"| {part} | {count:,} |" for part, count in components(counts).items()),
        "",
        f"Its digest is `{info['digest']}`; the format is open (docs/patch_format.md in lcelib).",
    ]
    return "\n".join(lines) + "\n"


def summary(path: Path) -> list[str]:
    """Return size and table of measures, for docs/patches.md."""
    arrays, info = reading.read(path)
    weights, size = sum(len(a[0]) for a in arrays.values()), reading.resolve(path).stat().st_size
    how = info["method"]
    first = f"It changes {weights:,} weights ({size / 1e6:.2f} MB), located by {how.get('by')}; direction: {info['direction']}."
    return [first, "", *table(info.get("measures", []))]


def components(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the number of listed weights by component, over all layers."""
    totals: dict[str, int] = {}
    for name, count in counts.items():
        part = component_or_name(name)
        totals[part] = totals.get(part, 0) + count
    return totals


def _front(info: Info) -> list[str]:
    """Return YAML for the hub's index, with the direction as a tag."""
    base, licence = info.get("base", {}), info.get("licence", "")
    tags = ["lcelib", "model-editing"]
    if info["direction"] != directions.UNKNOWN:
        tags.append(info["direction"].replace(" ", "-"))
    lines = ["---", "library_name: lcelib", "tags:", *(f"- {tag}" for tag in tags)]
    origin = (base.get("derived_from") or "").split(",")[0], base.get("id") or ""
    lines += [f"base_model: {name}" for name in origin if HUB_NAME.fullmatch(name)][:1]
    if licence:
        short = licence.split(",")[0].lower()
        lines.append(f"license: {short if re.fullmatch('[a-z0-9.-]+', short) else 'other'}")
    return [*lines, "---", ""]


def _base(base: Info) -> str:
    """Return the base's name and the model it was derived from, as far as the file gives them."""
    name, origin = base.get("id") or "the model it was made of", base.get("derived_from")
    return f"{name} ({origin})" if origin else name


def _use(name: str, base: Info) -> list[str]:
    """Return the code that applies the patch, and reverts it."""
    return [
        "```python",
        "import lcelib as lce",
        "",
        f'lm, patch = lce.load("{base.get("id") or "path/to/model"}"), lce.Patch.load("{name}.lce.safetensors")',
        "patch.apply(lm.model)  # or patch.scale(0.5).apply(…)",
        "",
        "patch.revert(lm.model)  # bit for bit",
        "```",
        "",
    ]


def table(measures: list[dict[str, Any]]) -> list[str]:
    """Return a table of measures before and after, with n and the change ± 1.96 standard errors."""
    if not measures:
        return ["Nothing was measured."]
    lines = [
        "| measure | before | after | change | n | without bias |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for m in measures:
        change = f"{m['after'] - m['before']:+.3g}"
        if m.get("change_se") is not None:
            change += f" ± {1.96 * m['change_se']:.2g}"
        neutral = "" if m.get("neutral") is None else f"{m['neutral']:g}"
        values = f"{m['before']:.4g} | {m['after']:.4g}"
        lines.append(f"| {m['measure']} | {values} | {change} | {m['n']} | {neutral} |")
    grouped: dict[str, list[str]] = {}
    for m in measures:
        grouped.setdefault(m["variant"], []).append(m["measure"])
    lines += ["", "±: 1.96 standard errors of the change over the items. Variants: "]
    lines[-1] += "; ".join(f"{', '.join(names)}: {variant}" for variant, names in grouped.items())
    lines[-1] += "."
    return lines


def _limits(info: Info) -> list[str]:
    """Return what the measures show that it does not do, and the author's remarks."""
    lines = ["## What it does not do", ""]
    still: list[str] = []
    worse: list[str] = []
    other: list[str] = []
    for m in info.get("measures", []):
        if m.get("change_se") is None:
            continue
        moved = abs(m["after"] - m["before"]) > 1.96 * m["change_se"]
        if m.get("neutral") is None:
            other += [f"{m['measure']} from {m['before']:.4g} to {m['after']:.4g}"] * moved
        elif not moved:
            still.append(m["measure"])
        elif abs(m["before"] - m["neutral"]) < abs(m["after"] - m["neutral"]):
            worse.append(m["measure"])
    if other:
        lines += [f"It has a cost: it moves {', '.join(other)}, which is no stereotype.", ""]
    if worse:
        lines += [f"It moves {', '.join(worse)} **away** from the value without bias.", ""]
    if still:
        lines += [
            f"It leaves {', '.join(still)} where they were, within the noise of the items.",
            "",
        ]
    if info["direction"] == directions.TOWARDS:
        lines += ["It **raises** stereotype scores: it is for study, and must be asked for.", ""]
    if "limits" in info:
        lines += [info["limits"], ""]
    return lines if len(lines) > 2 else []


def lines(info: Info, counts: Mapping[str, int]) -> list[str]:
    """Return a description for the terminal: base, method, direction, measures, components."""
    base, method = info.get("base", {}), info.get("method", {})
    shown = [f"direction   {info.get('direction', UNKNOWN)} (α = {info.get('alpha', 1):g})"]
    named = " ".join(base[k] for k in ("id", "revision") if base.get(k))
    named += f" ({base['derived_from']})" if base.get("derived_from") else ""
    shown.append(
        f"base        {named or 'unnamed'}, architecture {base.get('architecture', '–')[:12]}"
    )
    shown.append(
        "method      " + ", ".join(f"{k} {v}" for k, v in method.items() if v not in (None, []))
    )
    shown += [
        f"{key:12}{info[key]}" for key in ("bias", "limits", "licence", "citation") if key in info
    ]
    for m in info.get("measures", []):
        change = f"{m['before']:.4g} → {m['after']:.4g}"
        shown.append(f"measured    {m['measure']}: {change}, n = {m['n']} ({m['variant']})")
    shown += [f"weights     {part}: {n:,}" for part, n in components(counts).items()]
    return [*shown, f"weights     all: {sum(counts.values()):,} in {len(counts)} tensors"]
