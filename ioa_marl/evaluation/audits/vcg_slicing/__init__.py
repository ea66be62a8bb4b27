"""Audits of slicing mechanisms: misreports alone and in pairs, and everything that the dual currency promises.

`audit` is the audit of any policies in the market; the modules have the single audits as functions.
"""

from ioa_marl.evaluation.audits.vcg_slicing.auditing import audit

__all__ = ["audit"]
