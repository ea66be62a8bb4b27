"""Audits of what mechanisms really guarantee, a module or a package for each market; `bidders` is for any market."""
