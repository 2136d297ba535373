"""Labelled data sets, metrics per group, and the evaluation of a network on them."""
