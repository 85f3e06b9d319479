"""What `benchmarks/search.py` is made of: vectors, exact answers, databases, clocks, and a file for each section."""
