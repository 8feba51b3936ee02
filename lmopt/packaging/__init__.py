"""Exported folders: formats, reload check, usage script, model card and licences."""
