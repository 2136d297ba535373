"""Judging artefacts of any kind on the same crops: scores, fairness, reliability and robustness.

``artefacts`` opens them, ``data`` cuts the crops, ``judge`` puts the parts together; ``trainer.reporting`` draws them.
"""
