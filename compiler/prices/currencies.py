"""Currencies that amounts may be in. None is converted into another: a rate of today is none of a year ago."""

from __future__ import annotations

_CODES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS
INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP
MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR
SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND
VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
CURRENCIES = frozenset(_CODES.split())
"""Codes of ISO 4217 (list one, 2025) that people pay with, without funds, metals and tests."""

_DEAR_CODES = "AUD BHD BMD BND BSD BBD CAD CHF EUR FKP GBP GIP JOD KWD KYD NZD OMR PAB SGD SHP USD"
_DEAR = frozenset(_DEAR_CODES.split())
_CHEAPEST_UNIT = 1e6


def unit_factor(currency: str) -> float:
    """By how much amounts may be larger than of a currency whose unit is worth as much as a dollar, at the very most.

    It bounds what is absurd, and converts nothing: a million rials bought less than a dollar at times.
    """
    return 1 if currency in _DEAR else _CHEAPEST_UNIT
