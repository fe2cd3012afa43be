/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - one logical line to a node (inside of the parser)
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_NODE_H
#define MINKE_FRONTEND_DOCKERFILE_NODE_H

#include "frontend/dockerfile/parser.h"

/* Split into keyword, flags and arguments.  Lines, comments and heredocs are filled in by the caller. */
struct error *df_node_parse(struct arena *mem, const char *line, size_t len, char escape,
                            struct df_node **ret) MUST_CHECK;
bool df_node_takes_heredocs(const struct df_node *n);

/* The heredocs that a logical line announces, in order; appended to the node. */
struct error *df_node_find_heredocs(struct arena *mem, struct df_node *n, const char *line) MUST_CHECK;

#endif
