"""8-bit and 16-bit graphs: ranges, Q/DQ placement, search, lint."""
