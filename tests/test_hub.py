"""Publishing and fetching patches, through the hub's own client and a stand-in of its server."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from hub_server import TOKEN, serving
from test_patches import Layers, random_patch, same, state

from lcelib.errors import LceError
from lcelib.files import sha256
from lcelib.patches import card, hub
from lcelib.patches.patch import Patch

MEASURES = [
    {"measure": "winobias", "variant": "v", "n": 792, "before": 58.0, "after": 52.0,
     "neutral": 50.0, "change_se": 1.0},
    {"measure": "crows", "variant": "w", "n": 262, "before": 55.0, "after": 55.5,
     "neutral": 50.0, "change_se": 1.0},
    {"measure": "stereoset_margin", "variant": "w", "n": 9, "before": 0.1, "after": 0.2,
     "neutral": 0.0, "change_se": 0.01},
    {"measure": "agreement_margin", "variant": "w", "n": 9, "before": 2.9, "after": 2.5,
     "neutral": None, "change_se": 0.01},
]  # fmt: skip


def saved(path, **about):
    """A small patch file, and its model."""
    model = Layers([(30, 20), (20, 30)], torch.float32, seed=0)
    random_patch(model, 1, 0.1).save(path, model, **about)
    return model


def lce(*arguments, **env):
    command = [sys.executable, "-m", "lcelib.cli", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | env, check=False
    )


def client(server, place, token=TOKEN):
    """What the hub's client reads: address, credentials, and a cache of its own."""
    return {
        "HF_ENDPOINT": server.address, "HF_HOME": str(place), "HF_TOKEN": token,
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip


def test_what_was_pushed_is_pulled_byte_for_byte_and_applies(tmp_path):
    file = tmp_path / "less.lce.safetensors"
    model = saved(file, direction="away from stereotype", measures=MEASURES)
    with serving() as server:
        env = client(server, tmp_path / "home")
        done = lce("patch", "push", file, "someone/less", **env)
        assert (done.returncode, done.stderr) == (0, "")
        assert server.commits == [["README.md", "less.lce.safetensors"]]
        again = lce("patch", "push", file, "someone/less", "--json", **env)
        assert json.loads(again.stdout)["url"].startswith(server.address)
        (tmp_path / "here").mkdir()
        done = lce("patch", "pull", "someone/less", "--output", tmp_path / "here", **env)
        assert (done.returncode, done.stderr) == (0, "")
    found = tmp_path / "here" / file.name
    assert sha256(found) == sha256(file)
    assert server.repositories["someone/less"]["README.md"].decode() == card.text(file)
    before = state(model)
    patch = Patch.load(found)
    patch.apply(model)
    assert not same(state(model), before)
    patch.revert(model)
    assert same(state(model), before)


@pytest.mark.parametrize(
    ("repository", "token", "said"),
    [
        ("someone/none", TOKEN, "hf auth login"),
        ("not a name!", TOKEN, "OWNER/NAME"),
        ("someone/less", "hf_wrong", "hf auth login"),
    ],
)
def test_what_the_hub_refuses_is_said_in_three_lines(tmp_path, repository, token, said):
    file = tmp_path / "less.lce.safetensors"
    saved(file)
    with serving() as server:
        env = client(server, tmp_path / "home", token)
        command = ("pull", repository) if token == TOKEN else ("push", file, repository)
        done = lce("patch", *command, **env)
    assert done.returncode == 6
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert repository in done.stderr


def test_without_network_pull_says_so_and_writes_nothing(tmp_path):
    with serving() as server:
        env = client(server, tmp_path / "home")
    done = lce("patch", "pull", "someone/less", "--output", tmp_path / "new", **env)
    assert done.returncode == 6
    assert "network" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_damaged_file_on_the_hub_is_refused_before_it_gets_its_name(tmp_path):
    file = tmp_path / "less.lce.safetensors"
    saved(file)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    with serving() as server:
        server.repositories["someone/less"] = {file.name: bytes(content)}
        env = client(server, tmp_path / "home")
        done = lce("patch", "pull", "someone/less", "--output", tmp_path / "new", **env)
    assert done.returncode == 4
    assert "digest" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_serves_in_place_of_the_hub(tmp_path):
    file, folder = tmp_path / "less.lce.safetensors", tmp_path / "shared"
    saved(file)
    folder.mkdir()
    hub.push(file, str(folder))
    assert hub.pull(str(folder), tmp_path / "new").read_bytes() == file.read_bytes()
    with pytest.raises(LceError, match="exists already"):
        hub.pull(str(folder), tmp_path / "new")
    (folder / "other.lce.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(LceError, match=r"less\.lce\.safetensors, other"):
        hub.pull(str(folder), tmp_path / "third")
    assert hub.pull(str(folder), tmp_path / "third", name="other").exists()


def test_what_raises_stereotype_scores_is_published_only_when_asked_for(tmp_path):
    file, folder = tmp_path / "more.lce.safetensors", tmp_path / "shared"
    folder.mkdir()
    saved(file, direction="towards stereotype")
    with pytest.raises(LceError, match="raises stereotype scores"):
        hub.push(file, str(folder))
    assert not list(folder.iterdir())
    hub.push(file, str(folder), towards_stereotype=True)
    text = (folder / "README.md").read_text()
    assert "towards-stereotype" in yaml.safe_load(text.split("---")[1])["tags"]
    assert "**raises** stereotype scores" in text


def test_the_card_tells_what_moved_what_did_not_and_what_got_worse(tmp_path):
    file = tmp_path / "less.lce.safetensors"
    saved(file, direction="away from stereotype", id="someone/base", licence="Apache-2.0, as x",
          measures=MEASURES, limits="Only pronouns.")  # fmt: skip
    text = card.text(file)
    front = yaml.safe_load(text.split("---")[1])
    assert (front["base_model"], front["license"]) == ("someone/base", "apache-2.0")
    saved(tmp_path / "other.lce.safetensors", id="mine", derived_from="someone/base, rounded")
    other = card.text(tmp_path / "other.lce.safetensors")
    assert yaml.safe_load(other.split("---")[1])["base_model"] == "someone/base"
    assert "for mine (someone/base, rounded)" in other
    assert "| winobias | 58 | 52 | -6 ± 2 | 792 | 50 |" in text
    assert "It leaves crows where they were" in text
    assert "It moves stereoset_margin **away** from the value without bias." in text
    assert "It has a cost: it moves agreement_margin from 2.9 to 2.5" in text
    assert "Only pronouns." in text
    assert Patch.load(file).info["digest"] in text
    assert "gender as binary" in text
