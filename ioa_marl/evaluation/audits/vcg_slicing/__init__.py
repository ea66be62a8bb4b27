"""Audits of slicing mechanisms: misreports alone and in pairs, and everything that the dual currency promises."""
