/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csv.h - one record of comma-separated values, as --mount, --device and --allow take them
 */
#ifndef MINKE_BASE_CSV_H
#define MINKE_BASE_CSV_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

/* Append the fields.  Error texts are those of Go's encoding/csv: "EOF", "parse error on line 1, column 3:
 * bare \" in non-quoted-field". */
struct error *csv_fields(const char *line, struct strv *ret) MUST_CHECK;

#endif
