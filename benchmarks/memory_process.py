"""A process that loads a deployed network and runs images, and says the most memory it has held after each stage.

python -P memory_process.py CHANNELS HEIGHT WIDTH          imports PyTorch and makes an image
python -P memory_process.py CHANNELS HEIGHT WIDTH FILE     and loads the network, and runs the image

It imports nothing before PyTorch that PyTorch does not import, so that its stages are what they are called.
"""

import json
import sys
from pathlib import Path

IMAGES = 20


def peak_bytes() -> int:
    """From the kernel, VmHWM; `getrusage` would tell the parent's where the parent was larger."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return 1024 * int(lines["VmHWM"].split()[0])


def main(given: list[str]) -> None:
    import torch

    torch.set_num_threads(1)
    x = torch.zeros(1, *map(int, given[:3]))
    stages = {"torch": peak_bytes()}
    if given[3:]:
        import hetconv

        hetconv.load_deployed  # noqa: B018  public names may be loaded when they are first read
        stages["hetconv"] = peak_bytes()
        network = hetconv.load_deployed(given[3])
        stages["loaded"] = peak_bytes()
        with torch.inference_mode():
            for _ in range(IMAGES):
                network(x)
        stages["run"] = peak_bytes()
    print(json.dumps(stages))


if __name__ == "__main__":
    main(sys.argv[1:])
