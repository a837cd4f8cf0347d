"""repro: from one workflow.yaml to results that anyone can re-create and check."""

__version__ = "0.1.0"
