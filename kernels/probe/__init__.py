"""What only checks run: vectors, recorded requests, benchmarks."""
