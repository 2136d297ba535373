"""Runs sources through analyzers into sinks, with statistics and metrics."""
