"""Execute one notebook with papermill."""

import json
import os
import re
import subprocess
import sys

from lcelib.errors import LceError
from lcelib.run.paths import ROOT, Run
from lcelib.run.processes import child_process
from lcelib.run.profiles import Profile

NOTEBOOK_TIMEOUT = 600
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")  # of widgets: random in every run


def run(settings: Profile, seed: int, name: str) -> None:
    """Execute one notebook with papermill; the final file appears only if it ran to its end."""
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
    with child_process(command, env=environment, **pipes) as done:
        said = done.communicate()[1]
    if done.returncode:
        tail = "\n".join(said.splitlines()[-15:])
        killed = done.returncode in (137, 138) or "Kernel died" in said
        reason = "its kernel was killed, most often for want of memory" if killed else "failed"
        raise LceError(f"notebook {name}", reason, f"See {partial}.\n{tail}")
    partial.write_text(stable(partial.read_text(encoding="utf-8")), encoding="utf-8")
    os.replace(partial, final)


def stable(text: str) -> str:
    """Remove what differs from run to run from an executed notebook: times, random widget ids."""
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
