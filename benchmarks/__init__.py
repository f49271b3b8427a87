"""What oddwire promises of its speed, measured: ``python -m benchmarks`` (``make bench``)."""
