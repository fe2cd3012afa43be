/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what the fuzz targets share
 *
 * A target defines LLVMFuzzerTestOneInput: built with clang's libFuzzer it is a fuzzer, with runner.c a
 * program that replays its corpus (fuzz/corpus/NAME) and then some random changes of it.
 */
#ifndef MINKE_FUZZ_FUZZ_H
#define MINKE_FUZZ_FUZZ_H

#include "io/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Reads `len` bytes at `data` (borrowed) in pieces of at most `step`, then ends; swallows what is written. */
struct stream *fuzz_stream(const uint8_t *data, size_t len, size_t step);

#endif
