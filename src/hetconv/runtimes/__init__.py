"""Runtimes that people deploy ONNX models with; one file each, imported when used."""

from hetconv.runtimes.session import RUNTIMES, Session, open_session, require, why_not

__all__ = ["RUNTIMES", "Session", "open_session", "require", "why_not"]
