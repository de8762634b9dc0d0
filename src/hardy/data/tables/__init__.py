"""Parquet files: which there are, which of their columns count, and what they hold."""
