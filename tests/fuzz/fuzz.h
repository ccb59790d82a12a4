/* fuzz: what the fuzz targets share. Each is one file: LLVMFuzzerTestOneInput gets any bytes, and
 * aborts where what it claims does not hold; the sanitizers judge the rest. `make fuzz` builds and
 * runs them, tests/fuzz/corpus has an input for each thing worth saying. What was found is in
 * build/fuzz/found, what broke in build/fuzz/broken.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CLAIM(condition)                                                                           \
    do                                                                                             \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    while (0)

/* The bytes as a C string: owned. They end at the first zero byte. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    CLAIM(text);
    memcpy(text, data, size);
    text[size] = '\0';
    return text;
}
