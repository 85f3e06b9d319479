"""What the benchmarks of ingestion share."""
