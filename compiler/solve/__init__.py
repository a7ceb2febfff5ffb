"""Spec + lock + catalogs → a placement with its ledger, or an explained refusal. Pure."""
