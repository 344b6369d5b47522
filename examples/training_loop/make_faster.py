"""A trained torchvision network made faster in a training loop of your own: converted, refitted, distilled, deployed.

python make_faster.py trained.safetensors photos fast.safetensors

photos/train/<class>/… and photos/val/<class>/… are images; trained.safetensors is the state dict of a resnet18 that was
trained on them. `hetconv adapt` does the same with one command, and also chooses P for each layer.
"""

import copy
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import hetconv


def loaders(folder: Path, size: int, batch_size: int) -> tuple[DataLoader, DataLoader]:
    """Batches of the images to train on, and of those that are held out."""
    numbers = [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    varied = v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), *numbers])
    plain = v2.Compose([v2.Resize(size * 8 // 7), v2.CenterCrop(size), *numbers])
    train, val = ImageFolder(folder / "train", varied), ImageFolder(folder / "val", plain)
    return DataLoader(train, batch_size, shuffle=True), DataLoader(val, batch_size)


def accuracy(network: nn.Module, batches: DataLoader) -> float:
    network.eval()
    with torch.no_grad():
        right = [network(images).argmax(1) == labels for images, labels in batches]
    return torch.cat(right).float().mean().item()


def distil(network: nn.Module, teacher: nn.Module, batches: DataLoader, epochs: int, lr: float = 0.01) -> None:
    """Train a network to answer as its teacher does, and as the labels say."""
    optimizer = torch.optim.SGD(network.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        network.train()
        for images, labels in batches:
            with torch.no_grad():
                answers = teacher(images).softmax(1)
            scores = network(images)
            loss = nn.functional.cross_entropy(scores, answers) + nn.functional.cross_entropy(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()


def make_faster(trained: nn.Module, folder: Path, out: Path, p: int = 4, epochs: int = 5, size: int = 224) -> None:
    """Write a faster form of a trained network into a file that `hetconv.load_deployed` reads."""
    train, val = loaders(folder, size, batch_size=32)
    trained.eval()
    print(f"your network: {accuracy(trained, val):.2%}")

    network = copy.deepcopy(trained)
    print(hetconv.convert_(network, p=p))  # each convolution: converted, or why not
    images = torch.cat([images for images, _ in train])[:1000]
    hetconv.refit_(network, trained, images)
    print(f"with least squares: {accuracy(network, val):.2%}")

    distil(network, trained, train, epochs)
    print(f"trained on: {accuracy(network, val):.2%}")

    deployed = hetconv.deploy(network.eval(), torch.randn(1, 3, size, size))
    deployed.class_names, deployed.image_size = tuple(train.dataset.classes), size
    deployed.save(out)
    print(deployed.report)  # its last line is the time before and after
    print(f"deployed: {accuracy(deployed, val):.2%}")


if __name__ == "__main__":
    weights, folder, out = map(Path, sys.argv[1:])
    classes = [entry for entry in (folder / "train").iterdir() if entry.is_dir()]
    trained = models.resnet18(num_classes=len(classes))
    hetconv.load_weights(weights, trained)
    make_faster(trained, folder, out)
