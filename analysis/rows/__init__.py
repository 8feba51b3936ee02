"""Rows: schema, table, recipes, seeds, units."""
