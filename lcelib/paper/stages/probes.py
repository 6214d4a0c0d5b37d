"""The files of all measures."""

import shutil

from lcelib.corpus import winobias
from lcelib.data import sources
from lcelib.files import write_json
from lcelib.run.paths import PROBES, Run
from lcelib.run.profiles import Profile


def run(settings: Profile) -> None:
    """Copy or generate the files of all measures."""
    run = Run(settings)
    folder = run.probe("x").parent
    if "toybert" in (getattr(settings, f) for f in PROBES.values()):
        from lcelib.toybert.probes import write

        write(folder)
    for name, field in PROBES.items():
        place = getattr(settings, field)
        if place in ("toybert", ""):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if field == "winobias":
            write_json(folder / name, winobias.read(sources.resolve(place), "test"))
        else:
            shutil.copyfile(sources.resolve(place), folder / name)
