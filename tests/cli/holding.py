"""Commands that a test keeps in a state, so that it need not race them."""

import subprocess
import time
from pathlib import Path

HOLDS = """
import time
from pathlib import Path
from torch import nn

WIDTH = 8

class Holds(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(WIDTH, num_classes),
        )

    def forward(self, x):
        "Training stands still while the file `hold` is there and says after how many steps."
        self.steps = getattr(self, "steps", 0) + self.training
        while Path("hold").exists() and self.training and self.steps > int(Path("hold").read_text()):
            Path("holds").touch()
            time.sleep(0.01)
        return self.layers(x)
"""
"""A network that a test can keep at a step; two steps are an epoch. In the working folder, from which it is found."""


def start(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def hold(folder: Path, steps: int) -> None:
    (folder / "holds").unlink(missing_ok=True)
    (folder / "hold").write_text(str(steps))


def wait_until_it_holds(folder: Path, process: subprocess.Popen[str]) -> None:
    while not (folder / "holds").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
