"""Evaluation, one idea per file: suites (what is asked), targets (who answers), samples (what was answered), records
(what it is worth), lighteval_backend (the Pipeline), wandb_panels. `evaluate.py` puts them together."""
