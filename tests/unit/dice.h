/* dice: random numbers that a seed (not 0) repeats, for the models of tests. */
#pragma once

#include <stdint.h>

/* From 0 to n - 1. (xorshift64*) */
static inline uint32_t dice(uint64_t *seed, uint32_t n)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)((*seed * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % n;
}
