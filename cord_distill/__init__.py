"""cord-distill: distil long chain-of-thought reasoning from several teachers into one student (CoRD)."""

__version__ = "0.1.0"
