"""A trained network made into the fastest module for inference on CPUs; saved, and loaded anywhere."""

from hetconv.deployment.deploy import deploy
from hetconv.deployment.deploy_report import DeployReport
from hetconv.deployment.deployed import Deployed
from hetconv.deployment.deployed_file import load_deployed

__all__ = ["DeployReport", "Deployed", "deploy", "load_deployed"]
