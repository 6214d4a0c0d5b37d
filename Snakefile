# The dependency graph of a run, or of all runs of a grid file. `make paper` builds it at
# the toy profile; `--config profile=… set_FIELD=…` builds any other, `--config grid=FILE`
# those of a grid. Each job is one call of `lce stage`; paths and their meaning are in
# lcelib/run/paths.py and lcelib/run/batch.py.
import shlex
import sys

from lcelib.run import batch
from lcelib.run.digests import code, inputs
from lcelib.run.paths import ROOT, Run, notebooks
from lcelib.run.profiles import profile

LCE = f"{shlex.quote(sys.executable)} -m lcelib.cli"
if "grid" in config:
    GRID = batch.read(config["grid"])
    RUNS = {f"_{number}": run_ for number, run_ in enumerate(GRID.runs, start=1)}
else:
    # Snakemake reads the values of the command line as YAML; the profile reads text.
    texts = {
        key.removeprefix("set_"): value
        if isinstance(value, (str, list))
        else ("" if value is None else repr(value))
        for key, value in config.items()
        if key.startswith("set_")
    }
    GRID = None
    RUNS = {"": Run(profile(config.get("profile", "toy"), texts))}


def subnetworks(run_, seeds):
    """All subnetworks of the seeds."""
    return [p for s in seeds for c in run_.settings.conditions for p in run_.subnetworks(s, c)]


def to_measure(run_):
    """What a measuring job reads: all of its seed, and those of the null contrast."""
    def files(wildcards):
        seed, settings = int(wildcards.seed), run_.settings
        at = 1 + settings.sparsities.index(settings.measured_sparsity)
        other = [run_.subnetwork(settings.other_seed(seed), c, at) for c in settings.conditions]
        return subnetworks(run_, [seed]) + other

    return files


def shown(run_):
    """All that a run ends with: of a grid, notebooks of every seed; else those of the first."""
    settings, seeds = run_.settings, run_.settings.seeds if GRID else run_.settings.seeds[:1]
    files = [run_.claims, run_.figures / "manifest.json"]
    files += [run_.notebook(n, s) for n in notebooks(settings) for s in seeds]
    files += [run_.patch_table] if settings.grid == "pretrained" else []
    return files


rule all:
    input:
        [shown(run_) for run_ in RUNS.values()],
        [GRID.results, GRID.report] if GRID else [],


for suffix, run_ in RUNS.items():
    settings = run_.settings
    args = f"--profile {settings.name}" + "".join(
        f" --set {shlex.quote(f'{key}={value}')}" for key, value in settings.overrides.items()
    )

    # A rule runs again when the profile, the user's files, or the code that its stage imports changed.
    def because(*stages, known=f"{settings!r} {inputs(settings)}"):
        return f"{known} {code(*stages)}"

    rule:
        name: f"first_seed{suffix}"
        input: run_.probes, subnetworks(run_, settings.seeds[:1])

    rule:
        name: f"corpus{suffix}"
        output: run_.corpus
        params: because("corpus"), args=args
        shell: "{LCE} stage corpus {params.args}"

    rule:
        name: f"probes{suffix}"
        output: run_.probes
        params: because("probes"), args=args
        shell: "{LCE} stage probes {params.args}"

    for condition in settings.conditions:
        rule:
            name: f"subnetworks_{condition}{suffix}"
            input: run_.corpus
            output: run_.subnetworks("{seed}", condition)
            params: because("subnetworks"), args=args, condition=condition
            priority: 2
            threads: settings.threads
            shell: "{LCE} stage subnetworks {params.args} --seed {wildcards.seed} --of {params.condition}"

    rule:
        name: f"measure{suffix}"
        input: run_.corpus, run_.probes, to_measure(run_)
        output: run_.folder / "measured" / "seed{seed}-{target}.csv"
        params: because("measure"), args=args
        priority: 1
        threads: settings.threads
        shell: "{LCE} stage measure {params.args} --seed {wildcards.seed} --of {wildcards.target}"

    rule:
        name: f"results{suffix}"
        input: [run_.measured(s, t) for s in settings.seeds for t in settings.targets]
        output: run_.results
        params: because("results"), args=args
        shell: "{LCE} stage results {params.args}"

    rule:
        name: f"glue{suffix}"
        input: subnetworks(run_, settings.seeds[:1])
        output: run_.glue
        params: because("glue"), args=args
        threads: settings.threads
        shell: "{LCE} stage glue {params.args}"

    rule:
        name: f"claims{suffix}"
        input: run_.results, subnetworks(run_, settings.seeds)
        output: run_.claims, run_.folder / "checks.json", run_.folder / "located.csv"
        params: because("claims"), args=args
        shell: "{LCE} stage claims {params.args}"

    rule:
        name: f"figures{suffix}"
        input: run_.results, run_.folder / "located.csv", run_.claims, [run_.glue] if settings.glue else []
        output: run_.figures / "manifest.json"
        params: because("figures"), args=args
        shell: "{LCE} stage figures {params.args}"

    rule:
        name: f"notebook{suffix}"
        input: ROOT / "notebooks" / "{notebook}.ipynb", run_.results, run_.claims
        output: run_.folder / "notebooks" / "seed{seed}" / "{notebook}.ipynb"
        params: because(), args=args
        shell: "{LCE} stage notebook {params.args} --seed {wildcards.seed} --of {wildcards.notebook}"

    rule:
        name: f"candidates{suffix}"
        input: run_.corpus, run_.probes, subnetworks(run_, settings.seeds)
        output: run_.candidates("{contrast}")
        params: because("candidates"), args=args
        threads: settings.threads
        shell: "{LCE} stage candidates {params.args} --of {wildcards.contrast}"

    rule:
        name: f"release{suffix}"
        input: [run_.candidates(c) for c in settings.contrasts]
        output: run_.patch_table
        params: because("release"), args=args
        threads: settings.threads
        shell: "{LCE} stage release {params.args}"

    rule:
        name: f"app{suffix}"
        input: run_.corpus, run_.probes, subnetworks(run_, settings.seeds[:1])
        output: run_.curves
        params: because("app"), args=args, seed=settings.seeds[0]
        threads: settings.threads
        shell: "{LCE} stage app {params.args} --seed {params.seed}"


if GRID:
    rule combine:
        input: GRID.path, [run_.results for run_ in RUNS.values()]
        output: GRID.results
        params: code("combine"), grid=shlex.quote(str(GRID.path))
        shell: "{LCE} stage combine --grid {params.grid}"

    rule report:
        input: GRID.results, [shown(run_) for run_ in RUNS.values()]
        output: GRID.report
        params: code("report"), grid=shlex.quote(str(GRID.path))
        shell: "{LCE} stage report --grid {params.grid}"
