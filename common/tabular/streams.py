"""Counter-based random streams: every episode owns one, found by hashing where it belongs.

Nothing is drawn from a shared generator, so results depend neither on the number of threads nor
on the order of the work. The hash is the finaliser of splitmix64 (Steele, Lea and Flood 2014,
"Fast splittable pseudorandom number generators"); within an episode a 64-bit linear congruential
generator with Knuth's MMIX constants supplies the draws, of which the highest 31 bits are used.
"""

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
MIX_FIRST = 0xBF58476D1CE4E5B9
MIX_SECOND = 0x94D049BB133111EB
LCG_MULTIPLIER = 6364136223846793005
LCG_INCREMENT = 1442695040888963407
# Draws are integers in [0, 2^31): the threshold of a sure event, 2^31, still fits in 32 bits.
DRAW_BITS = 31

_MASK = (1 << 64) - 1


def mix(value: int) -> int:
    """The splitmix64 finaliser: a bijection of 64-bit integers that looks random."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * MIX_FIRST) & _MASK
    value = ((value ^ (value >> 27)) * MIX_SECOND) & _MASK
    return value ^ (value >> 31)


def derive(key: int, index: int) -> int:
    """The `index`-th child key of `key`; children of one key are all different."""
    return mix(key + GOLDEN_GAMMA * (index + 1))


def stream_key(seed: int, *path: int) -> int:
    """A 64-bit key for `seed` and a path of indices, such as the iteration of an algorithm.

    Raises:
        ValueError: if a number is negative or does not fit in 64 bits.
    """
    for number in (seed, *path):
        if not 0 <= number <= _MASK:
            raise ValueError(f"seeds and stream indices must lie in 0..2**64 - 1, got {number}")
    key = mix(seed + GOLDEN_GAMMA)
    for index in path:
        key = derive(key, index)
    return key
