"""Numbers that look random and come out the same each time."""

_MASK = (1 << 64) - 1


def mix(number: int, salt: int) -> int:
    """64 bits that depend on nothing but the two numbers."""
    value = (number * 0x9E3779B97F4A7C15 + salt) & _MASK
    value = ((value ^ (value >> 31)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 29)
