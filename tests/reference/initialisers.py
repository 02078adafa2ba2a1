"""How far initial values spread."""

import math


def kaiming_uniform_bound(fan_in: int, a: float = 0.0) -> float:
    return math.sqrt(6.0 / ((1.0 + a * a) * fan_in))


def kaiming_normal_std(fan_in: int, a: float = 0.0) -> float:
    return math.sqrt(2.0 / ((1.0 + a * a) * fan_in))


def xavier_uniform_bound(fan_in: int, fan_out: int, gain: float = 1.0) -> float:
    return gain * math.sqrt(6.0 / (fan_in + fan_out))


def xavier_normal_std(fan_in: int, fan_out: int, gain: float = 1.0) -> float:
    return gain * math.sqrt(2.0 / (fan_in + fan_out))
