"""Rows of n-gram embeddings: each head hashes into a table whose size is a prime of its own.

vllm/models/qwen4_exp/nvidia/ngram_embedding.py:_make_vocab_layout of 0.33.0.
"""

from __future__ import annotations

from functools import lru_cache

# Witnesses that decide every number below 2^64 (ngram_embedding.py:_is_prime_64 has the same).
_SMALL = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
_WITNESSES = (2, 325, 9375, 28178, 450775, 9780504, 1795265022)


@lru_cache(maxsize=64)
def ngram_rows(base: int, heads: int, place: int) -> int:
    """Rows of the tables of all heads of the layer that is `place`-th among those with n-grams, unpadded.

    Args:
        base: no table has fewer rows.
        heads: of a layer; those of earlier layers have the smaller primes.
    """
    prime, total = base - 1, 0
    for index in range((place + 1) * heads):
        prime = _next_prime(prime)
        total += prime if index >= place * heads else 0
    return total


def _next_prime(number: int) -> int:
    number += 1
    while not _is_prime(number):
        number += 1
    return number


def _is_prime(number: int) -> bool:
    if number <= _SMALL[-1]:
        return number in _SMALL
    if any(number % prime == 0 for prime in _SMALL):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(number, base, odd, twos) for base in _WITNESSES if base % number)


def _passes(number: int, base: int, odd: int, twos: int) -> bool:
    """Miller and Rabin's test with one base."""
    power = pow(base, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
