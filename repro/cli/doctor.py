"""`repro doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, print_json

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print each thing looked at, with the remedy where it is missing; 125 when containers cannot run here."""
    report = api.doctor(api.Host.current())
    if options.json:
        print_json(report)
        return 0 if report.usable else 125
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        print(f"{'ok' if check.ok else 'NO' if check.needed else '--':3} {check.name:{width}}  {check.detail}")
        if not check.ok and check.remedy:
            print(f"    {'':{width}}  {'fix' if check.needed else 'better'}: {check.remedy}")
    print(f"containers: {report.summary}")
    return 0 if report.usable else 125
