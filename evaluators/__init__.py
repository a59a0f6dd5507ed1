"""Pixels in, physics out: trackers, metrics, statistics and the report."""
