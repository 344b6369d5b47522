import pytest
from safetensors.torch import save_file

from hetconv.cli import run
from hetconv.lab.models import create_model


def test_what_is_wrong_is_one_line_before_anything_is_written(tmp_path, capsys):
    weights = tmp_path / "weights.safetensors"
    out = tmp_path / "out"
    wanted = ["adapt", "vgg16_cifar", "--width", "0.125", "--train-limit", "64", "--out", str(out), "--epochs", "0"]
    wanted += ["--weights", str(weights)]

    def refused(*arguments):
        assert run([*wanted, *arguments]) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert not (out / "plan.json").exists()
        return error[-1]

    assert "weights.safetensors; they are not there" in refused("--speedup", "2")
    save_file(create_model("vgg16_cifar", "dense", width=0.125).state_dict(), weights)
    assert "give one of the two" in refused()
    assert "speedup=0.5 must be a number above 1" in refused("--speedup", "0.5")
    assert "must have a P above 1" in refused("--speedup", "2", "--p", "1")


@pytest.mark.parametrize("missing", ["--weights", "--out"])
def test_weights_and_a_folder_are_needed(missing, tmp_path, capsys):
    given = {"--weights": str(tmp_path / "weights.safetensors"), "--out": str(tmp_path / "out")}
    arguments = [part for name, value in given.items() if name != missing for part in (name, value)]
    assert run(["adapt", "vgg16_cifar", *arguments]) == 2
    assert missing in capsys.readouterr().err
