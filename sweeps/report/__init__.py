"""Reports of runs: tables and page, comparison, status."""
