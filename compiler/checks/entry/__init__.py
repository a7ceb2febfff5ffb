"""Rules of the way in: gateways, what they allow, and how they divide requests."""
