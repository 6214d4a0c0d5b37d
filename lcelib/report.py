"""The last stages: figures, claims, executed notebooks, publication, and the closing summary."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pandas as pd

from lcelib.errors import LceError
from lcelib.files import atomic, write_json
from lcelib.profiles import Profile
from lcelib.workflow import ROOT, Run, attended, available

NOTEBOOK_TIMEOUT = 600
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")  # of widgets: random in every run


def table(run: Run) -> pd.DataFrame:
    """The results table of a run (or the published one of the toy profile)."""
    return pd.read_csv(available(run), keep_default_na=False, na_values=[""])


def full_grid(settings: Profile) -> bool:
    """Whether the run holds all that figures and checks ask for."""
    return settings.grid == "paper" and len(settings.seeds) > 1 and len(settings.sparsities) > 1


def figures(settings: Profile) -> None:
    """Draw every figure and write every table of the paper from the results table.

    Raises LceError when the full grid does not give them all: then something is
    wrong with the drawing, as when "pretrained" doesn't. Other grids draw what they have.
    """
    from lcelib.figures import draw_all, draw_glue, manifest

    run = Run(settings)
    located = run.folder / "located.csv"
    missing = draw_all(table(run), pd.read_csv(located), run.figures, settings.grid)
    if missing and (full_grid(settings) or settings.grid == "pretrained"):
        raise LceError("figures", f"could not be drawn: {', '.join(missing)}", "See results.csv.")
    if settings.glue:
        draw_glue(pd.read_csv(run.glue), run.figures)
    write_json(run.figures / "manifest.json", manifest(run.figures, run.results, located))


def claims(settings: Profile) -> None:
    """Count the located weights, judge the claims, and check what a sound run shows."""
    from lcelib.checks import checks
    from lcelib.ledger import judge, located_table

    run = Run(settings)
    located, results = located_table(run), table(run)
    with atomic(run.folder / "located.csv") as temporary:
        located.to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")
    met = checks(results, located, settings) if full_grid(settings) else []
    write_json(run.folder / "checks.json", met)
    write_json(run.claims, judge(results, located, settings))


def notebook(settings: Profile, seed: int, name: str) -> None:
    """Execute one notebook with papermill; the final name appears only when it ran to its end."""
    run = Run(settings)
    final = run.notebook(name, seed)
    partial = final.with_suffix(".partial.ipynb")
    partial.parent.mkdir(parents=True, exist_ok=True)
    overrides = [f"{key}={value}" for key, value in settings.overrides.items()]
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / f"{name}.ipynb")]
    command += [str(partial), "--kernel", "python3", "--no-progress-bar", "--log-level", "ERROR"]
    command += ["--execution-timeout", str(NOTEBOOK_TIMEOUT), "-r", "profile", settings.name]
    command += ["-p", "seed", str(seed), "-r", "overrides", ";".join(overrides)]
    environment = os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with attended(command, env=environment, **pipes) as done:
        said = done.communicate()[1]
    if done.returncode:
        tail = "\n".join(said.splitlines()[-15:])
        killed = done.returncode in (137, 138) or "Kernel died" in said
        reason = "its kernel was killed, most often for want of memory" if killed else "failed"
        raise LceError(f"notebook {name}", reason, f"See {partial}.\n{tail}")
    partial.write_text(stable(partial.read_text(encoding="utf-8")), encoding="utf-8")
    os.replace(partial, final)


def stable(text: str) -> str:
    """An executed notebook without what differs from run to run: times and random widget ids."""
    content = json.loads(text)
    content["metadata"].pop("papermill", None)
    for number, cell in enumerate(content["cells"]):
        cell["id"] = (
            cell["id"] if not re.fullmatch(r"[0-9a-f]{8}", cell["id"]) else f"cell-{number}"
        )
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
    state = (
        content["metadata"].get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    )
    # Number the widgets in the order in which the cells, and then each other, refer to them.
    ids = list(dict.fromkeys(_ID.findall(json.dumps(content["cells"]))))
    for widget in ids:
        found = _ID.findall(json.dumps(state.get("state", {}).get(widget, {}), sort_keys=True))
        ids += [x for x in dict.fromkeys(found) if x not in ids]
    if state:  # without widgets that nothing refers to any more
        state["state"] = {k: v for k, v in state["state"].items() if k in ids}
    order = {old: f"{number:032x}" for number, old in enumerate(ids)}
    text = json.dumps(content, ensure_ascii=False)
    content = json.loads(_ID.sub(lambda m: order.get(m[0], m[0]), text))
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def publish(settings: Profile) -> None:
    """Copy results, claims and figures of an unchanged profile to figures/ and into the pages."""
    from lcelib import card, ledger, pretrained
    from lcelib.patchfile import SHIPPED

    run = Run(settings)
    run.published.mkdir(exist_ok=True)
    named = [run.results, run.claims, run.folder / "checks.json", run.folder / "located.csv"]
    for path in (*sorted(run.figures.iterdir()), *named):
        shutil.copyfile(path, run.published / path.name)
    if run.card.exists():
        SHIPPED.mkdir(exist_ok=True)
        for path in (run.patch, run.card):
            shutil.copyfile(path, SHIPPED / path.name)
        ledger.replace_block(ROOT / "docs/patches.md", "patch", card.summary(run.patch))
        for path in (run.patch_table, *run.patch.parent.glob("candidates-*.csv")):
            shutil.copyfile(path, run.published / path.name)
    found, _ = ledger.read(run)
    heading = f"{settings.name}, {len(settings.seeds)} seeds"
    ledger.replace_block(ROOT / "docs/claims.md", settings.name, ledger.table(found, heading))
    if settings.grid == "pretrained":
        located = pd.read_csv(run.folder / "located.csv")
        lines = [" ".join(pretrained.sentences(table(run), located, settings))]
        for page in ("README.md", "docs/real_models.md"):
            ledger.replace_block(ROOT / page, settings.name, lines)
    else:
        ledger.replace_block(ROOT / "README.md", "verdicts", ledger.verdicts(found, heading))
    (run.folder / "published").write_text(f"{run.published.name}/ holds this run's results\n")


def closing(settings: Profile, start: float) -> str:
    """What a run showed and where its time went, for the end of `make paper`."""
    from lcelib import pretrained, records
    from lcelib.ledger import summary_lines

    run = Run(settings)
    lines = [f"Results: {run.folder}", "", *summary_lines(run), "", "Where the time went:"]
    if settings.grid == "pretrained":
        located = pd.read_csv(run.folder / "located.csv")
        lines[-1:-1] = [*pretrained.sentences(table(run), located, settings), ""]
    groups: dict[str, list[dict]] = {}
    for record in records.jobs(run.folder):
        groups.setdefault(record["job"].split("-")[0], []).append(record)
    for name, jobs in groups.items():
        seconds, memory = (
            sum(j["wall_seconds"] for j in jobs),
            max(j["peak_megabytes"] for j in jobs),
        )
        lines.append(f"  {name:12} {seconds:6.0f} s in {len(jobs)} jobs, at most {memory} MB each")
    lines.append(f"This call took {(time.time() - start) / 60:.1f} minutes.")
    return "\n".join(lines)
