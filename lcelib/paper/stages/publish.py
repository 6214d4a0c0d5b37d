"""Copy the results of an unchanged profile to figures/ and into the documentation."""

import shutil

import pandas as pd

from lcelib.errors import LceError
from lcelib.paper import ledger, pretrained
from lcelib.paper.results import table
from lcelib.patches import card
from lcelib.patches.reading import SHIPPED
from lcelib.run.paths import CHECKOUT, ROOT, Run
from lcelib.run.profiles import Profile


def run(settings: Profile) -> None:
    """Copy results, claims and figures of a profile to figures/ and into the pages.

    Raises LceError for a profile that was overridden, and outside of a checkout.
    """
    if settings.overrides or not CHECKOUT:
        what = "an overridden profile" if settings.overrides else "an installed package"
        raise LceError("publish", f"cannot publish {what}", "Run it on a profile, in a checkout.")
    run = Run(settings)
    if not run.claims.exists() or not (run.figures / "manifest.json").exists():
        raise LceError("publish", f"{run.folder} is incomplete", "Build it with: make paper")
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
