"""The lock: facts about models as the Hub or a folder answered them, beside the spec as NAME.lock.yaml."""
