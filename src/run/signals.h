/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.h - signals by the names that clients use
 */
#ifndef MINKE_RUN_SIGNALS_H
#define MINKE_RUN_SIGNALS_H

#include "base/base.h"

int signal_parse(const char *text) MUST_CHECK; /* "SIGTERM", "term", "15", "RTMIN+3": number or -EINVAL */

#endif
