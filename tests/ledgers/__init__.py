"""The ledgers of every config that the tests know, as digests: what a change of shape must leave as it was."""
