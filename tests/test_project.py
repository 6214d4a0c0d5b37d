"""The environment, the command line, and that published files are what they say."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pandas as pd
import pytest
import typer
from conftest import ROOT, block

from lcelib import cli
from lcelib.errors import LceError
from lcelib.files import atomic, sha256
from lcelib.models import check_finite, load
from lcelib.paper.results import read_results
from lcelib.run.profiles import PROFILES, check_seed, parse_overrides, profile


def pins(path):
    """Every pin of a file, without its marker."""
    return set(re.findall(r"^\s*(?:- )?([A-Za-z0-9-]+==[\w.]+)\b", path.read_text(), re.M))


def test_all_files_pin_the_same():
    """Also the lock, but for torch, whose builds have one version and different files."""
    wanted = pins(ROOT / "requirements.txt")
    assert pins(ROOT / "environment.yml") == wanted
    markers = [
        re.findall(r"==.+;.+", (ROOT / f).read_text())
        for f in ("requirements.txt", "environment.yml")
    ]
    assert markers[0] == markers[1] != []
    assert wanted - pins(ROOT / "requirements.lock") == {"torch==2.13.0"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for requirements in project["optional-dependencies"].values() for r in requirements]
    names = {re.split(r"[^\w-]", r)[0] for r in project["dependencies"] + extras}
    assert names - {"lcelib"} == {pin.split("==")[0] for pin in wanted}


def test_the_lock_has_hashes_and_no_place():
    text = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==.*(?:\n +.*)*", text, re.M)
    assert len(packages) == len(re.findall(r"^[^#\s]", text, re.M))
    assert all("--hash=sha256:" in package for package in packages)
    assert not re.search(r"https?:|file:|index-url|find-links|@ ", text)


def lce(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "lcelib.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
        env=os.environ | environment,
        check=False,
    )


SPEC = 'name = "x"\npairs = [["woman", "man"]]\nattributes_1 = ["{0}"]\nattributes_2 = ["zebra"]\n'


@pytest.mark.faults(18)
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--profile", "toyy"], "toyy"),
        (["--set", "sedes=1"], "sedes"),
        (["--set", "steps=1e-5"], "whole number"),
        (["--set", "steps=-3"], "whole number"),
        (["--set", "steps=false"], "whole number"),
        (["--set", "sparsities=0.3,0.1"], "sparsities"),
        (["--set", "seeds=1,1"], "seeds"),
        (["--set", "k=2"], "k is not valid"),
        (["--set", "steps"], "no ="),
        (["--set", "stereoset=/absent.json"], "absent.json"),
        (["--set", "model=/absent"], "/absent"),
        (["--set", "bias_spec={spec}"], "attributes_2"),
    ],
)
def test_bad_input_is_refused_in_three_lines_before_any_work(arguments, says, tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text(SPEC.format("nurse"))
    arguments = [a.format(spec=spec) for a in arguments]
    done = lce("run", *arguments, LCE_RESULTS=str(tmp_path / "results"))
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert not (tmp_path / "results").exists()


@pytest.mark.faults(11, 12)
def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, fresh_toy):
    folder = tmp_path / "model"
    fresh_toy.model.save_pretrained(folder)
    fresh_toy.tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for change, says in (
        ({"num_hidden_layers": 5}, "missing"),
        ({"num_hidden_layers": 3}, "extra"),
        ({"intermediate_size": 256}, "shape|size mismatch"),
        ({"vocab_size": 100}, "shape|size mismatch|rows"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(LceError, match=says) as error:
            load(folder)
        assert len(str(error.value).splitlines()) <= 3
    (folder / "config.json").write_text(json.dumps(config))
    load(folder)


@pytest.mark.faults(13)
def test_weights_that_are_not_finite_are_named(fresh_toy):
    weight = fresh_toy.model.bert.encoder.layer[0].output.dense.weight
    weight.data[0, :3] = float("nan")
    with pytest.raises(LceError, match=r"3 weights of .*layer\.0\.output\.dense\.weight"):
        check_finite("model", dict(fresh_toy.model.named_parameters()))


@pytest.mark.faults(15)
def test_a_pickled_checkpoint_is_not_read(tmp_path, fresh_toy):
    import pickle

    fresh_toy.model.save_pretrained(tmp_path)
    fresh_toy.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(LceError):
        load(tmp_path)
    assert not (tmp_path / "canary").exists()


def test_overrides_are_read_by_type():
    found = profile("toy", parse_overrides(["seeds=0,3", "learning_rate=1e-4", "grid=short"]))
    assert (found.seeds, found.learning_rate, found.grid) == ((0, 3), 1e-4, "short")
    assert found.run_name != "toy"
    assert profile("toy", {"steps": str(PROFILES["toy"].steps)}).run_name == "toy"
    for bad in (True, "0", 99):
        with pytest.raises(LceError):
            check_seed(found, bad)


def test_overrides_of_a_profile_read_back_to_the_same_profile(tmp_path, monkeypatch):
    spec = tmp_path / "my spec.toml"
    spec.write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    found = profile("toy", {"seeds": "2,5", "learning_rate": 5e-05, "bias_spec": "my spec.toml"})
    assert found.bias_spec == str(spec)  # stages and notebooks run in other folders
    assert profile("toy", found.overrides) == found
    assert profile("toy").overrides == {}
    (tmp_path / "toybert").mkdir()
    assert profile("toy", {"model": "toybert"}) == PROFILES["toy"]


def test_a_file_is_complete_or_absent(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def commands(group=None, path=()):
    """Every command of `lce`, with the names that lead to it."""
    group = group or typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_help_loads_nothing_heavy():
    """numpy, torch and pandas are what takes seconds."""
    code = """import sys, typer.testing, lcelib.cli
names = [], ["patch"], ["patch", "apply"], ["run"], ["measure"]
for n in names:
    assert typer.testing.CliRunner().invoke(lcelib.cli.app, [*n, "--help"]).exit_code == 0
sys.exit(bool({"torch", "numpy", "pandas", "transformers"} & set(sys.modules)))"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_command_shows_an_example_that_it_would_take():
    """The example in the help has the command's own name, and only options that it knows."""
    found = dict(commands())
    assert {("patch", n) for n in ("make", "info", "verify", "apply", "revert", "diff", "compose",
            "export", "push", "pull")} <= set(found)  # fmt: skip
    for path, command in found.items():
        example = re.search(r"Example: lce (.+)", command.help, re.DOTALL)
        assert example, path
        words = shlex.split(example[1])
        assert tuple(words[: len(path)]) == path
        known = {option for p in command.params for option in p.opts}
        assert {w for w in words if w.startswith("--")} <= known, path
        if path[0] not in ("run", "stage", "train") and path != ("data", "get"):
            assert path[-1] == "card" or "--json" in known, path


def test_the_shell_completes_commands():
    env = os.environ | {
        "_LCE_COMPLETE": "complete_bash",
        "COMP_WORDS": "lce patch re",
        "COMP_CWORD": "2",
    }
    code = "import sys; sys.argv[0] = 'lce'; from lcelib.cli import app; app(prog_name='lce')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["revert"]


def test_exit_codes_are_those_that_the_help_names(tmp_path):
    """One refusal of each class, through the command line."""
    from test_hub import saved

    file, more = tmp_path / "p.lce.safetensors", tmp_path / "more.lce.safetensors"
    saved(file)
    saved(more, direction="towards stereotype")
    (tmp_path / "damaged").write_bytes(file.read_bytes()[:-1])
    model = ROOT / "lcelib/toybert/model"
    shared = tmp_path / "shared"
    shared.mkdir()
    calls = {
        0: ("patch", "info", file),
        2: ("patch", "export", file, "--to", "nothing", "--output", tmp_path / "x"),
        4: ("patch", "info", tmp_path / "damaged"),
        5: ("patch", "verify", file, model),
        6: ("patch", "pull", "not a name!"),
        7: ("patch", "push", more, shared),
    }
    assert {code: lce(*map(str, call)).returncode for code, call in calls.items()} == {
        c: c for c in calls
    }
    text = cli.app.info.epilog
    assert all(f" {code} " in text for code in calls)


def test_published_claims_follow_from_the_published_table():
    """claims.json and checks.json, recomputed from results.csv alone, are the published ones."""
    from lcelib.paper import checks, ledger

    results = read_results(ROOT / "figures/results.csv")
    located = pd.read_csv(ROOT / "figures/located.csv")
    toy = PROFILES["toy"]
    claims = json.loads((ROOT / "figures/claims.json").read_text())
    assert ledger.judge(results, located, toy) == claims
    assert len(claims) == 10
    published = json.loads((ROOT / "figures/checks.json").read_text())
    assert checks.checks(results, located, toy) == published
    assert set(results["seed"]) == set(toy.seeds)


def test_the_null_contrast_is_shown_by_absolute_effects_and_decides_nothing():
    """Each seed is edited towards the next in a circle, so signed effects cancel by construction."""
    from lcelib.paper import checks

    results = read_results(ROOT / "figures/results.csv")
    located, toy = pd.read_csv(ROOT / "figures/located.csv"), PROFILES["toy"]
    at = results["reference"].fillna("").str.contains("other seed")
    full = results.copy()
    full.loc[at, "value"] = full.loc[at, "reference_value"]  # the whole way to the next seed
    row = next(c for c in checks.masks(results, located, toy) if "null" in c["check"])
    more = next(c for c in checks.masks(full, located, toy) if "null" in c["check"])
    assert row["met"] is more["met"] is None
    assert float(more["ours"].split()[0]) > 2 * float(row["ours"].split()[0]) > 2


def test_the_papers_changes_of_perplexity_are_per_cent_of_its_own_perplexity():
    from lcelib.paper.claims import PAPER_LANGUAGE, PAPER_PRUNING
    from lcelib.paper.figures.tables import PAPER

    base = PAPER["table4"]["stereotypical"]["PPL"][3]
    delta, name = PAPER["table5_delta"], ("IP0.5", "IP1", "EP2")
    far = max(delta[part][n][2] for part in ("mask", "value_k10") for n in name)
    pruned = delta["value_k10"]["PR"][2]
    assert f"{100 * far / base:.1f} % ({far:.3f} of {base:.2f};" in PAPER_LANGUAGE
    assert f"{100 * pruned / base:+.0f} % ({pruned:.2f} of {base:.2f})" in PAPER_PRUNING


def test_winning_tickets_are_within_five_per_cent():
    from lcelib.paper import checks, findings

    results = read_results(ROOT / "figures/results.csv")
    at = (results["measure"] == "perplexity") & (results["target"] == "anti")
    at &= results["reference"].isna() & (results["seed"] == 1)
    dense = float(results.loc[at & (results["sparsity"] == 0), "value"].iloc[0])
    for factor, within in ((1.0499, True), (1.0501, False)):
        results.loc[at & (results["sparsity"] == 0.4), "value"] = factor * dense
        excess = findings.ticket_excess(results, PROFILES["toy"])
        assert excess.max(axis=None) == pytest.approx(factor - 1)
        row = next(c for c in checks.language(results, PROFILES["toy"]) if "excess" in c["check"])
        assert row["met"] is within


def test_a_failing_check_is_written_as_such():
    """With the labels of S and A exchanged nothing holds, and the file says so."""
    from lcelib.paper import checks

    results = read_results(ROOT / "figures/results.csv")
    exchange = {"stereotypical": "anti", "anti": "stereotypical"}
    results["target"] = results["target"].replace(exchange)
    rows = json.loads(json.dumps(checks.separation(results, PROFILES["toy"])))
    assert [r["met"] for r in rows] == [False, False, False, None]


def test_what_a_table_does_not_hold_is_not_judged():
    """Without the strategies, sweeps and sparsities no verdict is made up."""
    from lcelib.paper import ledger

    results = read_results(ROOT / "figures/results.csv")
    located = pd.read_csv(ROOT / "figures/located.csv")
    few = results[results["strategy"].isna() | (results["alpha"] == 1)]
    one = profile("toy", {"sparsities": "0.3", "seeds": "0"})
    verdicts = {c["id"]: c["verdict"] for c in ledger.judge(few, located, one)}
    assert {verdicts[i] for i in (5, 6, 7, 8, 9, 10)} == {ledger.UNTESTABLE}


def test_the_manifest_names_every_figure_its_bytes_and_its_data():
    manifest = json.loads((ROOT / "figures/manifest.json").read_text())
    for name, entry in manifest.items():
        assert sha256(ROOT / "figures" / name) == entry["sha256"], name
        for data, digest in entry["data"].items():
            assert sha256(ROOT / "figures" / data) == digest
    for stem in [*(f"figure{i}" for i in range(1, 8)), *(f"table{i}" for i in (1, 4, 5, 8))]:
        assert {f"{stem}.png", f"{stem}.pdf"} <= set(manifest)
    data = {name: list(entry["data"]) for name, entry in manifest.items()}
    assert (data["figure1.png"], data["figure3.png"]) == ([], ["located.csv"])
    assert data["figure4.pdf"] == data["table5.csv"] == ["results.csv"]


def test_the_papers_number_stands_beside_its_own_sparsity_and_k_only():
    from lcelib.paper.figures.tables import PAPER, language_by_strategy

    results = read_results(ROOT / "figures/results.csv")
    few = results[results["sparsity"].isin([0.0, 0.3, 0.4])]
    row = language_by_strategy(few).set_index(["localization", "strategy"]).loc["mask", "EP α=2"]
    assert list(row.index) == ["ΔPPL 30 %", "ΔPPL 40 %", "ΔLM 30 %", "ΔLM 40 %"]
    printed = [PAPER["table5_delta"]["mask"]["EP2"][i] for i in (2, 3, 6, 7)]
    for cell, number, digits in zip(row, printed, (3, 3, 2, 2), strict=True):
        assert cell.endswith(f"({number:.{digits}f})".replace("-", "−"))
    other_k = results.replace({"localization": {"value 0.1": "value 0.2"}})
    cells = language_by_strategy(other_k).query("localization == 'value'").iloc[0]
    assert all("(–)" in cell for cell in cells[2:])


def test_the_pages_show_the_published_ledgers():
    from lcelib.paper import ledger, pretrained

    for name, folder in (("toy", ROOT / "figures"), ("smollm2", ROOT / "figures/smollm2")):
        claims = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
        heading = f"{name}, {len(PROFILES[name].seeds)} seeds"
        assert block("docs/claims.md", name) == ledger.table(claims, heading)
        if name == "toy":
            assert block("README.md", "verdicts") == ledger.verdicts(claims, heading)
    results = pd.read_csv(folder / "results.csv", keep_default_na=False, na_values=[""])
    located = pd.read_csv(folder / "located.csv")
    lines = [" ".join(pretrained.sentences(results, located, PROFILES["smollm2"]))]
    assert block("README.md", "smollm2") == block("docs/real_models.md", "smollm2") == lines


def test_every_fault_stands_on_the_page_with_tests_that_passed():
    sys.path.insert(0, str(ROOT / "tests"))
    from reliability import FAULTS

    lines = block("docs/reliability.md", "reliability")
    rows = [line.split(" | ") for line in lines if re.match(r"\| \d", line)]
    assert [int(row[0].strip("| ")) for row in rows] == list(FAULTS)
    assert all(re.match(r"[1-9]", row[-1]) for row in rows)
    assert not any("failed" in line or "error" in line for line in lines)
