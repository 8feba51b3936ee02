"""The report as one page: summary, notebooks, template."""
