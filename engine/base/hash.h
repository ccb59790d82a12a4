/* hash: FNV-1a of 64 bits, a byte at a time. Not against somebody who wants two texts to collide.
 *
 * Uses     nothing.
 * Promise  the values stay the same from release to release: states hold some.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define HASH_START UINT64_C(14695981039346656037)

static inline uint64_t hash_byte(uint64_t hash, unsigned char byte)
{
    return (hash ^ byte) * UINT64_C(1099511628211);
}

static inline uint64_t hash_bytes(uint64_t hash, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = hash_byte(hash, (unsigned char)bytes[i]);
    return hash;
}
