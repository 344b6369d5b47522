"""A trained network made into the fastest module for inference on CPUs; saved, and loaded anywhere."""

from hetconv.deploy.deploy import deploy
from hetconv.deploy.deployed import Deployed
from hetconv.deploy.files import load_deployed
from hetconv.deploy.report import DeployReport

__all__ = ["DeployReport", "Deployed", "deploy", "load_deployed"]
