"""How good an agent or a mechanism is: protocol, reference scores, audits, statistics."""
