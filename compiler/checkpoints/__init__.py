"""What a Hugging Face checkpoint holds, and what of it one rank gets."""
