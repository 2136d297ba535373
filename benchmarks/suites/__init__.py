"""The suites of ``make bench``: ours and its peers in the same interleaved run, a results file each."""
