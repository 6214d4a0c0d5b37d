"""Provide the files of all measures."""

import shutil

from lcelib.corpus import winobias
from lcelib.data import sources
from lcelib.files import write_json
from lcelib.run.paths import Run
from lcelib.run.profiles import Profile


def run(settings: Profile) -> None:
    """Copy or generate the files of all measures."""
    run = Run(settings)
    if "toybert" in (place for place, _ in settings.items.values()):
        from lcelib.toybert.probes import write

        write(run.folder / "probes")
    for name, (place, _) in settings.items.items():
        if place == "toybert":
            continue
        goal = run.probe[name]
        goal.parent.mkdir(parents=True, exist_ok=True)
        if name == "winobias":
            write_json(goal, winobias.read(sources.resolve(place), "test"))
        else:
            shutil.copyfile(sources.resolve(place), goal)
