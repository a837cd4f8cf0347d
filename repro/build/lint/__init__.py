"""Findings in a Dockerfile that builds, but not for ever or not for everybody: rules as data, one page each."""

from repro.build.lint.check import enforce, lint
from repro.build.lint.model import Finding, Rule

__all__ = ["Finding", "Rule", "enforce", "lint"]
