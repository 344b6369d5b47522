"""A trained network made into the fastest module for inference on CPUs; saved, and loaded anywhere."""

from hetconv.deployment.deploy import deploy
from hetconv.deployment.deployed import Deployed
from hetconv.deployment.files import load_deployed
from hetconv.deployment.report import DeployReport

__all__ = ["DeployReport", "Deployed", "deploy", "load_deployed"]
