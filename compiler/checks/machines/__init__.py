"""Rules of machines: their cards, how many they are, and servers that span them."""
